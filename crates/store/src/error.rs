//! The one error type of this crate: what failed, where, why, and what to do about it.

use std::path::{Path, PathBuf};

use crate::lock::Holder;
use crate::own_files;

/// What the closure that fills a file or folder may fail with.
pub type BuildError = Box<dyn std::error::Error + Send + Sync>;

/// An operation on a results folder failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("failed to {operation} `{}`", path.display())]
    Io {
        /// What was tried, as a verb phrase.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The caller's closure that writes the content failed.
    #[error("failed to write `{}`", path.display())]
    Build {
        /// The file or folder to be filled.
        path: PathBuf,
        /// Why it could not be.
        source: BuildError,
    },
    /// A complete line of the journal is not a record.
    #[error("line {line} of the journal `{}` is not a record", path.display())]
    CorruptJournal {
        /// The journal file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The folder was written by a later version of lorasweep.
    #[error(
        "`{}` was written by a newer lorasweep (format {found}; this one reads up to {known})",
        path.display()
    )]
    NewerFormat {
        /// The file that says so.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The highest version this program reads.
        known: u32,
    },
    /// A JSON file of the folder cannot be read as what it should be.
    #[error("`{}` is damaged", path.display())]
    DamagedJson {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Another process drives this sweep.
    #[error("the sweep in `{}` is being run by {holder}", path.display())]
    Locked {
        /// The sweep's folder.
        path: PathBuf,
        /// Who holds it.
        holder: Holder,
    },
    /// The folder holds another sweep of the same name.
    #[error(
        "`{}` holds the results of a different sweep; what differs:{}",
        path.display(),
        bullets(differences)
    )]
    DifferentSweep {
        /// The sweep's folder.
        path: PathBuf,
        /// One line for each difference, `there -> here`.
        differences: Vec<String>,
    },
    /// Something lies where a new sweep would write.
    #[error("`{}` is there already, in a folder that holds no sweep", path.display())]
    Occupied {
        /// The file or folder.
        path: PathBuf,
    },
    /// There is no sweep in this folder.
    #[error("`{}` is not the results folder of a sweep (it has no resolved.json)", path.display())]
    NotASweep {
        /// The folder looked at.
        path: PathBuf,
    },
}

/// What keeps old results out of the way of new ones.
const ASIDE: &str = "give the sweep another `name:`, or pass `--fresh` to move the old folder aside \
                     (it is never deleted)";

impl StoreError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { operation, path, source }
    }

    /// What the person can do about it, when there is something specific.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Io { source, path, .. } => io_help(source, path),
            Self::CorruptJournal { path, line, .. } => Some(format!(
                "the file was changed or damaged after it was written; restore it, or cut it \
                 before line {line} (`head -n {} {}`) to go on from there",
                line - 1,
                path.display()
            )),
            Self::NewerFormat { .. } => {
                Some("use the version of lorasweep that wrote it, or a later one".to_owned())
            }
            Self::DamagedJson { .. } => Some(ASIDE.to_owned()),
            Self::DifferentSweep { path, .. } => Some(format!(
                "{ASIDE}; under another name, `method: bayes` with `warm_start: {}` learns from the \
                 trials that are there",
                path.display()
            )),
            Self::Locked { .. } => {
                Some("wait for it or stop it; `lorasweep status` shows how far it is".to_owned())
            }
            Self::Occupied { .. } => Some(
                "lorasweep replaces only what it wrote itself: give the sweep another `name:`, \
                 choose another folder with `--results DIR`, or move what is there elsewhere"
                    .to_owned(),
            ),
            Self::Build { .. } | Self::NotASweep { .. } => None,
        }
    }
}

fn io_help(source: &std::io::Error, path: &Path) -> Option<String> {
    use std::io::ErrorKind as Kind;
    if own_files::is_not_ours(source) {
        return Some(format!(
            "lorasweep reads, replaces and removes only files that it wrote itself: move `{}` \
             elsewhere",
            path.display()
        ));
    }
    match source.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => Some(format!(
            "make room on the disk that holds `{}`; the sweep then goes on where it was",
            path.display()
        )),
        Kind::ReadOnlyFilesystem | Kind::PermissionDenied => {
            Some("choose a folder you may write to with `--results DIR`".to_owned())
        }
        _ => None,
    }
}

fn bullets(lines: &[String]) -> String {
    lines.iter().flat_map(|line| ["\n  - ", line]).collect()
}
