//! Which files of a folder that is replaced as a whole are lorasweep's.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::foreign::Foreign;
use crate::sums::{self, Sums};
use crate::{atomic, own_files};

/// How a file below a folder, by its relative path, is known to be lorasweep's.
#[derive(Debug, Clone, Copy)]
pub struct Ours {
    is_named: fn(&Path) -> bool,
    checksums: Option<&'static str>,
}

impl Ours {
    /// By its name: in a folder that holds nothing but lorasweep's state.
    pub const fn by_name(is_named: fn(&Path) -> bool) -> Self {
        Self { is_named, checksums: None }
    }

    /// By its name, and because the file `checksums` in that folder says what was written: in a
    /// folder that people use.
    pub const fn by_checksums(is_named: fn(&Path) -> bool, checksums: &'static str) -> Self {
        Self { is_named, checksums: Some(checksums) }
    }

    /// What the files in `root` prove.
    pub(crate) fn in_folder(self, root: &Path) -> Proof {
        let sums = self.checksums.map(|name| {
            let sums = Sums::read(&root.join(name)).ok().flatten().unwrap_or_default();
            // Checksums of other files are somebody else's, and prove nothing.
            let is_named = |name: &str| (self.is_named)(Path::new(name));
            if sums.names().all(is_named) { sums } else { Sums::default() }
        });
        Proof { ours: self, root: root.to_path_buf(), sums }
    }

    /// Writes the file of checksums, where files are known by one.
    pub fn write_checksums(self, dir: &Path) -> Result<(), StoreError> {
        let Some(name) = self.checksums else { return Ok(()) };
        sums::write_checksums(dir, name, self.is_named, &BTreeMap::new())
    }

    /// All files below the folder `dir` that are not ours, by name; no link is followed.
    pub fn foreign_files(self, dir: &Path) -> Result<Vec<Foreign>, StoreError> {
        let mut found = Vec::new();
        self.in_folder(dir).foreign(Path::new(""), &mut found)?;
        Ok(found)
    }
}

/// A folder's files with what proves whose they are.
#[derive(Debug)]
pub(crate) struct Proof {
    ours: Ours,
    root: PathBuf,
    /// `None`: files are known by their names.
    sums: Option<Sums>,
}

impl Proof {
    /// Whether `name` is the file of checksums, which proves the others and so goes last.
    pub(crate) fn is_checksums(&self, name: &Path) -> bool {
        self.ours.checksums.is_some_and(|checksums| name == Path::new(checksums))
    }

    /// The file of checksums, where it is ours.
    pub(crate) fn checksums(&self) -> Option<PathBuf> {
        let is_ours = self.sums.as_ref().is_some_and(|sums| sums.names().next().is_some());
        self.ours.checksums.filter(|_| is_ours).map(|name| self.root.join(name))
    }

    /// Why the regular file `name` is not ours; `None`: it is.
    pub(crate) fn doubt(&self, name: &Path) -> Option<&'static str> {
        const NOT_WRITTEN: &str = "was not written by lorasweep";
        if self.is_checksums(name) {
            return self.checksums().is_none().then_some(NOT_WRITTEN);
        }
        if !(self.ours.is_named)(name) {
            return Some(NOT_WRITTEN);
        }
        let sums = self.sums.as_ref()?;
        let text = name.to_str().unwrap_or_default();
        if !sums.names().any(|known| known == text) {
            return Some(NOT_WRITTEN);
        }
        let is_as_written = sums.is_as_written(&self.root, text);
        (!is_as_written).then_some("was changed since lorasweep wrote it")
    }

    fn foreign(&self, below: &Path, found: &mut Vec<Foreign>) -> Result<(), StoreError> {
        for path in atomic::entries(&self.root.join(below))? {
            let name = below.join(path.file_name().unwrap_or_default());
            if own_files::is_dir(&path) {
                self.foreign(&name, found)?;
                continue;
            }
            let reason = if own_files::is_file(&path) {
                self.doubt(&name)
            } else {
                Some("is a link or a special file, which lorasweep does not write")
            };
            found.extend(reason.map(|reason| Foreign { name, reason }));
        }
        Ok(())
    }

    /// Of the files in the way of those in `new`, which is to take the folder's place, the ones that
    /// are not ours. Where files are known by their names nothing is looked for.
    pub(crate) fn in_the_way_of(&self, new: &Path) -> Result<Vec<Foreign>, StoreError> {
        if self.sums.is_none() || !own_files::is_dir(&self.root) {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        self.foreign(Path::new(""), &mut found)?;
        found.retain(|it| {
            let is_in_new = new.join(&it.name).symlink_metadata().is_ok();
            // A file where the new folder has a folder, or the other way round.
            let above = it.name.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
            is_in_new || above.into_iter().any(|above| own_files::is_file(&new.join(above)))
        });
        Ok(found)
    }

    /// Removes the regular files of the folder that are ours, and the folders that held nothing
    /// else; one that held nothing is somebody's. No link is followed or removed.
    pub(crate) fn remove_ours(&self) -> io::Result<()> {
        self.remove_below(Path::new(""))?;
        if let Some(checksums) = self.checksums() {
            own_files::remove_file(&checksums)?;
        }
        Ok(())
    }

    /// Whether there was anything of ours.
    fn remove_below(&self, below: &Path) -> io::Result<bool> {
        let mut was_ours = false;
        for entry in std::fs::read_dir(self.root.join(below))? {
            let entry = entry?;
            let name = below.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if self.remove_below(&name)? {
                    own_files::remove_empty_dir(&entry.path())?;
                    was_ours = true;
                }
            } else if kind.is_file() && !self.is_checksums(&name) && self.doubt(&name).is_none() {
                was_ours |= own_files::remove_file(&entry.path())?;
            }
        }
        Ok(was_ours)
    }
}
