//! Folders that are either complete or not there: filled beside their place, then put there in one
//! step where the system can.
//!
//! A folder is filled as `X.tmp-HOST-PID`, renamed to `X.replaced-HOST-PID` and exchanged with `X`;
//! what was in `X` is then removed, file by file, as far as it is provably ours. Whatever else a person
//! put there moves into the new folder; where the new folder has something of that name, `X` stays as
//! it is. What a killed process leaves of this, the next call for `X` removes.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::atomic::{self, REPLACED, TEMPORARY};
use crate::error::{BuildError, StoreError};
use crate::foreign::NotOurs;
use crate::ours::Ours;
use crate::own_files::{self, BEING_FILLED};

/// Fills a new folder with `build` and puts it in the place of `target`. Of what was there, files
/// that are `ours` are deleted once the new folder stands, everything else moves into it. Nothing
/// changes when `build` fails, or when the new folder has a file in whose place there is one that is
/// known by checksums not to be ours. A link is not replaced.
pub fn replace_dir<T>(
    target: &Path,
    ours: Ours,
    build: impl FnOnce(&Path) -> Result<T, BuildError>,
) -> Result<T, StoreError> {
    if let Ok(found) = target.symlink_metadata()
        && !found.is_dir()
    {
        let reason = if found.is_symlink() { NotOurs::Link } else { NotOurs::NoFolder };
        return Err(StoreError::io("replace the folder", target)(reason.into()));
    }
    atomic::create_parent(target)?;
    remove_leftovers_of(target, ours)?;
    let temporary = atomic::beside(target, TEMPORARY);
    own_files::create_temporary_dir(&temporary).map_err(StoreError::io("create", &temporary))?;
    let marker = temporary.join(BEING_FILLED);
    let built = build(&temporary)
        .map_err(|source| StoreError::Build { path: target.to_path_buf(), source })
        .and_then(|value| {
            own_files::remove_file(&marker).map_err(StoreError::io("remove", &marker))?;
            let foreign = ours.in_folder(target).in_the_way_of(&temporary)?;
            if !foreign.is_empty() {
                return Err(StoreError::HoldsForeign { path: target.to_path_buf(), foreign });
            }
            atomic::sync_tree(&temporary).map(|()| value)
        });
    match built {
        Ok(value) => put(&temporary, target, ours).map(|()| value),
        Err(error) => {
            // The error that matters is the first one.
            let _ = own_files::remove_temporary_dir(&temporary);
            Err(error)
        }
    }
}

fn put(temporary: &Path, target: &Path, ours: Ours) -> Result<(), StoreError> {
    if !target.exists() {
        return atomic::rename(temporary, target);
    }
    // From here on what lies beside the target may hold a person's files: another name says so.
    let aside = atomic::beside(target, REPLACED);
    atomic::rename(temporary, &aside)?;
    match exchange(&aside, target) {
        Ok(()) => atomic::sync_parent(target)?,
        Err(_) => exchange_in_steps(&aside, target)?,
    }
    clear(&aside, target, ours).map_err(StoreError::io("remove the former content in", &aside))
}

#[cfg(target_os = "linux")]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

#[cfg(not(target_os = "linux"))]
fn exchange(_a: &Path, _b: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Where two names cannot be exchanged in one step: between the first rename and the second one
/// there is no target.
fn exchange_in_steps(new: &Path, target: &Path) -> Result<(), StoreError> {
    let former = atomic::beside(target, TEMPORARY);
    atomic::rename(target, &former)?;
    if let Err(error) = atomic::rename(new, target) {
        // Puts the former content back; the error to report is the one above.
        let _ = own_files::rename(&former, target);
        return Err(error);
    }
    atomic::rename(&former, new)
}

/// Removes what is ours below `from`, and moves everything else to its place below `to`, where that
/// is free; else it stays, and with it the folder.
fn clear(from: &Path, to: &Path, ours: Ours) -> io::Result<()> {
    ours.in_folder(from).remove_ours()?;
    move_rest(from, to)?;
    own_files::remove_empty_dir(from)
}

fn move_rest(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        match place.symlink_metadata() {
            Err(_) => own_files::rename(&entry.path(), &place)?,
            Ok(found) if found.is_dir() && entry.file_type()?.is_dir() => {
                move_rest(&entry.path(), &place)?;
                own_files::remove_empty_dir(&entry.path())?;
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Removes what processes of this machine that have died left of replacing `target`.
fn remove_leftovers_of(target: &Path, ours: Ours) -> Result<(), StoreError> {
    let Some(name) = target.file_name() else { return Ok(()) };
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Whoever may write here but not list finds no leftovers, and needs none to be found.
    let Ok(entries) = fs::read_dir(parent) else { return Ok(()) };
    let left: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|found| is_leftover(found, name)))
        .collect();
    for path in left.iter().filter(|path| path.symlink_metadata().is_ok_and(|it| it.is_dir())) {
        let removed = if path.join(BEING_FILLED).is_file() {
            own_files::remove_temporary_dir(path)
        } else {
            let removed = ours.in_folder(path).remove_ours();
            removed.and_then(|()| own_files::remove_empty_dir(path))
        };
        removed.map_err(StoreError::io("remove the leftover", path))?;
    }
    Ok(())
}

/// Whether `found` is the name of what a process that has ended, or this one, put beside `name`.
fn is_leftover(found: &OsStr, name: &OsStr) -> bool {
    let (Some(found), Some(name)) = (found.to_str(), name.to_str()) else { return false };
    let Some(rest) = found.strip_prefix(name) else { return false };
    let process = [TEMPORARY, REPLACED].iter().find_map(|mark| rest.strip_prefix(mark));
    let host = gethostname::gethostname();
    let pid = process
        .and_then(|process| process.strip_prefix(host.to_str()?))
        .and_then(|rest| rest.strip_prefix('-')?.parse::<u32>().ok());
    pid.is_some_and(|pid| pid == std::process::id() || has_ended(pid))
}

#[cfg(unix)]
fn has_ended(pid: u32) -> bool {
    use rustix::process::{Pid, test_kill_process};
    // One that was killed keeps its number until its parent looks at how it ended.
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_zombie = state.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"));
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    is_zombie || pid.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

#[cfg(not(unix))]
fn has_ended(_pid: u32) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let name = |p: &PathBuf| p.file_name().unwrap().to_string_lossy().into_owned();
        atomic::entries(dir).unwrap().iter().map(name).collect()
    }

    const OURS: Ours =
        Ours::by_name(|path| ["a", "b", "in/c"].iter().any(|name| path == Path::new(name)));
    const PROVEN: Ours = Ours::by_checksums(
        |path| ["a", "b", "in/c"].iter().any(|name| path == Path::new(name)),
        "SUMS",
    );

    fn put_file(target: &Path, name: &str, text: &str) {
        replace_dir(target, OURS, |new| Ok(fs::write(new.join(name), text)?)).unwrap();
    }

    fn put_proven(target: &Path, files: &[(&str, &str)]) -> Result<(), StoreError> {
        replace_dir(target, PROVEN, |new| {
            for (name, text) in files {
                let path = new.join(name);
                fs::create_dir_all(path.parent().unwrap())?;
                fs::write(path, text)?;
            }
            Ok(PROVEN.write_checksums(new)?)
        })
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn with_checksums_a_changed_file_is_in_the_way_and_nothing_changes() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        put_proven(&target, &[("a", "1"), ("in/c", "1")]).unwrap();
        put_proven(&target, &[("a", "2"), ("in/c", "2")]).unwrap();
        fs::write(target.join("in/c"), "mine").unwrap();
        fs::write(target.join("b"), "mine").unwrap();
        let error = put_proven(&target, &[("a", "3"), ("b", "3"), ("in/c", "3")]).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("`b` was not written by lorasweep"), "{said}");
        assert!(said.contains("`in/c` was changed since lorasweep wrote it"), "{said}");
        assert_eq!((text(&target.join("a")), text(&target.join("b"))), ("2".into(), "mine".into()));
        assert_eq!(text(&target.join("in/c")), "mine");
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn with_checksums_a_foreign_file_that_is_not_in_the_way_moves_along() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        put_proven(&target, &[("a", "1"), ("in/c", "1")]).unwrap();
        fs::write(target.join("b"), "mine").unwrap();
        fs::write(target.join("in/c"), "annotated").unwrap();
        put_proven(&target, &[("a", "2")]).unwrap();
        assert_eq!(names(&target), ["SUMS", "a", "b", "in"]);
        assert_eq!(text(&target.join("b")), "mine");
        assert_eq!(text(&target.join("in/c")), "annotated");
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn checksums_that_a_person_wrote_prove_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        put_proven(&target, &[("a", "1")]).unwrap();
        fs::write(target.join("notes"), "mine").unwrap();
        let more = format!("{}  notes\n", crate::hash::hash_bytes(b"mine"));
        fs::write(target.join("SUMS"), text(&target.join("SUMS")) + &more).unwrap();
        assert!(put_proven(&target, &[("a", "2")]).is_err());
        assert_eq!(text(&target.join("notes")), "mine");
        assert!(text(&target.join("SUMS")).ends_with(&more));
    }

    #[test]
    #[cfg(unix)]
    fn what_a_killed_replacement_left_is_removed_by_its_own_checksums() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        put_proven(&target, &[("a", "1"), ("b", "1")]).unwrap();
        fs::write(target.join("b"), "mine").unwrap();
        let host = gethostname::gethostname().into_string().unwrap();
        let left = dir.path().join(format!("out{REPLACED}{host}-{}", dead()));
        fs::rename(&target, &left).unwrap();
        put_proven(&target, &[("a", "2")]).unwrap();
        assert_eq!(names(&left), ["b"]);
        assert_eq!(text(&left.join("b")), "mine");
    }

    #[test]
    fn a_failed_build_leaves_the_former_folder_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("adapter");
        put_file(&target, "a", "old");
        let failed = replace_dir(&target, OURS, |new| {
            fs::write(new.join("a"), "half")?;
            Err::<(), _>("no room".into())
        });
        assert!(matches!(failed, Err(StoreError::Build { .. })));
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "old");
        assert_eq!(names(dir.path()), ["adapter"]);
    }

    #[test]
    fn a_replaced_folder_keeps_nothing_of_the_former_one() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("adapter");
        replace_dir(&target, OURS, |new| {
            fs::create_dir(new.join("in"))?;
            fs::write(new.join("in/c"), "")?;
            Ok(fs::write(new.join("a"), "")?)
        })
        .unwrap();
        put_file(&target, "b", "");
        assert_eq!(names(&target), ["b"]);
        assert_eq!(names(dir.path()), ["adapter"]);
    }

    #[test]
    #[cfg(unix)]
    fn what_a_person_put_beside_our_files_is_there_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("adapter");
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("a"), "theirs").unwrap();
        put_file(&target, "a", "");
        fs::write(target.join("notes.txt"), "mine").unwrap();
        fs::create_dir(target.join("runs")).unwrap();
        fs::write(target.join("runs/a"), "mine").unwrap();
        fs::create_dir_all(target.join("for later/figures")).unwrap();
        std::os::unix::fs::symlink(&outside, target.join("in")).unwrap();
        put_file(&target, "b", "");
        assert_eq!(names(&target), ["b", "for later", "in", "notes.txt", "runs"]);
        assert!(target.join("for later/figures").is_dir(), "an empty folder is somebody's, too");
        assert_eq!(fs::read_to_string(target.join("notes.txt")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(target.join("runs/a")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(outside.join("a")).unwrap(), "theirs");
        assert_eq!(names(dir.path()), ["adapter", "outside"]);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("a"), "theirs").unwrap();
        let target = dir.path().join("adapter");
        std::os::unix::fs::symlink(&home, &target).unwrap();
        let error = replace_dir(&target, OURS, |_| Ok(())).unwrap_err();
        assert!(error.to_string().starts_with("failed to replace the folder"), "{error}");
        assert_eq!(fs::read_to_string(home.join("a")).unwrap(), "theirs");
        assert_eq!(names(dir.path()), ["adapter", "home"]);
    }

    /// The number of a process that has ended.
    #[cfg(unix)]
    fn dead() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    #[cfg(unix)]
    fn the_next_call_removes_what_a_dead_process_left_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let host = gethostname::gethostname().into_string().unwrap();
        let beside = |mark: &str, pid: u32| {
            let path = dir.path().join(format!("out{mark}{host}-{pid}"));
            fs::create_dir(&path).unwrap();
            path
        };
        let dead = dead();
        let half = beside(TEMPORARY, dead);
        fs::write(half.join(BEING_FILLED), "").unwrap();
        fs::write(half.join(".tmp-of-a-library"), "half").unwrap();
        let former = beside(REPLACED, dead);
        fs::write(former.join("a"), "former").unwrap();
        let living = beside(TEMPORARY, 1);
        fs::write(living.join(BEING_FILLED), "").unwrap();
        let elsewhere = dir.path().join(format!("out.tmp-another-{dead}"));
        let of_another = dir.path().join(format!("other.tmp-{host}-{dead}"));
        let mine = dir.path().join("out.tmp-notes");
        for path in [&elsewhere, &of_another, &mine] {
            fs::create_dir(path).unwrap();
        }
        put_file(&dir.path().join("out"), "b", "");
        assert!(!half.exists() && !former.exists());
        for path in [living, elsewhere, of_another, mine] {
            assert!(path.exists(), "{}", path.display());
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_named_like_a_leftover_loses_only_what_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let host = gethostname::gethostname().into_string().unwrap();
        let left = dir.path().join(format!("out{TEMPORARY}{host}-{}", dead()));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("thesis.txt"), "mine").unwrap();
        put_file(&dir.path().join("out"), "b", "");
        assert_eq!(names(&left), ["thesis.txt"]);
    }

    #[test]
    fn folders_are_exchanged_in_steps_where_the_system_has_no_single_one() {
        let dir = tempfile::tempdir().unwrap();
        let (new, target) = (dir.path().join("new"), dir.path().join("target"));
        fs::create_dir_all(&new).unwrap();
        fs::create_dir_all(&target).unwrap();
        fs::write(new.join("a"), "new").unwrap();
        fs::write(target.join("a"), "old").unwrap();
        exchange_in_steps(&new, &target).unwrap();
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "new");
        assert_eq!(fs::read_to_string(new.join("a")).unwrap(), "old");
        assert_eq!(names(dir.path()), ["new", "target"]);
    }
}
