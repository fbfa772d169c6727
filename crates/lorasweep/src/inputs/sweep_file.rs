//! A sweep file from disk.

use std::path::{Path, PathBuf};

use spec::{PathKind, Sweep};
use store::SweepFolder;

use crate::error::Error;
use crate::hub::Hub;
use crate::inputs::Settings;
use crate::output;

/// A sweep as written and as resolved.
#[derive(Debug)]
pub struct SweepFile {
    pub path: PathBuf,
    pub text: String,
    pub sweep: Sweep,
}

/// Reads and resolves a sweep file.
pub fn load(path: &Path) -> Result<SweepFile, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::SweepFile { path: path.to_path_buf(), source })?;
    let sweep = spec::resolve(&text, path, &look).map_err(Error::Sweep)?;
    Ok(SweepFile { path: path.to_path_buf(), text, sweep })
}

/// The same, with the base model on this machine: one that is named by its hub is taken from the
/// cache, or downloaded.
pub fn load_with_model(path: &Path) -> Result<SweepFile, Error> {
    let mut file = load(path)?;
    if let Some(name) = &file.sweep.hub {
        let hub = Hub::from_environment()?;
        file.sweep.model = hub.model(name, &mut |text| output::note(text))?;
    }
    Ok(file)
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

impl SweepFile {
    /// Shows what the file leaves open to misunderstanding.
    pub fn warn(&self) {
        for warning in &self.sweep.warnings {
            output::note(&warning.to_string());
        }
    }
}

fn look(path: &Path) -> PathKind {
    match path.metadata() {
        Ok(found) if found.is_dir() => PathKind::Folder,
        Ok(_) => PathKind::File,
        Err(_) => PathKind::Missing,
    }
}
