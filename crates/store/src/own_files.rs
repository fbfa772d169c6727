//! The one module that deletes, renames and truncates. It proves that a file is ours before it does.
//!
//! Proof is: lorasweep gave the file its name (a name of the layout, of a temporary, or one listed
//! in a manifest that lorasweep wrote), it is a regular file, and it lies in a folder that is not
//! reached through a symbolic link. Whatever else lies in a results folder belongs to somebody else
//! and stays. Within a sweep's folder no link is followed and nothing but a regular file is opened:
//! a FIFO would block for ever, a device may have no end.
//!
//! `.clippy.toml` forbids the deleting functions of `std::fs` in every other place.

#![expect(clippy::disallowed_methods, reason = "this is the module that may")]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path};
use std::time::{Duration, Instant};

use crate::error::StoreError;
use crate::foreign::NotOurs;

/// Marks files and folders that are still being written.
pub(crate) const TEMPORARY: &str = ".tmp-";
/// Marks a folder that is being replaced.
pub(crate) const REPLACED: &str = ".replaced-";
/// In a folder that is being filled: says that all in it is of the process in its name.
pub(crate) const BEING_FILLED: &str = ".lorasweep-being-filled";

/// Opens a regular file to read it, never through a link.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    open_with(OpenOptions::new().read(true), path)
}

/// Opens a regular file as `options` say, never through a link. One that would be truncated must be
/// truncated afterwards, when it is known to be a regular file.
pub fn open_with(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // Where the system has no such flags, this look is all there is.
    if let Ok(found) = path.symlink_metadata() {
        check_file(&found)?;
    }
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // Without NONBLOCK, opening a FIFO waits for its other end.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    check_file(&file.metadata()?)?;
    Ok(file)
}

/// The content of a regular file, never through a link.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a regular file, never through a link.
pub(crate) fn read_to_string(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

fn check_file(found: &fs::Metadata) -> Result<(), NotOurs> {
    let kind = found.file_type();
    if kind.is_file() {
        Ok(())
    } else if kind.is_symlink() {
        Err(NotOurs::Link)
    } else if kind.is_dir() {
        Err(NotOurs::Folder)
    } else {
        Err(NotOurs::Special)
    }
}

/// Whether `path` itself is a folder, not a link to one.
pub(crate) fn is_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// Whether `path` itself is a regular file, not a link to one.
pub(crate) fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file())
}

/// An error when a part of `path` below `root` is there and is not a folder (a link to one is not).
pub fn check_folder(root: &Path, path: &Path) -> Result<(), StoreError> {
    let below = path.strip_prefix(root).unwrap_or(Path::new(""));
    let mut at = root.to_path_buf();
    for part in below.components() {
        at.push(part);
        match at.symlink_metadata() {
            Ok(found) if found.is_dir() => {}
            Ok(found) => {
                let link = found.file_type().is_symlink();
                let reason = if link { NotOurs::Link } else { NotOurs::NoFolder };
                return Err(StoreError::io("use the folder", &at)(reason.into()));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("look at", &at)(error)),
        }
    }
    Ok(())
}

/// An error when a file of ours cannot be put at `path` below `root`: when something else than a
/// regular file is there, or when the way there leads through a link.
pub(crate) fn check_place(root: &Path, path: &Path) -> Result<(), StoreError> {
    check_folder(root, path.parent().unwrap_or(root))?;
    check_file_place(path)
}

/// An error when something else than a regular file is at `path`: that is not replaced.
pub(crate) fn check_file_place(path: &Path) -> Result<(), StoreError> {
    match path.symlink_metadata() {
        Ok(found) => {
            let ours = check_file(&found);
            ours.map_err(|reason| StoreError::io("replace", path)(reason.into()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("look at", path)(error)),
    }
}

/// Creates a file that is not there yet. A name that only this process gives may be left of an
/// earlier process with its number; that one is removed.
pub(crate) fn create_temporary(path: &Path) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).open(path);
    match create() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            remove_file(path)?;
            create()
        }
        other => other,
    }
}

/// Removes a file whose name lorasweep gives; false when there is none, or something that is not a
/// regular file.
pub fn remove_file(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a folder in which nothing is left; one that holds anything stays.
pub(crate) fn remove_empty_dir(path: &Path) -> io::Result<()> {
    if !is_dir(path) {
        return Ok(());
    }
    match fs::remove_dir(path) {
        Err(error)
            if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Puts the finished file `from` in the place of `to`.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Cuts a file, opened by [`open_with`], to the part that counts.
pub fn truncate(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)
}

/// Creates a folder under a name that only this process gives, with a mark in it that says so. What
/// an earlier process with its number left under that name is removed.
pub(crate) fn create_temporary_dir(path: &Path) -> io::Result<()> {
    if path.join(BEING_FILLED).symlink_metadata().is_ok() && is_dir(path) {
        remove_temporary_dir(path)?;
    } else {
        remove_empty_dir(path)?;
    }
    fs::create_dir(path)?;
    File::create_new(path.join(BEING_FILLED)).map(|_| ())
}

/// Removes a folder that a process filled for itself under a temporary name, with all it holds;
/// links in it are removed, not followed.
pub(crate) fn remove_temporary_dir(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}

/// Holds other processes that ask for the same off a folder, until dropped. Where the file system has
/// no such locks, or the other process is slow, `None`: what is done then is done without.
pub(crate) fn lock_folder(dir: &Path) -> Option<File> {
    const PATIENCE: Duration = Duration::from_secs(5);
    const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(5);
    let folder = File::open(dir).ok()?;
    let began = Instant::now();
    loop {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                std::thread::sleep(BETWEEN_ATTEMPTS);
            }
            Err(_) => return None,
        }
    }
}

/// Whether `name` is a relative path of plain names: one that stays below the folder it is in.
pub(crate) fn is_below(name: &str) -> bool {
    let mut parts = Path::new(name).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::foreign::is_not_ours;

    #[test]
    fn neither_links_nor_special_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "text").unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from(0o600),
            0,
        )
        .unwrap();
        assert_eq!(read(&at("file")).unwrap(), b"text");
        for name in ["link", "device", "folder", "fifo"] {
            let error = read(&at(name)).unwrap_err();
            assert!(is_not_ours(&error), "{name}: {error}");
            let error = open_with(OpenOptions::new().append(true), &at(name)).unwrap_err();
            assert!(is_not_ours(&error), "{name}: {error}");
            assert!(!remove_file(&at(name)).unwrap(), "{name}");
            assert!(at(name).symlink_metadata().is_ok(), "{name}");
        }
    }

    #[test]
    fn no_file_is_put_where_the_way_leads_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (root, home) = (dir.path().join("sweep"), dir.path().join("home"));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(home.join("runs")).unwrap();
        symlink(&home, root.join("plots")).unwrap();
        check_place(&root, &root.join("ranking.csv")).unwrap();
        check_place(&root, &root.join("trials/trial-001/trial.json")).unwrap();
        let error = check_place(&root, &root.join("plots/runs/a.png")).unwrap_err();
        assert!(error.to_string().ends_with("/sweep/plots`"), "{error}");
    }
}
