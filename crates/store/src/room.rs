//! Room on a disk, asked for before something large is written.

use std::io::Write;
use std::path::Path;

use crate::error::StoreError;
use crate::{atomic, layout, own_files};

/// Written and removed again when a sweep is opened, so that a full disk shows before training.
const TRIED_BYTES: usize = 1 << 20;
const TRIED: &str = "room";

/// Bytes that this user may write where `path` is or will be; `None` where the system does not tell.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let there = path.ancestors().find(|path| path.exists())?;
    free_in(there)
}

#[cfg(unix)]
fn free_in(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

#[cfg(not(unix))]
fn free_in(_path: &Path) -> Option<u64> {
    None
}

/// An error where `needed` bytes for `what` do not fit where `path` is or will be.
pub fn ask(path: &Path, needed: u64, what: impl FnOnce() -> String) -> Result<(), StoreError> {
    match free_bytes(path) {
        Some(free) if free < needed => Err(StoreError::NoRoom {
            what: what(),
            path: path.to_path_buf(),
            needed,
            free,
            source: no_space(),
        }),
        _ => Ok(()),
    }
}

/// What the system says when a disk is full.
fn no_space() -> std::io::Error {
    #[cfg(unix)]
    return rustix::io::Errno::NOSPC.into();
    #[cfg(not(unix))]
    std::io::ErrorKind::StorageFull.into()
}

/// Writes and removes a file in the sweep's folder `root`.
pub(crate) fn try_folder(root: &Path) -> Result<(), StoreError> {
    let trials = layout::trials(root);
    own_files::check_folder(root, &trials)?;
    atomic::create_dir(&trials)?;
    let probe = atomic::beside(&trials.join(TRIED), atomic::TEMPORARY);
    let tried = own_files::create_temporary(&probe)
        .and_then(|mut file| {
            file.write_all(&vec![0; TRIED_BYTES])?;
            file.sync_all()
        })
        .map_err(StoreError::io("write a megabyte to try the disk at", &probe));
    let removed = own_files::remove_file(&probe).map_err(StoreError::io("remove", &probe));
    tried.and(removed.map(|_| ()))
}

/// Whether [`try_folder`] writes under this name.
pub(crate) fn is_tried(name: &str) -> bool {
    name == TRIED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn what_does_not_fit_is_refused_as_a_full_disk_with_both_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("not/there/yet");
        let free = free_bytes(&place).unwrap();
        assert!(free > 0);
        ask(&place, 1, String::new).unwrap();
        let needed = u64::MAX;
        let error = ask(&place, needed, || "a checkpoint".to_owned()).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("no room for a checkpoint in `"), "{said}");
        assert!(said.contains(&format!("{needed} bytes are needed")), "{said}");
        let cause = std::error::Error::source(&error).unwrap();
        let cause = cause.downcast_ref::<std::io::Error>().unwrap();
        assert_eq!(cause.kind(), std::io::ErrorKind::StorageFull);
        assert!(error.help().unwrap().starts_with("make room on the disk"), "{error:?}");
    }
}
