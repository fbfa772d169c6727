//! The plots of a sweep, with a manifest of those that lorasweep wrote: a person may keep figures
//! of their own beside them, and those stay.
//!
//! The manifest is written again when the plots of an earlier report are gone.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::StoreError;
use crate::folder::SweepFolder;
use crate::foreign::Kept;
use crate::manifest::Manifest;
use crate::{atomic, layout, leftovers, own_files};

const MANIFEST: &str = ".lorasweep-plots.json";

/// A plot: its file name below the plots' folder (`runs/trial-003.svg`) and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlotFile {
    /// Its name, with `/` between its parts.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl SweepFolder {
    /// Writes the sweep's plots and removes those of an earlier report that are not among them.
    /// Files that lorasweep did not write, or that were changed since, stay; those in whose place a
    /// plot would have been written are returned.
    pub fn write_plots(&self, plots: &[PlotFile]) -> Result<Vec<Kept>, StoreError> {
        let dir = layout::plots(self.path());
        if let Err(error) = own_files::check_folder(self.path(), &dir) {
            return error.or_kept().map(|kept| vec![kept]);
        }
        atomic::create_dir(&dir)?;
        // Another process may write the plots of the same sweep.
        let _lock = own_files::lock_folder(&dir);
        let manifest = dir.join(MANIFEST);
        let new = Manifest::of(plots.iter().map(|plot| (plot.name.as_str(), &plot.bytes[..])));
        let (old, has_manifest) = (Manifest::read(&manifest), own_files::is_file(&manifest));
        let known = old.and(&new);
        if let Err(error) = known.write(&manifest) {
            return error.or_kept().map(|kept| vec![kept]);
        }
        let mut kept = Vec::new();
        for plot in plots {
            let path = dir.join(&plot.name);
            if let Err(error) = own_files::check_place(&dir, &path) {
                let stays = error.or_kept()?;
                if !kept.contains(&stays) {
                    kept.push(stays);
                }
                continue;
            }
            // One that is what would be written is among the `known`.
            if !path.exists() || known.vouches_for_file(&plot.name, &path) {
                atomic::write_file(&path, &plot.bytes)?;
            } else {
                kept.push(Kept::not_as_written(path, MANIFEST, has_manifest));
            }
        }
        for name in old.files.keys().filter(|name| !new.files.contains_key(*name)) {
            let path = dir.join(name);
            let is_there = own_files::is_below(name) && own_files::check_place(&dir, &path).is_ok();
            if is_there && old.vouches_for_file(name, &path) {
                own_files::remove_file(&path)
                    .map_err(StoreError::io("remove the old plot", &path))?;
            }
        }
        new.write(&manifest)?;
        Ok(kept)
    }
}

/// Removes what a process that died left half written among the plots in `root`.
pub(crate) fn remove_leftovers(root: &Path) -> Result<(), StoreError> {
    let dir = layout::plots(root);
    if !own_files::is_dir(&dir) {
        return Ok(());
    }
    let names = Manifest::read(&dir.join(MANIFEST)).files;
    let in_folder = |folder: &str, name: &str| names.contains_key(&format!("{folder}{name}"));
    leftovers::remove_leftovers(&dir, |name| name == MANIFEST || in_folder("", name))?;
    let folders: BTreeSet<&str> =
        names.keys().filter_map(|name| Some(name.split_at(name.rfind('/')? + 1).0)).collect();
    for folder in folders {
        let path = dir.join(folder);
        if own_files::is_below(folder) && own_files::check_folder(&dir, &path).is_ok() {
            leftovers::remove_leftovers(&path, |name| in_folder(folder, name))?;
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;
    use crate::hash::hash_bytes;

    fn plot(name: &str, content: &str) -> PlotFile {
        PlotFile { name: name.to_owned(), bytes: content.as_bytes().to_vec() }
    }

    fn sweep() -> (tempfile::TempDir, SweepFolder, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let folder = SweepFolder::at(dir.path().join("sweep"));
        let plots = layout::plots(folder.path());
        (dir, folder, plots)
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| format!("{}: {error}", path.display()))
    }

    #[test]
    fn a_plot_of_an_earlier_report_goes_and_figures_of_a_person_stay() {
        let (_dir, folder, plots) = sweep();
        let earlier = [plot("gap.svg", "1"), plot("runs/trial-001.svg", "1"), plot("a.png", "1")];
        assert_eq!(folder.write_plots(&earlier).unwrap(), []);
        for name in ["mine.pdf", "runs/trial-001.pdf", "runs/trial-009.svg"] {
            fs::write(plots.join(name), "mine").unwrap();
        }
        fs::write(plots.join("a.png"), "annotated").unwrap();
        assert_eq!(folder.write_plots(&[plot("gap.svg", "2")]).unwrap(), []);
        assert_eq!(text(&plots.join("gap.svg")), "2");
        assert!(!plots.join("runs/trial-001.svg").exists());
        for name in ["mine.pdf", "runs/trial-001.pdf", "runs/trial-009.svg"] {
            assert_eq!(text(&plots.join(name)), "mine");
        }
        assert_eq!(text(&plots.join("a.png")), "annotated");
    }

    #[test]
    fn a_plot_that_a_person_changed_is_not_replaced_and_is_named() {
        let (_dir, folder, plots) = sweep();
        folder.write_plots(&[plot("gap.svg", "1")]).unwrap();
        fs::write(plots.join("gap.svg"), "annotated").unwrap();
        let kept = folder.write_plots(&[plot("gap.svg", "2")]).unwrap();
        assert_eq!(kept[0].path, plots.join("gap.svg"));
        assert_eq!(text(&plots.join("gap.svg")), "annotated");
        fs::remove_file(plots.join("gap.svg")).unwrap();
        assert_eq!(folder.write_plots(&[plot("gap.svg", "3")]).unwrap(), []);
        assert_eq!(text(&plots.join("gap.svg")), "3");
    }

    #[test]
    fn nothing_is_written_or_removed_through_a_link() {
        let (dir, folder, plots) = sweep();
        let home = dir.path().join("home");
        fs::create_dir_all(&home).unwrap();
        folder.write_plots(&[plot("runs/a.svg", "1"), plot("gap.svg", "1")]).unwrap();
        // What is in the place of `runs` is a copy of it, hashes and all.
        fs::rename(plots.join("runs"), home.join("runs")).unwrap();
        symlink(home.join("runs"), plots.join("runs")).unwrap();
        assert_eq!(folder.write_plots(&[plot("gap.svg", "2")]).unwrap(), []);
        let kept = folder.write_plots(&[plot("runs/a.svg", "2")]).unwrap();
        assert_eq!(kept[0].path, plots.join("runs"));
        assert_eq!(text(&home.join("runs/a.svg")), "1");

        fs::rename(&plots, home.join("plots")).unwrap();
        symlink(home.join("plots"), &plots).unwrap();
        let kept = folder.write_plots(&[plot("gap.svg", "3")]).unwrap();
        assert_eq!(kept[0].path, plots);
        assert!(kept[0].reason.contains("symbolic link"), "{}", kept[0].reason);
    }

    #[test]
    fn a_manifest_that_names_files_elsewhere_removes_none() {
        let (dir, folder, plots) = sweep();
        folder.write_plots(&[]).unwrap();
        let precious = dir.path().join("precious");
        fs::write(&precious, "x").unwrap();
        let files = [hash_bytes(b"x")];
        for name in ["../../precious", precious.to_str().unwrap()] {
            let files = BTreeMap::from([(name.to_owned(), files.clone().into())]);
            let mut manifest = Manifest::default();
            manifest.files = files;
            manifest.write(&plots.join(MANIFEST)).unwrap();
            folder.write_plots(&[]).unwrap();
            assert_eq!(text(&precious), "x");
        }
    }

    #[test]
    fn in_a_folder_that_was_copied_without_its_manifest_no_plot_is_replaced_or_removed() {
        let (_dir, folder, plots) = sweep();
        folder.write_plots(&[plot("gap.svg", "old"), plot("rank.svg", "old")]).unwrap();
        fs::remove_file(plots.join(MANIFEST)).unwrap();
        let kept = folder.write_plots(&[plot("gap.svg", "new")]).unwrap();
        assert_eq!(kept[0].path, plots.join("gap.svg"));
        assert!(kept[0].reason.contains(MANIFEST), "{}", kept[0].reason);
        for name in ["gap.svg", "rank.svg"] {
            assert_eq!(text(&plots.join(name)), "old");
        }
    }
}
