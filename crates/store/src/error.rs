//! The one error type of this crate: what failed, where, why, and what to do about it.

use std::path::{Path, PathBuf};

use spec::{TrialId, shown};

use crate::foreign::{Foreign, Kept, is_not_ours};
use crate::place::Holder;

/// What the closure that fills a file or folder may fail with.
pub type BuildError = Box<dyn std::error::Error + Send + Sync>;

/// What a journal lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalGap {
    /// Lines of a file.
    Line {
        /// The line after the gap, from 1.
        line: usize,
        /// The number that it was written with.
        written_as: u64,
    },
    /// A whole file, while later ones of the same writer are there.
    File,
}

/// An operation on a results folder failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("failed to {operation} `{}`", shown(path))]
    Io {
        /// What was tried, as a verb phrase.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The disk has too little room for what is to be written.
    #[error(
        "there is no room for {what} in `{}`: {needed} bytes are needed, {free} are free",
        shown(path)
    )]
    NoRoom {
        /// What is to be written.
        what: String,
        /// The folder.
        path: PathBuf,
        /// Bytes of it.
        needed: u64,
        /// Bytes that this user may still write.
        free: u64,
        /// What the system would say.
        source: std::io::Error,
    },
    /// The caller's closure that writes the content failed.
    #[error("failed to write `{}`", shown(path))]
    Build {
        /// The file or folder to be filled.
        path: PathBuf,
        /// Why it could not be.
        source: BuildError,
    },
    /// A complete line of the journal is not a record.
    #[error("line {line} of the journal `{}` is not a record", shown(path))]
    CorruptJournal {
        /// The journal file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Complete lines of the journal, or a file of it, are gone.
    #[error("{}", gap_in_words(path, *gap))]
    JournalGap {
        /// The journal file.
        path: PathBuf,
        /// What it lacks.
        gap: JournalGap,
    },
    /// Trials have left something, but the journal does not tell of them.
    #[error(
        "records are missing from the journal `{}`{}: {} left files in the sweep's folder, but it does \
         not tell what became of {}",
        shown(path),
        line.map_or_else(String::new, |line| format!(", which ends within line {line}")),
        numbers(trials),
        if trials.len() == 1 { "it" } else { "them" }
    )]
    LostRecords {
        /// The file that ends within a line, or the journal's folder where none does.
        path: PathBuf,
        /// That line, from 1.
        line: Option<usize>,
        /// Of which trials.
        trials: Vec<TrialId>,
    },
    /// The folder was written by a later version of lorasweep.
    #[error(
        "`{}` was written by a newer lorasweep (format {found}; this one reads up to {known})",
        shown(path)
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
    #[error("`{}` is damaged", shown(path))]
    DamagedJson {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Another process drives this sweep.
    #[error("the sweep in `{}` is being run by {holder}", shown(path))]
    Locked {
        /// The sweep's folder.
        path: PathBuf,
        /// Who holds it.
        holder: Holder,
    },
    /// The folder holds another sweep of the same name.
    #[error(
        "`{}` holds the results of a different sweep; what differs:{}",
        shown(path),
        bullets(differences)
    )]
    DifferentSweep {
        /// The sweep's folder.
        path: PathBuf,
        /// One line for each difference, `there -> here`.
        differences: Vec<String>,
    },
    /// Something lies where a new sweep would write.
    #[error("`{}` is there already, in a folder that holds no sweep", shown(path))]
    Occupied {
        /// The file or folder.
        path: PathBuf,
    },
    /// A folder that was to be replaced has files that are not lorasweep's.
    #[error(
        "`{}` stays as it is, for what is not lorasweep's in it:{}",
        shown(path),
        bullets(&foreign.iter().map(Foreign::to_string).collect::<Vec<_>>())
    )]
    HoldsForeign {
        /// The folder.
        path: PathBuf,
        /// What was not written by lorasweep, or was changed since.
        foreign: Vec<Foreign>,
    },
    /// There is no sweep in this folder.
    #[error(
        "`{}` is {}",
        shown(path),
        if path.is_dir() {
            "not the results folder of a sweep (it has no resolved.json)"
        } else {
            "not there: no sweep has begun in that folder"
        }
    )]
    NotASweep {
        /// The folder looked at.
        path: PathBuf,
    },
}

/// What keeps old results out of the way of new ones.
const ASIDE: &str = "give the sweep another `name:`, or move the old folder aside with `lorasweep run \
                     --fresh` (it is never deleted)";

impl StoreError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { operation, path, source }
    }

    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::NoRoom { .. } => true,
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }

    /// What stays as it is when something that is not lorasweep's is in the way of a file or folder
    /// that would be written; another error remains one.
    pub fn or_kept(self) -> Result<Kept, Self> {
        match self {
            Self::HoldsForeign { path, foreign } => {
                let reasons: Vec<String> = foreign.iter().map(Foreign::to_string).collect();
                Ok(Kept { path, reason: reasons.join(", ") })
            }
            Self::Io { path, source, .. } if is_not_ours(&source) => {
                Ok(Kept { path, reason: source.to_string() })
            }
            other => Err(other),
        }
    }

    /// What the person can do about it, when there is something specific.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Io { source, path, .. } | Self::NoRoom { source, path, .. } => {
                io_help(source, path)
            }
            Self::CorruptJournal { path, .. } => Some(without_a_copy("changed or damaged", path)),
            Self::JournalGap { path, .. } | Self::LostRecords { path, .. } => {
                Some(without_a_copy("cut, changed or removed", path))
            }
            Self::NewerFormat { .. } => {
                Some("use the version of lorasweep that wrote it, or a later one".to_owned())
            }
            Self::DamagedJson { .. } => Some(ASIDE.to_owned()),
            Self::DifferentSweep { path, .. } => Some(format!(
                "{ASIDE}; under another name, `method: bayes` with `warm_start: {}` learns from the \
                 trials that are there",
                shown(path)
            )),
            Self::Locked { .. } => {
                Some("wait for it or stop it; `lorasweep status` shows how far it is".to_owned())
            }
            Self::Occupied { .. } => Some(
                "lorasweep replaces only what it wrote itself: give the sweep another `name:`, \
                 choose another folder with `--results DIR`, or move what is there elsewhere"
                    .to_owned(),
            ),
            Self::HoldsForeign { .. } => Some(
                "lorasweep replaces only files that are as it wrote them: name another folder, or \
                 move what is listed elsewhere"
                    .to_owned(),
            ),
            Self::NotASweep { .. } => Some(
                "results are in `results/<name>` of the folder in which `run` was started; \
                 `--results DIR` names another place, and so does the results folder instead of the \
                 sweep file"
                    .to_owned(),
            ),
            Self::Build { .. } => None,
        }
    }
}

fn gap_in_words(path: &Path, gap: JournalGap) -> String {
    let path = shown(path);
    match gap {
        JournalGap::Line { line, written_as } => format!(
            "lines of the journal `{path}` are missing or out of place: line {line} was written as \
             line {written_as}"
        ),
        JournalGap::File => {
            format!(
                "the journal `{path}` is missing, while later ones of the same process are there"
            )
        }
    }
}

/// What to do about a journal of which something is lost. Whatever went on without the lost records
/// would train trials again and replace what they left.
fn without_a_copy(what: &str, path: &Path) -> String {
    format!(
        "nothing was changed. A file was {what} after it was written: put `{}` back from a copy; \
         without one, `lorasweep run --fresh` moves the sweep's folder aside (it is never deleted) and \
         trains anew, and the trials' adapters are in `trials/` there",
        shown(path)
    )
}

fn io_help(source: &std::io::Error, path: &Path) -> Option<String> {
    use std::io::ErrorKind as Kind;
    if is_not_ours(source) {
        return Some(format!(
            "lorasweep reads, replaces and removes only files that it wrote itself: move `{}` \
             elsewhere",
            shown(path)
        ));
    }
    match source.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => Some(format!(
            "make room on the disk that holds `{}`; the sweep then goes on where it was",
            shown(path)
        )),
        Kind::ReadOnlyFilesystem | Kind::PermissionDenied => {
            Some("choose a folder that you may write to".to_owned())
        }
        _ => None,
    }
}

/// `trials 001, 002, 003 and 4 more`.
fn numbers(trials: &[TrialId]) -> String {
    const LISTED: usize = 5;
    let listed: Vec<String> = trials.iter().take(LISTED).map(TrialId::to_string).collect();
    let more = match trials.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = if trials.len() == 1 { "trial" } else { "trials" };
    format!("{what} {}{more}", listed.join(", "))
}

fn bullets(lines: &[String]) -> String {
    lines.iter().flat_map(|line| ["\n  - ", line]).collect()
}
