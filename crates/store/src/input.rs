//! What an input file holds: data, a model's small files, and weights.
//!
//! Every file is known by the SHA-256 of its whole content. Weights of more than [`SMALL`] bytes are
//! not read in full at every start: as long as their size, their time of change and the hash of a
//! sample (the first and last megabyte, which hold the header, and 64 pieces of 64 KiB in between)
//! are what they were when they were read in full, the hash of then is taken. When one of these is
//! different (a copy has another time), the file is read in full again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::StoreError;
use crate::hash::hex;
use crate::own_files;

/// Weights up to this size are read in full at every start.
const SMALL: u64 = 256 << 20;
/// Of larger ones, these are read: the two ends, and pieces in between.
const END: u64 = 1 << 20;
const PIECE: u64 = 64 << 10;
const PIECES: u64 = 64;

/// An input file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Where it lay.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content in hexadecimal; absent for weights in files of earlier versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of weights, what is looked at before they are read in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampled>,
}

/// By what a large file is recognised without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampled {
    /// When it was changed last, in nanoseconds since 1970.
    pub modified_ns: u64,
    /// SHA-256 of parts of it.
    pub sha256: String,
}

impl InputFile {
    /// Whether two files hold the same, as far as both are known.
    pub fn is_same(&self, other: &Self) -> bool {
        let hashes = self.sha256.as_ref().zip(other.sha256.as_ref());
        self.bytes == other.bytes && hashes.is_none_or(|(a, b)| a == b)
    }

    /// Whether two files are known to hold the same.
    pub fn is_known_same(&self, other: &Self) -> bool {
        self.sha256.is_some() && self.sha256 == other.sha256 && self.bytes == other.bytes
    }
}

/// Size and SHA-256 of a file.
pub fn hash_file(path: &Path) -> Result<InputFile, StoreError> {
    hash(path, File::open(path))
}

/// The same of a file within a results folder.
pub(crate) fn hash_own_file(path: &Path) -> Result<InputFile, StoreError> {
    hash(path, own_files::open(path))
}

fn hash(path: &Path, file: io::Result<File>) -> Result<InputFile, StoreError> {
    let mut hasher = Sha256::new();
    let bytes = file
        .and_then(|mut file| io::copy(&mut file, &mut hasher))
        .map_err(StoreError::io("read", path))?;
    let sha256 = Some(hex(&hasher.finalize()));
    Ok(InputFile { path: path.display().to_string(), bytes, sha256, sampled: None })
}

/// The content of a file of weights. A large one that by its sample is one of `known` is not read in
/// full.
pub fn hash_weights<'a>(
    path: &Path,
    known: impl IntoIterator<Item = &'a InputFile>,
) -> Result<InputFile, StoreError> {
    hash_weights_above(SMALL, path, known)
}

fn hash_weights_above<'a>(
    small: u64,
    path: &Path,
    known: impl IntoIterator<Item = &'a InputFile>,
) -> Result<InputFile, StoreError> {
    let (bytes, sampled) = sample(path).map_err(StoreError::io("read", path))?;
    let is_it = |file: &&InputFile| {
        file.bytes == bytes && file.sampled.as_ref() == Some(&sampled) && file.sha256.is_some()
    };
    let before = known.into_iter().find(is_it).filter(|_| bytes > small);
    let sha256 = match before {
        Some(before) => before.sha256.clone(),
        None => hash_file(path)?.sha256,
    };
    Ok(InputFile { path: path.display().to_string(), bytes, sha256, sampled: Some(sampled) })
}

fn sample(path: &Path) -> io::Result<(u64, Sampled)> {
    let mut file = File::open(path)?;
    let found = file.metadata()?;
    let bytes = found.len();
    let modified = found.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut hasher = Sha256::new();
    let mut take = |from: u64, length: u64| -> io::Result<()> {
        file.seek(SeekFrom::Start(from))?;
        io::copy(&mut (&mut file).take(length), &mut hasher).map(|_| ())
    };
    take(0, END)?;
    let between = bytes.saturating_sub(2 * END);
    if between > PIECES * PIECE {
        let step = between / PIECES;
        (0..PIECES).try_for_each(|piece| take(END + piece * step, PIECE))?;
    } else {
        take(END, between)?;
    }
    take(bytes.saturating_sub(END).max(END), END)?;
    // Enough for some centuries.
    let modified_ns = u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX);
    Ok((bytes, Sampled { modified_ns, sha256: hex(&hasher.finalize()) }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn large(dir: &Path) -> (std::path::PathBuf, Vec<u8>) {
        let path = dir.join("model.safetensors");
        let content: Vec<u8> = (0..9u32 << 20).map(|at| (at.wrapping_mul(31) >> 7) as u8).collect();
        fs::write(&path, &content).unwrap();
        (path, content)
    }

    /// As if it were large.
    fn hash_large(path: &Path, known: &[InputFile]) -> InputFile {
        hash_weights_above(0, path, known).unwrap()
    }

    #[test]
    fn weights_that_look_unchanged_are_not_read_in_full_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = large(dir.path());
        let mut known = hash_large(&path, &[]);
        assert_eq!(known.sha256, hash_file(&path).unwrap().sha256);
        known.sha256 = Some("remembered".to_owned());
        assert_eq!(hash_large(&path, std::slice::from_ref(&known)).sha256, known.sha256);
        assert_ne!(hash_weights(&path, [&known]).unwrap().sha256, known.sha256, "it is small");
    }

    #[test]
    fn weights_changed_at_any_place_are_read_in_full() {
        let dir = tempfile::tempdir().unwrap();
        let (path, content) = large(dir.path());
        let known = hash_large(&path, &[]);
        for at in [0, 3 << 20, content.len() / 2 + 1, content.len() - 1] {
            let mut changed = content.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            // The clock may be too coarse to tell the two writings apart.
            let later = SystemTime::now() + Duration::from_secs(at as u64 + 1);
            File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
            let now = hash_large(&path, std::slice::from_ref(&known));
            assert_eq!(now.sha256, hash_file(&path).unwrap().sha256, "byte {at}");
            assert!(!now.is_same(&known), "byte {at}");
        }
    }

    #[test]
    fn a_sample_sees_both_ends_of_a_file_of_any_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for length in [1, 100, END, END + 1, 2 * END, 2 * END + 7, 8 * END] {
            let mut content = vec![7u8; length as usize];
            fs::write(&path, &content).unwrap();
            let before = sample(&path).unwrap().1.sha256;
            *content.last_mut().unwrap() = 8;
            fs::write(&path, &content).unwrap();
            assert_ne!(sample(&path).unwrap().1.sha256, before, "{length}");
        }
    }
}
