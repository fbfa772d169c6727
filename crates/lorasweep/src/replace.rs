//! What commands refuse to replace.

use std::path::Path;

use spec::shown;
use store::{Foreign, Ours, StoreError};

use crate::error::Error;

/// An error where `path` is a sweep's folder, or lies in one where lorasweep itself writes.
pub fn refuse_results(path: &Path) -> Result<(), Error> {
    match store::sweep_that_keeps(path) {
        None => Ok(()),
        Some(sweep) => Err(Error::NotReplaced {
            path: path.to_path_buf(),
            why: format!("it belongs to the results of the sweep in `{}`", shown(&sweep)),
        }),
    }
}

/// An error that names everything in the folder `path` that is not provably as lorasweep wrote it.
pub fn refuse_foreign(path: &Path, ours: Ours) -> Result<(), Error> {
    let foreign: Vec<Foreign> = ours.foreign_files(path)?;
    if foreign.is_empty() {
        return Ok(());
    }
    Err(StoreError::HoldsForeign { path: path.to_path_buf(), foreign }.into())
}
