//! The plots of a sweep, with a manifest of those that lorasweep wrote: a person may keep figures
//! of their own beside them, and those stay.
//!
//! The manifest is written before the plots, with the hashes of the old and of the new ones, and
//! again when the old ones are gone: after a crash at any moment every plot of ours is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::folder::SweepFolder;
use crate::identity::hash_bytes;
use crate::{atomic, layout, own_files};

const MANIFEST: &str = ".lorasweep-plots.json";
const FORMAT: u32 = 1;

/// A plot: its file name below the plots' folder (`runs/trial-003.svg`) and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlotFile {
    /// Its name, with `/` between its parts.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// What stays as it is where a plot would have been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The file or folder.
    pub path: PathBuf,
    /// Why lorasweep does not touch it.
    pub reason: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Manifest {
    v: u32,
    /// The SHA-256 of what was, or was about to be, written under each name.
    files: BTreeMap<String, BTreeSet<String>>,
}

impl Manifest {
    fn of(plots: &[PlotFile]) -> Self {
        let hashed = |plot: &PlotFile| (plot.name.clone(), [hash_bytes(&plot.bytes)].into());
        Self { v: FORMAT, files: plots.iter().map(hashed).collect() }
    }

    /// `None`: there is none, as in folders of earlier versions. One that cannot be read proves
    /// nothing of any file.
    fn read(dir: &Path) -> Option<Self> {
        match own_files::read(&dir.join(MANIFEST)) {
            Ok(bytes) => {
                let read = serde_json::from_slice::<Self>(&bytes);
                Some(read.ok().filter(|read| read.v == FORMAT).unwrap_or_default())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(_) => Some(Self::default()),
        }
    }

    /// Before there were manifests, its name was all that told that a plot is ours.
    fn adopt(dir: &Path, plots: &[PlotFile]) -> Self {
        let hashed = |plot: &PlotFile| {
            let path = dir.join(&plot.name);
            own_files::check_place(dir, &path).ok()?;
            Some((plot.name.clone(), [hash_bytes(&own_files::read(&path).ok()?)].into()))
        };
        Self { v: FORMAT, files: plots.iter().filter_map(hashed).collect() }
    }

    fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(MANIFEST);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| StoreError::DamagedJson { path: path.clone(), source })?;
        atomic::write_file(&path, &text)
    }

    fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (name, hashes) in &other.files {
            both.files.entry(name.clone()).or_default().extend(hashes.iter().cloned());
        }
        Self { v: FORMAT, ..both }
    }

    /// Whether the file at `path` is one that was written under `name`.
    fn vouches_for(&self, name: &str, path: &Path) -> bool {
        let content = || own_files::read(path).ok().map(|bytes| hash_bytes(&bytes));
        self.files.get(name).is_some_and(|hashes| content().is_some_and(|it| hashes.contains(&it)))
    }
}

impl SweepFolder {
    /// Writes the sweep's plots and removes those of an earlier report that are not among them.
    /// Files that lorasweep did not write, or that were changed since, stay; those in whose place a
    /// plot would have been written are returned.
    pub fn write_plots(&self, plots: &[PlotFile]) -> Result<Vec<Kept>, StoreError> {
        let dir = layout::plots(self.path());
        if let Err(error) = own_files::check_folder(self.path(), &dir) {
            return keep_or_fail(&dir, error).map(|kept| vec![kept]);
        }
        let new = Manifest::of(plots);
        let old = Manifest::read(&dir).unwrap_or_else(|| Manifest::adopt(&dir, plots));
        let known = old.and(&new);
        known.write(&dir)?;
        let mut kept = Vec::new();
        for plot in plots {
            let path = dir.join(&plot.name);
            if let Err(error) = own_files::check_place(&dir, &path) {
                let stays = keep_or_fail(&path, error)?;
                if !kept.contains(&stays) {
                    kept.push(stays);
                }
                continue;
            }
            if !path.exists() || known.vouches_for(&plot.name, &path) {
                atomic::write_file(&path, &plot.bytes)?;
            } else {
                let reason = "lorasweep did not write it, or it was changed since".to_owned();
                kept.push(Kept { path, reason });
            }
        }
        for name in old.files.keys().filter(|name| !new.files.contains_key(*name)) {
            let path = dir.join(name);
            let is_there = own_files::is_below(name) && own_files::check_place(&dir, &path).is_ok();
            if is_there && old.vouches_for(name, &path) {
                own_files::remove_file(&path)
                    .map_err(StoreError::io("remove the old plot", &path))?;
            }
        }
        new.write(&dir)?;
        Ok(kept)
    }
}

/// What stays when something that is not ours is in the way; another error remains one.
fn keep_or_fail(path: &Path, error: StoreError) -> Result<Kept, StoreError> {
    match error {
        StoreError::Io { path: at, source, .. } if own_files::is_not_ours(&source) => {
            let path = if path.starts_with(&at) { at } else { path.to_path_buf() };
            Ok(Kept { path, reason: source.to_string() })
        }
        other => Err(other),
    }
}

/// Removes what a process that died left half written among the plots in `root`.
pub(crate) fn remove_leftovers(root: &Path) -> Result<(), StoreError> {
    let dir = layout::plots(root);
    if !own_files::is_dir(&dir) {
        return Ok(());
    }
    let names = Manifest::read(&dir).unwrap_or_default().files;
    let in_folder = |folder: &str, name: &str| names.contains_key(&format!("{folder}{name}"));
    atomic::remove_leftovers(&dir, |name| name == MANIFEST || in_folder("", name))?;
    let folders: BTreeSet<&str> =
        names.keys().filter_map(|name| Some(name.split_at(name.rfind('/')? + 1).0)).collect();
    for folder in folders {
        let path = dir.join(folder);
        if own_files::is_below(folder) && own_files::check_folder(&dir, &path).is_ok() {
            atomic::remove_leftovers(&path, |name| in_folder(folder, name))?;
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

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
            Manifest { v: FORMAT, files }.write(&plots).unwrap();
            folder.write_plots(&[]).unwrap();
            assert_eq!(text(&precious), "x");
        }
    }

    #[test]
    fn plots_of_a_version_without_manifests_are_refreshed_and_none_is_removed() {
        let (_dir, folder, plots) = sweep();
        fs::create_dir_all(&plots).unwrap();
        fs::write(plots.join("gap.svg"), "old").unwrap();
        fs::write(plots.join("rank.svg"), "old").unwrap();
        assert_eq!(folder.write_plots(&[plot("gap.svg", "new")]).unwrap(), []);
        assert_eq!(text(&plots.join("gap.svg")), "new");
        assert_eq!(text(&plots.join("rank.svg")), "old");
    }
}
