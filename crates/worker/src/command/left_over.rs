//! Commands that live on because their worker was killed before it could end them.
//!
//! A command's process group is written down beside its log while it runs. Whoever starts the trial
//! again ends what is left of that group first: two processes in one trial's folder would write
//! over each other's files.
//!
//! A group's number alone proves nothing: after a restart, on another machine, or after a while it
//! is that of somebody else. A group is ended only when its leader is the process that was noted (by
//! machine, start of the machine, and start of the process), or when a process in it has this trial's
//! folder in its environment, as only the trial's command and what it started have.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::{Place, started_at};

use super::process::Process;

const FILE: &str = "command.process";

/// A process group, by its leader.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Number of the leader, which is the group's.
    group: u32,
    /// When the leader started, as [`started_at`] counts: a number is used again after a while. Absent
    /// from notes of versions that wrote a date, which moves with the clock.
    #[serde(default)]
    start_ticks: Option<u64>,
    /// Where the number means it; absent from notes of earlier versions.
    #[serde(default)]
    place: Option<Place>,
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
        let record =
            Record { group, start_ticks: Some(started_at(group)?), place: Some(Place::this()) };
        let record = serde_json::to_vec(&record).ok()?;
        let path = dir.join(FILE);
        // A full disk must not end the training that runs already.
        store::write_file_unsynced(&path, &record).ok()?;
        Some(Self { path })
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // What stays behind names a process that is gone, and is seen as such.
        let _ = store::remove_own_file(&self.path);
    }
}

/// Ends what an earlier attempt left running in `dir`, asking first.
pub(super) async fn end(dir: &Path, grace: Duration) {
    // Without a readable note there is nothing that could be ended safely.
    let Ok(text) = store::read_own_file(&dir.join(FILE)) else { return };
    let Ok(record) = serde_json::from_slice::<Record>(&text) else { return };
    if record.is_leader_here() || is_group_of(record.group, dir) {
        Process::of_group(record.group).end(grace).await;
    }
}

impl Record {
    fn is_leader_here(&self) -> bool {
        self.place.as_ref().is_some_and(Place::is_here)
            && self.start_ticks.is_some()
            && started_at(self.group) == self.start_ticks
    }
}

/// Whether a process in a group was started for the trial whose folder is `dir`.
#[cfg(unix)]
fn is_group_of(group: u32, dir: &Path) -> bool {
    use rustix::process::{Pid, getpgid};
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

    let mark = mark_of(dir);
    let number = |pid: u32| Pid::from_raw(i32::try_from(pid).ok()?);
    let Some(group) = number(group) else { return false };
    let mut system = System::new();
    let what = ProcessRefreshKind::nothing().with_environ(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    // Only marked processes are asked for their group: the kernel's have none.
    let marked = system.processes().values().filter(|process| process.environ().contains(&mark));
    let mut marked = marked.filter_map(|process| number(process.pid().as_u32()));
    marked.any(|pid| getpgid(Some(pid)) == Ok(group))
}

#[cfg(not(unix))]
fn is_group_of(_: u32, _: &Path) -> bool {
    false
}

/// What the environment of a trial's command says of its folder.
fn mark_of(dir: &Path) -> OsString {
    let variable = super::values::variable(spec::CommandValue::TrialDir);
    [OsString::from(variable), "=".into(), dir.into()].into_iter().collect()
}
