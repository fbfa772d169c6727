//! One driver a sweep, one process a worker: an exclusive lock on a file that says who holds it.
//!
//! The operating system's lock decides, not the file's content, so a process that died holds
//! nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::StoreError;
use crate::foreign::NotOurs;
use crate::place::Holder;
use crate::{layout, own_files};

/// `status` takes the lock for an instant to see whether it is free; a driver that starts in
/// that instant must not be refused.
const PATIENCE: Duration = Duration::from_millis(200);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(10);

/// The right to drive a sweep, until dropped.
#[derive(Debug)]
pub(crate) struct DriverLock {
    _file: File,
}

impl DriverLock {
    /// Takes the lock of the sweep in `root`, or says who has it.
    pub(crate) fn acquire(root: &Path) -> Result<Self, StoreError> {
        Self::wait_for(root, PATIENCE)
    }

    /// Takes the lock, waiting for one that others hold for a moment.
    pub(crate) fn wait_for(root: &Path, patience: Duration) -> Result<Self, StoreError> {
        match take(&layout::lock(root), patience)? {
            Taken::Yes(file) => Ok(Self { _file: file }),
            Taken::By(holder) => Err(StoreError::Locked { path: root.to_path_buf(), holder }),
        }
    }
}

/// Shows that a worker process lives, until dropped. Where the file system has no locks it shows
/// nothing; nobody relies on it there.
#[derive(Debug)]
pub(crate) struct Alive {
    _file: Option<File>,
}

impl Alive {
    /// Takes the lock `path`, if that is possible.
    pub(crate) fn begin(path: &Path) -> Self {
        match take(path, PATIENCE) {
            Ok(Taken::Yes(file)) => Self { _file: Some(file) },
            Ok(Taken::By(_)) | Err(_) => Self { _file: None },
        }
    }
}

enum Taken {
    Yes(File),
    By(Holder),
}

/// Takes the lock `path`, waiting for one that others hold for a moment.
fn take(path: &Path, patience: Duration) -> Result<Taken, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file =
        own_files::open_with(&mut options, path).map_err(StoreError::io("open the lock", path))?;
    refuse_others(&mut file).map_err(StoreError::io("take as the lock", path))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if begun.elapsed() < patience => {
                std::thread::sleep(BETWEEN_ATTEMPTS);
            }
            Err(TryLockError::WouldBlock) => return Ok(Taken::By(read_holder(&mut file))),
            Err(TryLockError::Error(source)) => return Err(StoreError::io("lock", path)(source)),
        }
    }
    sign(&mut file).map_err(StoreError::io("write the lock", path))?;
    Ok(Taken::Yes(file))
}

/// Who drives the sweep in `root` right now, if anyone does.
pub(crate) fn holder(root: &Path) -> Result<Option<Holder>, StoreError> {
    holder_of(&layout::lock(root))
}

/// Who holds the lock `path`, if anyone does.
pub(crate) fn holder_of(path: &Path) -> Result<Option<Holder>, StoreError> {
    let mut file = match own_files::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open the lock", path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&mut file))),
        Err(TryLockError::Error(source)) => Err(StoreError::io("lock", path)(source)),
    }
}

/// An error when the file holds something that no holder of the lock writes: signing would destroy
/// a person's file of that name. A crash may leave nothing, or zeros.
fn refuse_others(file: &mut File) -> std::io::Result<()> {
    const BEGINS: &[u8] = br#"{"pid":"#;
    let mut bytes = Vec::new();
    (&mut *file).take(BEGINS.len() as u64).read_to_end(&mut bytes)?;
    file.rewind()?;
    let is_ours = bytes.iter().zip(BEGINS).all(|(found, ours)| found == ours);
    if is_ours || bytes.iter().all(|&byte| byte == 0) {
        Ok(())
    } else {
        Err(NotOurs::Content.into())
    }
}

fn sign(file: &mut File) -> std::io::Result<()> {
    let text = serde_json::to_string(&Holder::this_process()).map_err(std::io::Error::other)?;
    own_files::truncate(file, 0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

/// The holder may be signing just now: what cannot be read is an unknown holder, not an error.
fn read_holder(file: &mut File) -> Holder {
    /// No signature is longer.
    const MOST: u64 = 1 << 16;
    let mut text = String::new();
    file.take(MOST)
        .read_to_string(&mut text)
        .ok()
        .and_then(|_| serde_json::from_str(&text).ok())
        .unwrap_or_else(Holder::unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;

    #[test]
    fn the_second_driver_is_refused_and_told_who_holds_the_sweep() {
        let dir = tempfile::tempdir().unwrap();
        let first = DriverLock::acquire(dir.path()).unwrap();
        match DriverLock::acquire(dir.path()) {
            Err(StoreError::Locked { holder, .. }) => {
                assert_eq!(holder.pid, std::process::id());
                assert!(holder.is_process_here());
            }
            other => panic!("expected Locked, got {other:?}"),
        }
        assert_eq!(holder(dir.path()).unwrap().unwrap().pid, std::process::id());
        drop(first);
        assert_eq!(holder(dir.path()).unwrap(), None);
        DriverLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_persons_file_in_the_place_of_the_lock_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = layout::lock(dir.path());
        std::fs::write(&path, "the combination is 1234").unwrap();
        let error = DriverLock::acquire(dir.path()).unwrap_err();
        assert!(error.help().unwrap().contains("elsewhere"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the combination is 1234");
        for left_by_a_crash in ["", "\0\0\0", "{\"pi"] {
            std::fs::write(&path, left_by_a_crash).unwrap();
            DriverLock::acquire(dir.path()).unwrap();
        }
    }

    /// As on a shared file system with locks.
    #[test]
    fn a_lock_that_another_machine_holds_names_no_process_of_this_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alive");
        let held = File::create(&path).unwrap();
        held.lock().unwrap();
        let pid = std::process::id();
        let own = Holder::this_process();
        let elsewhere = Place { host: "another".into(), ..Place::this() };
        for (holder, is_here) in [
            (own.clone(), true),
            (Holder { place: Some(Box::new(elsewhere)), ..own.clone() }, false),
            (Holder { place: None, ..own.clone() }, false),
            (Holder { start_ticks: own.start_ticks.map(|at| at + 60), ..own }, false),
        ] {
            std::fs::write(&path, serde_json::to_string(&holder).unwrap()).unwrap();
            assert_eq!(holder_of(&path).unwrap().unwrap().is_process_here(), is_here);
        }
        std::fs::write(&path, format!(r#"{{"pid":{pid},"host":"x","since_ms":1}}"#)).unwrap();
        assert!(!holder_of(&path).unwrap().unwrap().is_process_here(), "an earlier version's");
    }

    #[test]
    fn a_lock_file_without_a_living_holder_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(layout::lock(dir.path()), r#"{"pid":1,"host":"x","since_ms":0}"#).unwrap();
        DriverLock::acquire(dir.path()).unwrap();
    }
}
