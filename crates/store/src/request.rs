//! What a person asks of a sweep, also while another process drives it.
//!
//! Each request is a file of its own in `requests/`, named so that they sort by time. The driver
//! journals what follows and then removes the file, so that a request survives whatever dies; one that
//! is carried out twice changes nothing.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use spec::{TrialConfig, TrialId};

use crate::driver::SweepDir;
use crate::error::StoreError;
use crate::folder::SweepFolder;
use crate::{atomic, layout, leftovers, own_files};

/// What is asked of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Train this configuration, too.
    Add {
        /// The configuration.
        config: Box<TrialConfig>,
    },
    /// End a trial; what it has learnt so far stays.
    Stop {
        /// Which.
        trial: TrialId,
    },
    /// Train a trial again that has ended.
    Retry {
        /// Which.
        trial: TrialId,
    },
}

/// A request with its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Requested {
    /// What is asked.
    pub request: Request,
    path: PathBuf,
}

impl SweepFolder {
    /// Asks something of the sweep: its driver, or else the next one, sees to it.
    pub fn request(&self, request: &Request) -> Result<(), StoreError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("{:020}-{}", since.as_nanos(), std::process::id());
        let path = layout::requests(self.path()).join(name + ENDING);
        let text = serde_json::to_string(request)
            .map_err(|source| StoreError::DamagedJson { path: path.clone(), source })?;
        atomic::write_own(self.path(), &path, (text + "\n").as_bytes())
    }

    /// What was asked and not seen to yet, the earliest first.
    pub fn requests(&self) -> Result<Vec<Requested>, StoreError> {
        let paths = atomic::own_entries(&layout::requests(self.path()))?;
        paths.into_iter().filter(|path| is_request(path)).map(read).collect()
    }
}

impl SweepDir {
    /// What was asked has been journalled.
    pub fn done(&mut self, requested: &Requested) -> Result<(), StoreError> {
        let removed = own_files::remove_file(&requested.path);
        removed.map(|_| ()).map_err(StoreError::io("remove", &requested.path))
    }
}

/// Ends the names of requests.
const ENDING: &str = ".json";

/// Whether a file has a name that [`SweepFolder::request`] gives.
fn is_request(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let parts = name.and_then(|name| name.strip_suffix(ENDING)?.split_once('-'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    parts.is_some_and(|(at, pid)| at.len() == 20 && is_number(at) && is_number(pid))
}

fn read(path: PathBuf) -> Result<Requested, StoreError> {
    let text = own_files::read_to_string(&path).map_err(StoreError::io("read", &path))?;
    match serde_json::from_str(&text) {
        Ok(request) => Ok(Requested { request, path }),
        Err(source) => Err(StoreError::DamagedJson { path, source }),
    }
}

/// Removes what processes that died left half written among the requests.
pub(crate) fn remove_leftovers(root: &Path) -> Result<(), StoreError> {
    let dir = layout::requests(root);
    if !own_files::is_dir(&dir) {
        return Ok(());
    }
    leftovers::remove_leftovers(&dir, |name| is_request(Path::new(name)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn requests_are_read_in_order_and_files_of_other_names_are_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        let folder = SweepFolder::at(dir.path());
        assert_eq!(folder.requests().unwrap(), []);
        let asked = [
            Request::Add { config: Box::default() },
            Request::Stop { trial: TrialId(12) },
            Request::Retry { trial: TrialId(3) },
        ];
        for request in &asked {
            folder.request(request).unwrap();
        }
        fs::write(dir.path().join("requests/notes.json"), "mine").unwrap();
        let found = folder.requests().unwrap();
        assert_eq!(found.into_iter().map(|it| it.request).collect::<Vec<_>>(), asked);
        fs::write(dir.path().join("requests/00000000000000000001-7.json"), "torn").unwrap();
        assert!(matches!(folder.requests(), Err(StoreError::DamagedJson { .. })));
    }
}
