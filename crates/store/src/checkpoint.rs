//! Checkpoints of trials: one file and a manifest that vouches for it.
//!
//! A running trial has one to go on from after an interruption. A trial whose steps others share
//! leaves another where they go on from: its fork.
//!
//! The manifest is written last and the former checkpoint removed after that, so that at every
//! moment the manifest names a complete file. A checkpoint that is not what its manifest says is
//! reported as damaged and never used.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{BuildError, StoreError};
use crate::input::{InputFile, hash_own_file};
use crate::layout::Purpose;
use crate::{atomic, layout, leftovers, own_files};
use spec::TrialId;

const MANIFEST: &str = "manifest.json";
/// What the trainer writes, until its step and hash are known.
const UNFINISHED: &str = "checkpoint";
/// Digits of the step and of the hash in a checkpoint's name.
const STEP_DIGITS: usize = 8;
const HASH_DIGITS: usize = 8;
/// Version of the manifest. The content of the checkpoint itself is the trainer's business.
const FORMAT: u32 = 1;

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The trainer's file.
    pub path: PathBuf,
    /// Optimizer steps taken when it was saved.
    pub step: u32,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint `{}` cannot be used: {reason}", path.display())]
pub struct CheckpointDamage {
    /// The file at fault.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    v: u32,
    file: String,
    step: u32,
    bytes: u64,
    sha256: String,
}

/// Saves a checkpoint with `save`, which writes the given file and returns the step.
pub(crate) fn save(
    root: &Path,
    trial: TrialId,
    purpose: Purpose,
    save: impl FnOnce(&Path) -> Result<u32, BuildError>,
) -> Result<u32, StoreError> {
    let dir = layout::checkpoint(root, trial, purpose);
    own_files::check_folder(root, &dir)?;
    atomic::create_dir(&dir)?;
    // A folder, since what the trainer's libraries leave in it when they are interrupted has names
    // of their own.
    let temporary = atomic::beside(&dir.join(UNFINISHED), atomic::TEMPORARY);
    own_files::create_temporary_dir(&temporary).map_err(StoreError::io("create", &temporary))?;
    let saved = save_in(&temporary, &dir, save);
    let removed = own_files::remove_temporary_dir(&temporary);
    // The error that matters is the first one.
    let (step, file, content) = saved?;
    removed.map_err(StoreError::io("remove the folder", &temporary))?;
    let (bytes, sha256) = (content.bytes, content.sha256.unwrap_or_default());
    let manifest = Manifest { v: FORMAT, file, step, bytes, sha256 };
    let path = dir.join(MANIFEST);
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|source| StoreError::DamagedJson { path: path.clone(), source })?;
    atomic::write_file(&path, &text)?;
    remove_others(&dir, Some(&manifest.file))?;
    Ok(step)
}

/// Lets `save` write a file in `temporary` and moves it into `dir`; returns its step, its name there
/// and its content.
fn save_in(
    temporary: &Path,
    dir: &Path,
    save: impl FnOnce(&Path) -> Result<u32, BuildError>,
) -> Result<(u32, String, InputFile), StoreError> {
    let path = temporary.join(UNFINISHED);
    let step =
        save(&path).map_err(|source| StoreError::Build { path: dir.to_path_buf(), source })?;
    atomic::sync_file(&path)?;
    let content = hash_own_file(&path)?;
    let hash = content.sha256.as_deref().unwrap_or_default();
    // The hash in the name keeps two savings of the same step apart.
    let file = format!("step-{step:0STEP_DIGITS$}-{}.ckpt", &hash[..HASH_DIGITS]);
    atomic::rename(&path, &dir.join(&file))?;
    Ok((step, file, content))
}

/// The trial's checkpoint: `None` when it has none, an error when it has one that must not be
/// used.
pub(crate) fn find(
    root: &Path,
    trial: TrialId,
    purpose: Purpose,
) -> Result<Option<Checkpoint>, CheckpointDamage> {
    let dir = layout::checkpoint(root, trial, purpose);
    let manifest = dir.join(MANIFEST);
    let damage = |path: &Path, reason: String| CheckpointDamage { path: path.into(), reason };
    let text = match own_files::read_to_string(&manifest) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(damage(&manifest, error.to_string())),
    };
    let found: Manifest =
        serde_json::from_str(&text).map_err(|error| damage(&manifest, error.to_string()))?;
    if found.v > FORMAT {
        return Err(damage(&manifest, "it was written by a newer lorasweep".to_owned()));
    }
    if Path::new(&found.file).file_name() != Some(found.file.as_ref()) {
        return Err(damage(&manifest, format!("it names `{}`, outside its folder", found.file)));
    }
    let path = dir.join(&found.file);
    let content = hash_own_file(&path).map_err(|error| damage(&path, causes(&error)))?;
    if content.bytes != found.bytes {
        let reason = format!("it has {} bytes instead of {}", content.bytes, found.bytes);
        return Err(damage(&path, reason));
    }
    if content.sha256.as_ref() != Some(&found.sha256) {
        return Err(damage(&path, "its checksum is wrong".to_owned()));
    }
    Ok(Some(Checkpoint { path, step: found.step }))
}

/// Bytes of the checkpoints in the folder `dir`.
pub(crate) fn bytes_in(dir: &Path) -> Result<u64, StoreError> {
    if !own_files::is_dir(dir) {
        return Ok(0);
    }
    let is_one =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(is_checkpoint);
    let paths = atomic::own_entries(dir)?;
    let sizes = paths
        .iter()
        .filter(|path| is_one(path))
        .filter_map(|path| path.symlink_metadata().ok().map(|found| found.len()));
    Ok(sizes.sum())
}

/// Removes the trial's checkpoint, if any. What else lies in its folder stays.
pub(crate) fn discard(root: &Path, trial: TrialId, purpose: Purpose) -> Result<(), StoreError> {
    let dir = layout::checkpoint(root, trial, purpose);
    if let Err(error) = own_files::check_folder(root, &dir) {
        // What lies behind a link is none of ours, and nobody goes on from it.
        return error.or_kept().map(|_| ());
    }
    // Without its manifest a checkpoint does not count, so that goes first.
    let manifest = dir.join(MANIFEST);
    own_files::remove_file(&manifest).map_err(StoreError::io("remove", &manifest))?;
    remove_leftovers(&dir)?;
    remove_others(&dir, None)?;
    own_files::remove_empty_dir(&dir).map_err(StoreError::io("remove the folder", &dir))
}

/// Removes what processes that died while they saved left in the folder `dir`.
pub(crate) fn remove_leftovers(dir: &Path) -> Result<(), StoreError> {
    leftovers::remove_leftovers(dir, |name| [MANIFEST, UNFINISHED].contains(&name))
}

fn remove_others(dir: &Path, keep: Option<&str>) -> Result<(), StoreError> {
    for path in atomic::own_entries(dir)? {
        let name = path.file_name().and_then(|name| name.to_str());
        if name != keep && name.is_some_and(is_checkpoint) {
            own_files::remove_file(&path)
                .map_err(StoreError::io("remove the old checkpoint", &path))?;
        }
    }
    Ok(())
}

/// Whether `name` is one that [`save`] gives: `step-00000012-0123abcd.ckpt`.
fn is_checkpoint(name: &str) -> bool {
    let parts = name.strip_prefix("step-").and_then(|name| name.strip_suffix(".ckpt"));
    parts.and_then(|parts| parts.split_once('-')).is_some_and(|(step, hash)| {
        step.len() >= STEP_DIGITS
            && step.bytes().all(|byte| byte.is_ascii_digit())
            && hash.len() == HASH_DIGITS
            && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn causes(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TRIAL: TrialId = TrialId(3);

    fn saved(root: &Path, step: u32, content: &str) {
        save(root, TRIAL, Purpose::Resume, |path| {
            fs::write(path, content)?;
            Ok(step)
        })
        .unwrap();
    }

    fn file_of(root: &Path) -> PathBuf {
        find(root, TRIAL, Purpose::Resume).unwrap().unwrap().path
    }

    #[test]
    fn the_last_checkpoint_is_found_and_the_one_before_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path(), TRIAL, Purpose::Resume), Ok(None));
        saved(dir.path(), 10, "ten");
        saved(dir.path(), 20, "twenty");
        let found = find(dir.path(), TRIAL, Purpose::Resume).unwrap().unwrap();
        assert_eq!(found.step, 20);
        assert_eq!(fs::read_to_string(found.path).unwrap(), "twenty");
        let left =
            atomic::entries(&layout::checkpoint(dir.path(), TRIAL, Purpose::Resume)).unwrap();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn a_fork_and_a_checkpoint_of_one_trial_do_not_replace_each_other() {
        let dir = tempfile::tempdir().unwrap();
        saved(dir.path(), 10, "ten");
        save(dir.path(), TRIAL, Purpose::Fork, |path| {
            fs::write(path, "eight")?;
            Ok(8)
        })
        .unwrap();
        discard(dir.path(), TRIAL, Purpose::Resume).unwrap();
        assert_eq!(find(dir.path(), TRIAL, Purpose::Resume), Ok(None));
        assert_eq!(find(dir.path(), TRIAL, Purpose::Fork).unwrap().unwrap().step, 8);
    }

    #[test]
    fn a_saving_that_fails_leaves_the_checkpoint_before_it() {
        let dir = tempfile::tempdir().unwrap();
        saved(dir.path(), 10, "ten");
        let failed = save(dir.path(), TRIAL, Purpose::Resume, |path| {
            fs::write(path, "half")?;
            Err("no room".into())
        });
        assert!(failed.is_err());
        assert_eq!(find(dir.path(), TRIAL, Purpose::Resume).unwrap().unwrap().step, 10);
    }

    #[test]
    fn a_truncated_checkpoint_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        saved(dir.path(), 10, "0123456789");
        fs::write(file_of(dir.path()), "01234").unwrap();
        let damage = find(dir.path(), TRIAL, Purpose::Resume).unwrap_err();
        assert_eq!(damage.reason, "it has 5 bytes instead of 10");
    }

    #[test]
    fn a_checkpoint_with_one_changed_bit_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        saved(dir.path(), 10, "0123456789");
        fs::write(file_of(dir.path()), "0123456788").unwrap();
        assert_eq!(
            find(dir.path(), TRIAL, Purpose::Resume).unwrap_err().reason,
            "its checksum is wrong"
        );
    }

    #[test]
    fn a_manifest_that_names_a_file_elsewhere_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        saved(dir.path(), 10, "ten");
        let manifest = layout::checkpoint(dir.path(), TRIAL, Purpose::Resume).join(MANIFEST);
        let text = fs::read_to_string(&manifest).unwrap();
        let name = file_of(dir.path()).file_name().unwrap().to_str().unwrap().to_owned();
        for elsewhere in ["../../secret", "/etc/passwd", "..", "", "a/b"] {
            fs::write(&manifest, text.replace(&name, elsewhere)).unwrap();
            let damage = find(dir.path(), TRIAL, Purpose::Resume).unwrap_err();
            assert!(damage.reason.ends_with("outside its folder"), "{damage}");
        }
    }

    #[test]
    fn a_checkpoint_whose_file_is_gone_is_damaged_not_absent() {
        let dir = tempfile::tempdir().unwrap();
        saved(dir.path(), 10, "ten");
        fs::remove_file(file_of(dir.path())).unwrap();
        assert!(find(dir.path(), TRIAL, Purpose::Resume).is_err());
    }
}
