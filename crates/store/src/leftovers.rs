//! What processes that died in the middle of a write left behind.

use std::io;
use std::path::Path;

use crate::adapter;
use crate::atomic::{entries, this_process};
use crate::error::StoreError;
use crate::ours::Ours;
use crate::own_files::{
    BEING_FILLED, REPLACED, TEMPORARY, is_dir, is_file, remove_empty_dir, remove_file,
    remove_temporary_dir,
};

/// Removes what processes that died in the middle of a write left in `dir`: files and folders whose
/// name is a temporary of one that `is_ours` knows.
pub(crate) fn remove_leftovers(
    dir: &Path,
    is_ours: impl Fn(&str) -> bool,
) -> Result<(), StoreError> {
    let keep = this_process();
    for path in entries(dir)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(left) = Leftover::of(name).filter(|left| is_ours(left.of)) else { continue };
        if left.by == keep {
            continue;
        }
        let removed = if is_file(&path) {
            remove_file(&path).map(|_| ())
        } else if is_file(&path.join(BEING_FILLED)) && is_dir(&path) {
            remove_temporary_dir(&path)
        } else if is_dir(&path) {
            remove_replaced(&path)
        } else {
            Ok(())
        };
        removed.map_err(StoreError::io("remove", &path))?;
    }
    Ok(())
}

/// Removes an adapter's or export's folder that was being replaced, as far as its checksums, or where
/// it has none its names, say that it is ours. A person may have put something beside them: that
/// stays, and with it the folder.
fn remove_replaced(dir: &Path) -> io::Result<()> {
    let ours = if is_file(&dir.join(adapter::CHECKSUMS)) {
        Ours::by_checksums(|_| true, adapter::CHECKSUMS)
    } else {
        Ours::by_name(adapter::is_in_adapter)
    };
    ours.in_folder(dir).remove_ours()?;
    remove_empty_dir(dir)
}

/// The parts of a name such as `trial.json.tmp-host-1234`.
#[derive(Debug, PartialEq, Eq)]
struct Leftover<'a> {
    /// What was being written.
    of: &'a str,
    /// Which process was writing, as its machine and number.
    by: &'a str,
}

impl<'a> Leftover<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let (of, by) = [TEMPORARY, REPLACED].iter().find_map(|mark| name.rsplit_once(mark))?;
        let (host, pid) = by.rsplit_once('-')?;
        let is_pid = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
        (is_pid && !host.is_empty()).then_some(Self { of, by })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let name = |p: &PathBuf| p.file_name().unwrap().to_string_lossy().into_owned();
        entries(dir).unwrap().iter().map(name).collect()
    }

    #[test]
    fn leftovers_of_a_dead_process_are_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("adapter.tmp-node-77")).unwrap();
        fs::create_dir(dir.path().join("adapter.replaced-node-77")).unwrap();
        for name in ["trial.json.tmp-node-77", "trial.json", "mine.tmp-node-77", "my.tmp-notes"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        remove_leftovers(dir.path(), |name| ["adapter", "trial.json"].contains(&name)).unwrap();
        assert_eq!(names(dir.path()), ["mine.tmp-node-77", "my.tmp-notes", "trial.json"]);
    }

    #[test]
    fn only_a_name_with_a_machine_and_a_number_is_a_leftover() {
        let left = Leftover { of: "trial.json", by: "node-7-1234" };
        assert_eq!(Leftover::of("trial.json.tmp-node-7-1234"), Some(left));
        for name in
            ["my.tmp-data.csv", "trial.json", "x.tmp-", "x.tmp-12", "x.tmp-host-", "x.tmp-h-1a"]
        {
            assert_eq!(Leftover::of(name), None, "{name}");
        }
    }
}
