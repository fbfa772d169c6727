//! Manifests: the hashes of what lorasweep wrote under names that a person may use as well.
//!
//! A manifest is written before the files, with the hashes of the old and of the new ones, so that
//! after a crash at any moment every file of ours is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::hash::hash_bytes;
use crate::{atomic, own_files};

const FORMAT: u32 = 1;

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

    /// Where there is none, or one that cannot be read, nothing proves that any file is ours.
    pub(crate) fn read(path: &Path) -> Self {
        let read = own_files::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        read.filter(|read: &Self| read.v == FORMAT).unwrap_or_default()
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

    /// Whether `content` was written under `name`.
    pub(crate) fn vouches_for(&self, name: &str, content: &[u8]) -> bool {
        self.files.get(name).is_some_and(|hashes| hashes.contains(&hash_bytes(content)))
    }

    /// Whether the file at `path` is one that was written under `name`.
    pub(crate) fn vouches_for_file(&self, name: &str, path: &Path) -> bool {
        own_files::read(path).is_ok_and(|content| self.vouches_for(name, &content))
    }
}
