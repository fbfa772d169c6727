//! Adapters' files and the checksums that they carry from the moment they are written.
//!
//! `SHA256SUMS` beside an adapter's files says, as `sha256sum -c` reads it, what they were when they
//! were written. An adapter is copied by the names of the files that are wanted, never through a
//! link, and never when it is not what its checksums say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use spec::TrialId;

use crate::error::{BuildError, StoreError};
use crate::hash::hex;
use crate::ours::Ours;
use crate::own_files::open;
use crate::replace::replace_dir;
use crate::sums::{self, Sums};
use crate::{layout, own_files};

/// The file of checksums in an adapter's folder, and in an export.
pub const CHECKSUMS: &str = "SHA256SUMS";
/// An adapter's settings, as PEFT names them.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// An adapter's weights, as PEFT names them.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// Files of a tokenizer, which some trainers write beside an adapter: it may have new tokens.
pub const TOKENIZER_FILES: [&str; 13] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
];
/// Weights as PEFT pickles them: kept of what another trainer wrote, and never read.
const PICKLED_WEIGHTS: &str = "adapter_model.bin";

/// What an adapter's checksums say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterCheck {
    /// It is as it was written.
    Verified,
    /// An earlier version wrote it, without checksums: nothing says whether it is whole.
    NoChecksums,
}

/// Why an adapter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the adapter file `{}` is damaged: {reason}", path.display())]
pub struct AdapterDamage {
    /// The file at fault.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl AdapterDamage {
    fn new(path: &Path, reason: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), reason: reason.into() }
    }

    /// What the person can do about it.
    pub fn help() -> String {
        "take the adapter of another epoch (`lorasweep export --epoch N`) or of another trial \
         (`lorasweep export --trial N`), restore the file from a copy, or train that trial again \
         (`lorasweep run --fresh`)"
            .to_owned()
    }
}

/// Writes the checksums of all files in `dir`, which were just written.
pub(crate) fn seal(dir: &Path) -> Result<(), StoreError> {
    let is_file_of_its = |name: &Path| {
        let is_hidden = name.to_str().is_some_and(|name| name.starts_with('.'));
        name.components().count() == 1 && !is_hidden
    };
    sums::write_checksums(dir, CHECKSUMS, is_file_of_its, &BTreeMap::new())
}

/// Whether a file of this name is kept in a trial's adapter folder.
pub fn is_kept_in_adapter(name: &Path) -> bool {
    let adapter = [ADAPTER_CONFIG, ADAPTER_WEIGHTS, PICKLED_WEIGHTS];
    adapter.iter().chain(&TOKENIZER_FILES).any(|known| name == Path::new(known))
}

/// Whether lorasweep gave a file of a trial's adapter folder its name.
pub(crate) fn is_in_adapter(name: &Path) -> bool {
    name == Path::new(CHECKSUMS) || is_kept_in_adapter(name)
}

/// Checks the adapter in `dir` against its checksums.
pub fn verify_adapter(dir: &Path) -> Result<AdapterCheck, AdapterDamage> {
    read_files(dir, &[], |_, file| hash(file, &mut io::sink()))
}

/// Copies an adapter, and of the files beside it those of the names `more`, where they have
/// checksums, into the folder `to`. What is not as it was written is an error.
pub fn copy_adapter(from: &Path, to: &Path, more: &[&str]) -> Result<AdapterCheck, AdapterDamage> {
    read_files(from, more, |name, file| hash(file, &mut File::create(to.join(name))?))
}

/// Reads the files of an adapter with `read`, which returns a file's checksum.
fn read_files(
    dir: &Path,
    more: &[&str],
    mut read: impl FnMut(&str, File) -> io::Result<String>,
) -> Result<AdapterCheck, AdapterDamage> {
    let sums = checksums(dir)?;
    let further =
        more.iter().filter(|name| sums.as_ref().is_some_and(|sums| sums.verified(name).is_some()));
    for name in [ADAPTER_CONFIG, ADAPTER_WEIGHTS].iter().chain(further) {
        let path = dir.join(name);
        let unreadable = |error: io::Error| AdapterDamage::new(&path, error.to_string());
        let found = open(&path).and_then(|file| read(name, file)).map_err(unreadable)?;
        let Some(sums) = &sums else { continue };
        match sums.verified(name) {
            Some(then) if then == found => {}
            Some(_) => return Err(AdapterDamage::new(&path, "its checksum is wrong")),
            None => {
                let reason = format!("`{CHECKSUMS}` beside it does not name it");
                return Err(AdapterDamage::new(&path, reason));
            }
        }
    }
    Ok(if sums.is_some() { AdapterCheck::Verified } else { AdapterCheck::NoChecksums })
}

/// The checksums by file name; `None` where there is no file of them.
fn checksums(dir: &Path) -> Result<Option<Sums>, AdapterDamage> {
    let path = dir.join(CHECKSUMS);
    Sums::read(&path).map_err(|error| AdapterDamage::new(&path, error.to_string()))
}

/// Copies `from` and returns the SHA-256 of what was copied, in hexadecimal.
fn hash(mut from: File, to: &mut impl Write) -> io::Result<String> {
    struct Both<'a, W>(&'a mut W, Sha256);
    impl<W: Write> Write for Both<'_, W> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write_all(bytes)?;
            self.1.update(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    let mut both = Both(to, Sha256::new());
    io::copy(&mut from, &mut both)?;
    Ok(hex(&both.1.finalize()))
}

/// Fills the trial's adapter folder with `save` as [`save_if_any`] does.
pub(crate) fn save(
    root: &Path,
    trial: TrialId,
    save: impl FnOnce(&Path) -> Result<bool, BuildError>,
) -> Result<bool, StoreError> {
    save_if_any(root, &layout::adapter(root, trial), save)
}

/// Fills the folder `target` with `save`, which returns whether there was anything to save; if not,
/// no folder appears.
pub(crate) fn save_if_any(
    root: &Path,
    target: &Path,
    save: impl FnOnce(&Path) -> Result<bool, BuildError>,
) -> Result<bool, StoreError> {
    own_files::check_folder(root, target)?;
    let saved = replace_dir(target, Ours::by_name(is_in_adapter), |dir| {
        let saved = save(dir)?;
        if saved {
            seal(dir)?;
        }
        Ok(saved)
    })?;
    if !saved {
        own_files::remove_empty_dir(target).map_err(StoreError::io("remove the folder", target))?;
    }
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::atomic;

    fn adapter(dir: &Path) -> PathBuf {
        let adapter = dir.join("adapter");
        fs::create_dir(&adapter).unwrap();
        fs::write(adapter.join(ADAPTER_CONFIG), "{}").unwrap();
        fs::write(adapter.join(ADAPTER_WEIGHTS), "weights").unwrap();
        seal(&adapter).unwrap();
        adapter
    }

    fn copy(dir: &Path, adapter: &Path) -> (Result<AdapterCheck, AdapterDamage>, Vec<String>) {
        let to = tempfile::tempdir_in(dir).unwrap();
        let copied = copy_adapter(adapter, to.path(), &["tokenizer.json"]);
        let names = atomic::entries(to.path()).unwrap();
        let names = names.iter().map(|path| path.file_name().unwrap().to_string_lossy().into());
        (copied, names.collect())
    }

    #[test]
    fn a_whole_adapter_is_copied_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let adapter = adapter(dir.path());
        fs::write(adapter.join("id_rsa"), "secret").unwrap();
        fs::write(adapter.join("tokenizer.json"), "put here later").unwrap();
        let (copied, names) = copy(dir.path(), &adapter);
        assert_eq!(copied, Ok(AdapterCheck::Verified));
        assert_eq!(names, [ADAPTER_CONFIG, ADAPTER_WEIGHTS]);
        assert_eq!(verify_adapter(&adapter), Ok(AdapterCheck::Verified));
    }

    #[test]
    fn one_bit_a_cut_and_an_empty_file_are_damage() {
        let dir = tempfile::tempdir().unwrap();
        let adapter = adapter(dir.path());
        for content in ["weightr", "weight", ""] {
            fs::write(adapter.join(ADAPTER_WEIGHTS), content).unwrap();
            let damage = verify_adapter(&adapter).unwrap_err();
            assert_eq!(damage.reason, "its checksum is wrong", "{content}");
            assert_eq!(copy(dir.path(), &adapter).0, Err(damage));
        }
        fs::remove_file(adapter.join(ADAPTER_WEIGHTS)).unwrap();
        assert!(verify_adapter(&adapter).is_err());
    }

    #[test]
    fn a_file_of_checksums_that_is_cut_vouches_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let adapter = adapter(dir.path());
        let sums = fs::read_to_string(adapter.join(CHECKSUMS)).unwrap();
        for length in 1..sums.len() - 1 {
            fs::write(adapter.join(CHECKSUMS), &sums[..length]).unwrap();
            assert!(verify_adapter(&adapter).is_err(), "{length}");
        }
    }

    #[test]
    fn an_adapter_of_an_earlier_version_is_used_and_said_to_be_unverified() {
        let dir = tempfile::tempdir().unwrap();
        let adapter = adapter(dir.path());
        fs::remove_file(adapter.join(CHECKSUMS)).unwrap();
        assert_eq!(copy(dir.path(), &adapter).0, Ok(AdapterCheck::NoChecksums));
    }

    #[test]
    #[cfg(unix)]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        for name in [ADAPTER_CONFIG, ADAPTER_WEIGHTS, CHECKSUMS] {
            let adapter = adapter(dir.path());
            let elsewhere = dir.path().join("elsewhere");
            fs::rename(adapter.join(name), &elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, adapter.join(name)).unwrap();
            let damage = copy(dir.path(), &adapter).0.unwrap_err();
            assert!(
                damage.reason.starts_with("it is a symbolic link"),
                "{name}: {}",
                damage.reason
            );
            fs::remove_dir_all(adapter).unwrap();
        }
    }
}
