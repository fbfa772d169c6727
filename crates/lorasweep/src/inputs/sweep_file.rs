//! A sweep file, from disk or from memory.

use std::path::{Path, PathBuf};

use spec::{PathKind, Sweep};
use store::SweepFolder;

use super::Settings;
use crate::error::Error;

/// A sweep as written and as resolved.
#[derive(Debug, Clone)]
pub struct SweepFile {
    pub path: PathBuf,
    pub text: String,
    pub sweep: Sweep,
}

/// Reads and resolves a sweep file.
pub fn load(path: &Path) -> Result<SweepFile, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::SweepFile { path: path.to_path_buf(), source })?;
    parse(text, path)
}

/// Resolves a sweep file's text, with paths relative to the file `path`.
pub fn parse(text: String, path: &Path) -> Result<SweepFile, Error> {
    let sweep = spec::resolve(&text, path, &look).map_err(Error::Sweep)?;
    Ok(SweepFile { path: path.to_path_buf(), text, sweep })
}

/// The sweep file that `folder` keeps, with paths relative to where it was.
pub fn kept_in(folder: &SweepFolder) -> Result<SweepFile, Error> {
    let no_file = || Error::NoSweepFile { path: folder.path().to_path_buf() };
    let path = SweepFolder::open(folder.path())?.identity()?.file.ok_or_else(no_file)?;
    parse(folder.written()?, &path)
}

/// Resolves the sweep in `folder` as the driver did, with paths relative to the file `path`. An
/// error when it has become another sweep.
pub fn of_folder(folder: &SweepFolder, path: &Path) -> Result<Sweep, Error> {
    let mut sweep = spec::resolve(&folder.written()?, path, &look).map_err(Error::Sweep)?;
    let identity = folder.identity()?;
    if sweep.fingerprint() != identity.fingerprint {
        return Err(Error::OtherSweep { path: folder.path().to_path_buf() });
    }
    if sweep.hub.is_some() {
        // The very files that the driver found.
        sweep.model = Settings::of(&identity)?.model;
    }
    Ok(sweep)
}

fn look(path: &Path) -> PathKind {
    match path.metadata() {
        Ok(found) if found.is_dir() => PathKind::Folder,
        Ok(_) => PathKind::File,
        Err(_) => PathKind::Missing,
    }
}
