//! Writes that are either complete or not there: write beside the place, sync, rename.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::own_files;
pub(crate) use crate::own_files::{REPLACED, TEMPORARY};

/// Writes `contents` to `path`, creating its folder. A reader sees the old file or the new one.
pub fn write_file(path: &Path, contents: &[u8]) -> Result<(), StoreError> {
    create_parent(path)?;
    own_files::check_file_place(path)?;
    let temporary = beside(path, TEMPORARY);
    let written = own_files::create_temporary(&temporary).and_then(|mut file| {
        file.write_all(contents)?;
        file.sync_all()
    });
    if let Err(source) = written {
        // The error that matters is the first one.
        let _ = own_files::remove_file(&temporary);
        return Err(StoreError::io("write", &temporary)(source));
    }
    rename(&temporary, path)
}

/// Writes a file of the sweep in `root`, where nothing that is not ours is in the way.
pub(crate) fn write_own(root: &Path, path: &Path, contents: &[u8]) -> Result<(), StoreError> {
    own_files::check_place(root, path)?;
    write_file(path, contents)
}

/// Writes `contents` to `path` as [`write_file`] does, but leaves it to the system when they reach
/// the disk: for what is of no use after a loss of power.
pub fn write_unsynced(path: &Path, contents: &[u8]) -> Result<(), StoreError> {
    own_files::check_file_place(path)?;
    let temporary = beside(path, TEMPORARY);
    own_files::create_temporary(&temporary)
        .and_then(|mut file| file.write_all(contents))
        .map_err(StoreError::io("write", &temporary))?;
    own_files::rename(&temporary, path).map_err(StoreError::io("rename a finished file to", path))
}

/// Lets processes on other machines see what was written to `file`: a network file system sends it
/// when a handle is closed, whichever. On a local disk this does nothing.
pub(crate) fn send(file: &File) {
    // What is not sent now is later; a failed write says so itself.
    drop(file.try_clone());
}

/// Renames `from` to `to` and makes the rename durable.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    own_files::rename(from, to).map_err(StoreError::io("rename a finished file to", to))?;
    sync_parent(to)
}

/// Creates a folder and those above it.
pub(crate) fn create_dir(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(StoreError::io("create the folder", path))
}

/// A name beside `path` that no other process uses, on this machine or on one that shares the
/// file system.
pub(crate) fn beside(path: &Path, mark: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(mark);
    name.push(this_process());
    path.with_file_name(name)
}

pub(crate) fn this_process() -> String {
    format!("{}-{}", gethostname::gethostname().to_string_lossy(), std::process::id())
}

/// The paths in `dir`, sorted; none when there is no such folder.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list the folder", dir)(error)),
    };
    let mut paths = listing
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(StoreError::io("list the folder", dir))?;
    paths.sort();
    Ok(paths)
}

/// The paths in the folder `dir`, which must not be a link; sorted, none when there is no folder.
pub(crate) fn own_entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    own_files::check_folder(dir.parent().unwrap_or(dir), dir)?;
    entries(dir)
}

/// Makes a file's bytes durable.
pub(crate) fn sync_file(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(StoreError::io("sync", path))
}

/// Makes the names in a folder durable, where the system has such a thing.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    if cfg!(unix) { sync_file(path) } else { Ok(()) }
}

pub(crate) fn sync_tree(dir: &Path) -> Result<(), StoreError> {
    for path in entries(dir)? {
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            sync_file(&path)?;
        }
    }
    sync_dir(dir)
}

/// The folder that holds `path`; `.` for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(crate) fn create_parent(path: &Path) -> Result<(), StoreError> {
    create_dir(parent(path))
}

pub(crate) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    sync_dir(parent(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_operation_and_the_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = write_file(&dir.path().join("file/inside"), b"x").unwrap_err();
        assert!(error.to_string().starts_with("failed to create the folder `"), "{error}");
        assert!(error.to_string().ends_with("/file`"), "{error}");
    }
}
