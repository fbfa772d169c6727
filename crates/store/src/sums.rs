//! Files of checksums: what the files of a folder were when lorasweep wrote them.
//!
//! They are read by `sha256sum -c`. A file that nobody has verified has no line that vouches for it,
//! but a comment with what was written: so it is still known to be ours.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::error::StoreError;
use crate::input::hash_own_file;
use crate::{atomic, own_files};

/// Digits of a SHA-256 in hexadecimal.
const DIGITS: usize = 64;
/// Before the checksum of a file that is not verified.
const WRITTEN: &str = "# written as ";

/// Checksums by file name, with `/` between the parts of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    verified: BTreeMap<String, String>,
    unverified: BTreeMap<String, String>,
}

impl Sums {
    /// `None`: a line of it is none that lorasweep writes.
    fn parse(text: &str) -> Option<Self> {
        let mut sums = Self::default();
        for line in text.lines() {
            if let Some(written) = line.strip_prefix(WRITTEN) {
                let (sum, name) = sum_and_name(written)?;
                sums.unverified.insert(name.to_owned(), sum.to_owned());
            } else if !line.starts_with('#') {
                let (sum, name) = sum_and_name(line)?;
                sums.verified.insert(name.to_owned(), sum.to_owned());
            }
        }
        Some(sums)
    }

    /// Reads the file `path`; `Ok(None)` where there is none.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let text = match own_files::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let damaged =
            || io::Error::new(ErrorKind::InvalidData, "it has a line that is no checksum");
        Self::parse(&text).ok_or_else(damaged).map(Some)
    }

    /// What the file `name` was when it was verified.
    pub(crate) fn verified(&self, name: &str) -> Option<&str> {
        self.verified.get(name).map(String::as_str)
    }

    /// Every file that it names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.verified.keys().chain(self.unverified.keys()).map(String::as_str)
    }

    /// Whether the file `name` in `dir` is as it was written.
    pub(crate) fn is_as_written(&self, dir: &Path, name: &str) -> bool {
        let Some(then) = self.verified.get(name).or_else(|| self.unverified.get(name)) else {
            return false;
        };
        hash_own_file(&dir.join(name)).is_ok_and(|now| now.sha256.as_ref() == Some(then))
    }
}

fn sum_and_name(line: &str) -> Option<(&str, &str)> {
    let (sum, name) = line.split_once("  ")?;
    (sum.len() == DIGITS && !name.is_empty()).then_some((sum, name))
}

/// Writes the checksums of those files in `dir` and below that `is_listed` knows by their relative
/// path, a line each, sorted by name, into the file `to` there. For a file in `unverified`, with the
/// reason, it does not vouch.
pub fn write_checksums(
    dir: &Path,
    to: &str,
    is_listed: impl Fn(&Path) -> bool,
    unverified: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    let mut names = Vec::new();
    list(dir, "", &mut names)?;
    names.sort();
    names.retain(|name| name != to && is_listed(Path::new(name)));
    let mut text = String::new();
    for name in names {
        let sha256 = hash_own_file(&dir.join(&name))?.sha256.unwrap_or_default();
        let _ = match unverified.get(&name) {
            Some(reason) => {
                writeln!(text, "# {name} is not verified: {reason}\n{WRITTEN}{sha256}  {name}")
            }
            None => writeln!(text, "{sha256}  {name}"),
        };
    }
    let path = dir.join(to);
    fs::write(&path, text).map_err(StoreError::io("write", &path))
}

/// Adds the relative paths of the regular files below `dir`; no link is followed.
fn list(dir: &Path, below: &str, names: &mut Vec<String>) -> Result<(), StoreError> {
    for path in atomic::entries(dir)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let name = format!("{below}{name}");
        if own_files::is_dir(&path) {
            list(&path, &format!("{name}/"), names)?;
        } else if own_files::is_file(&path) {
            names.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_as_written_until_it_is_changed_whether_or_not_it_is_verified() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        for name in ["a", "in/b", "unlisted"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let unverified = BTreeMap::from([("a".to_owned(), "nobody knows".to_owned())]);
        let is_listed = |name: &Path| name != Path::new("unlisted");
        write_checksums(dir.path(), "SUMS", is_listed, &unverified).unwrap();
        let read = || Sums::read(&dir.path().join("SUMS")).unwrap().unwrap();
        assert_eq!(read().names().collect::<Vec<_>>(), ["in/b", "a"]);
        assert_eq!(read().verified("a"), None);
        assert!(read().is_as_written(dir.path(), "a") && read().is_as_written(dir.path(), "in/b"));
        for name in ["a", "in/b"] {
            fs::write(dir.path().join(name), "changed").unwrap();
            assert!(!read().is_as_written(dir.path(), name), "{name}");
        }
        assert!(!read().is_as_written(dir.path(), "unlisted"));
    }

    #[test]
    fn a_line_that_is_no_checksum_makes_the_file_one_of_somebody_else() {
        let sum = "0".repeat(DIGITS);
        assert!(Sums::parse(&format!("{sum}  a\n# a comment\n")).is_some());
        for line in ["mine", "0  a", &format!("{sum} a"), &format!("{sum}  ")] {
            assert_eq!(Sums::parse(line), None, "{line}");
        }
    }
}
