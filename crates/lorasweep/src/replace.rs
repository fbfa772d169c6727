//! What commands refuse to replace.

use std::path::Path;

use store::{Foreign, Ours, StoreError};

use crate::error::Error;

/// An error that names everything in the folder `path` that is not provably as lorasweep wrote it.
pub fn refuse_foreign(path: &Path, ours: Ours) -> Result<(), Error> {
    let foreign: Vec<Foreign> = ours.foreign_files(path)?;
    if foreign.is_empty() {
        return Ok(());
    }
    Err(StoreError::HoldsForeign { path: path.to_path_buf(), foreign }.into())
}
