//! Manifests: the hashes of what lorasweep wrote under names that a person may use as well.
//!
//! A manifest is written before the files, with the hashes of the old and of the new ones, so that
//! after a crash at any moment every file of ours is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::identity::hash_bytes;
use crate::{atomic, own_files};

const FORMAT: u32 = 1;

/// Why a file that is not as lorasweep wrote it stays.
pub(crate) const NOT_AS_WRITTEN: &str = "lorasweep did not write it, or it was changed since";

/// What stays as it is where a file would have been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The file or folder.
    pub path: PathBuf,
    /// Why lorasweep does not touch it.
    pub reason: String,
}

impl Kept {
    /// A file that is not as lorasweep wrote it.
    pub(crate) fn not_as_written(path: PathBuf) -> Self {
        Self { path, reason: NOT_AS_WRITTEN.to_owned() }
    }
}

/// The SHA-256 of what was, or was about to be, written under each name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    v: u32,
    pub(crate) files: BTreeMap<String, BTreeSet<String>>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self { v: FORMAT, files: BTreeMap::new() }
    }
}

impl Manifest {
    /// Of files with these names and contents.
    pub(crate) fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let hashed = |(name, bytes): (&str, &[u8])| (name.to_owned(), [hash_bytes(bytes)].into());
        Self { v: FORMAT, files: files.into_iter().map(hashed).collect() }
    }

    /// `None`: there is none, as in folders of earlier versions. One that cannot be read proves
    /// nothing of any file.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        match own_files::read(path) {
            Ok(bytes) => {
                let read = serde_json::from_slice::<Self>(&bytes);
                Some(read.ok().filter(|read| read.v == FORMAT).unwrap_or_default())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(_) => Some(Self::default()),
        }
    }

    /// Before there were manifests, its name was all that told that a file in `dir` is ours.
    pub(crate) fn adopt<'a>(dir: &Path, names: impl IntoIterator<Item = &'a str>) -> Self {
        let hashed = |name: &str| {
            let path = dir.join(name);
            own_files::check_place(dir, &path).ok()?;
            Some((name.to_owned(), [hash_bytes(&own_files::read(&path).ok()?)].into()))
        };
        Self { v: FORMAT, files: names.into_iter().filter_map(hashed).collect() }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), StoreError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| StoreError::DamagedJson { path: path.to_path_buf(), source })?;
        atomic::write_file(path, &text)
    }

    /// What either knows.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (name, hashes) in &other.files {
            both.files.entry(name.clone()).or_default().extend(hashes.iter().cloned());
        }
        Self { v: FORMAT, ..both }
    }

    /// Whether the file at `path` is one that was written under `name`.
    pub(crate) fn vouches_for(&self, name: &str, path: &Path) -> bool {
        let content = || own_files::read(path).ok().map(|bytes| hash_bytes(&bytes));
        self.files.get(name).is_some_and(|hashes| content().is_some_and(|it| hashes.contains(&it)))
    }
}
