//! The quickstart, embedded: a small sweep with its base model and data, to try things with.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// Its files: path below a folder, and content.
pub const FILES: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/quickstart.rs"));

/// The sweep file among them.
pub const SWEEP: &str = "quickstart.yaml";

/// The folder of the base model among them.
pub const MODEL: &str = "quickstart/base";

/// Writes the quickstart into a folder, which must not have it yet, and returns its sweep file.
pub fn write(folder: impl AsRef<Path>) -> Result<PathBuf, Error> {
    let folder = folder.as_ref();
    let paths: Vec<PathBuf> = FILES.iter().map(|(name, _)| folder.join(name)).collect();
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        return Err(Error::Exists { path: path.clone() });
    }
    for (path, (_, contents)) in paths.iter().zip(FILES) {
        store::write_file(path, contents)?;
    }
    Ok(folder.join(SWEEP))
}
