//! Commands that live on because their worker was killed before it could end them.
//!
//! A command's process group is written down beside its log while it runs. Whoever starts the trial
//! again ends what is left of that group first: two processes in one trial's folder would write
//! over each other's files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sysinfo::{Pid, ProcessesToUpdate, System};

use super::process::Process;

const FILE: &str = "command.process";

/// A process group, by its leader.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Number of the leader, which is the group's.
    group: u32,
    /// When the leader started, in seconds since 1970: a number is used again after a while.
    started: u64,
}

/// The note of a running command; it is removed when the note is dropped.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
}

impl Note {
    /// Writes down which process trains in `dir`. One that has ended already leaves nothing behind.
    pub fn write(dir: &Path, process: &Process) -> Option<Self> {
        let group = process.group()?;
        let record = serde_json::to_vec(&Record { group, started: start_of(group)? }).ok()?;
        let path = dir.join(FILE);
        // A full disk must not end the training that runs already.
        std::fs::write(&path, record).ok()?;
        Some(Self { path })
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // What stays behind names a process that is gone, and is seen as such.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Ends what an earlier attempt left running in `dir`, asking first.
pub(super) async fn end(dir: &Path, grace: Duration) {
    // Without a readable note there is nothing that could be ended safely.
    let Ok(text) = std::fs::read(dir.join(FILE)) else { return };
    let Ok(record) = serde_json::from_slice::<Record>(&text) else { return };
    // A leader that is gone may have left children: its number is not given away before they end.
    if start_of(record.group).is_none_or(|started| started == record.started) {
        Process::of_group(record.group).end(grace).await;
    }
}

fn start_of(process: u32) -> Option<u64> {
    let pid = Pid::from_u32(process);
    let mut system = System::new();
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), true);
    system.process(pid).map(sysinfo::Process::start_time)
}
