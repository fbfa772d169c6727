//! The report's files in a sweep's own folder, with a manifest of what lorasweep wrote: their names
//! (`report.html`, `ranking.csv`) are ones that a person may use too.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::StoreError;
use crate::folder::SweepFolder;
use crate::foreign::Kept;
use crate::hash::hash_bytes;
use crate::layout::{self, ReportFile};
use crate::manifest::Manifest;
use crate::{atomic, own_files};

/// Notes in a new sweep's folder that none of the report's files is ours yet: whatever appears
/// under their names from now on and is not in the manifest belongs to somebody else.
pub(crate) fn begin(root: &Path) -> Result<(), StoreError> {
    let path = layout::report_manifest(root);
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    Manifest::default().write(&path)
}

impl SweepFolder {
    /// Whether lorasweep has written a report into this folder, and says of what.
    pub fn has_report(&self) -> bool {
        !Manifest::read(&layout::report_manifest(self.path())).files.is_empty()
    }

    /// Writes a file that is derived from the state. Something else in its place stays (a file that
    /// lorasweep did not write or that was changed since, a link) and is returned.
    pub fn write_report(
        &self,
        file: &ReportFile,
        contents: &[u8],
    ) -> Result<Option<Kept>, StoreError> {
        let (root, path) = (self.path(), self.report_path(file));
        atomic::create_dir(root)?;
        // Another process may write the report of the same sweep.
        let _lock = own_files::lock_folder(root);
        let written = write(root, &path, contents);
        written.or_else(|error| error.or_kept().map(Some))
    }
}

fn write(root: &Path, path: &Path, contents: &[u8]) -> Result<Option<Kept>, StoreError> {
    own_files::check_place(root, path)?;
    let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    let place = layout::report_manifest(root);
    own_files::check_place(root, &place)?;
    let mut manifest = Manifest::read(&place);
    let mut hashes = BTreeSet::from([hash_bytes(contents)]);
    if path.exists() {
        let now = own_files::read(path).map_err(StoreError::io("read", path))?;
        if now != contents && !manifest.vouches_for(&name, &now) {
            let kept = path.to_path_buf();
            let has_manifest = own_files::is_file(&place);
            return Ok(Some(Kept::not_as_written(kept, layout::REPORT_MANIFEST, has_manifest)));
        }
        hashes.insert(hash_bytes(&now));
    }
    manifest.files.insert(name, hashes);
    manifest.write(&place)?;
    atomic::write_file(path, contents)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn sweep() -> (tempfile::TempDir, SweepFolder) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("sweep");
        fs::create_dir(&root).unwrap();
        fs::write(layout::resolved_json(&root), "{}").unwrap();
        (dir, SweepFolder::at(root))
    }

    fn write(folder: &SweepFolder, text: &str) -> Option<Kept> {
        folder.write_report(&ReportFile::ReportHtml, text.as_bytes()).unwrap()
    }

    fn page(folder: &SweepFolder) -> String {
        fs::read_to_string(folder.report_path(&ReportFile::ReportHtml)).unwrap()
    }

    #[test]
    fn a_report_of_ours_is_renewed_and_one_that_a_person_changed_or_put_there_stays() {
        let (_dir, folder) = sweep();
        begin(folder.path()).unwrap();
        assert_eq!((write(&folder, "1"), write(&folder, "2")), (None, None));
        assert_eq!(page(&folder), "2");
        let path = folder.report_path(&ReportFile::ReportHtml);
        fs::write(&path, "annotated").unwrap();
        assert_eq!(write(&folder, "3").unwrap().path, path);
        assert_eq!(page(&folder), "annotated");
        fs::remove_file(&path).unwrap();
        assert_eq!(write(&folder, "4"), None);
        let mine = folder.report_path(&ReportFile::RankingCsv);
        fs::write(&mine, "mine").unwrap();
        let kept = folder.write_report(&ReportFile::RankingCsv, b"ours").unwrap().unwrap();
        assert_eq!(kept.path, mine);
        assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
    }

    #[test]
    fn in_a_folder_that_was_copied_without_its_manifest_no_file_is_replaced() {
        let (_dir, folder) = sweep();
        begin(folder.path()).unwrap();
        write(&folder, "annotated since");
        fs::remove_file(layout::report_manifest(folder.path())).unwrap();
        let kept = write(&folder, "new").unwrap();
        assert!(kept.reason.contains(".lorasweep-report.json"), "{}", kept.reason);
        assert!(kept.reason.contains("hidden files"), "{}", kept.reason);
        assert_eq!(page(&folder), "annotated since");
    }

    #[test]
    fn a_file_that_is_what_would_be_written_is_ours_whatever_the_manifest_says() {
        let (_dir, folder) = sweep();
        fs::write(folder.report_path(&ReportFile::ReportHtml), "1").unwrap();
        assert_eq!((write(&folder, "1"), write(&folder, "2")), (None, None));
        assert_eq!(page(&folder), "2");
    }

    #[test]
    fn a_folder_that_is_no_sweep_holds_nothing_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let folder = SweepFolder::at(dir.path());
        fs::write(folder.report_path(&ReportFile::ReportHtml), "mine").unwrap();
        assert!(write(&folder, "ours").is_some());
        assert_eq!(page(&folder), "mine");
    }

    #[test]
    #[cfg(unix)]
    fn a_link_in_the_place_of_a_report_or_of_the_manifest_is_named_and_not_followed() {
        for name in ["report.html", ".lorasweep-report.json"] {
            let (dir, folder) = sweep();
            let precious = dir.path().join("precious");
            fs::write(&precious, "{}").unwrap();
            let link = folder.path().join(name);
            std::os::unix::fs::symlink(&precious, &link).unwrap();
            let kept = write(&folder, "ours").unwrap();
            assert_eq!(kept.path, link);
            assert!(kept.reason.contains("symbolic link"), "{}", kept.reason);
            assert_eq!(fs::read_to_string(&precious).unwrap(), "{}");
        }
    }

    #[test]
    fn reports_that_are_written_at_the_same_time_stay_ours() {
        let (_dir, folder) = sweep();
        begin(folder.path()).unwrap();
        std::thread::scope(|threads| {
            for writer in 0..4 {
                let folder = &folder;
                threads.spawn(move || {
                    for round in 0..10 {
                        assert_eq!(write(folder, &format!("{writer} {round}")), None);
                    }
                });
            }
        });
        assert_eq!(write(&folder, "last"), None);
    }
}
