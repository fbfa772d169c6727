//! Which machine, which process, and when: a process number alone names another process after a restart,
//! on another machine and in another container.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sysinfo::System;

/// Where process numbers mean the same: one start of one machine, in one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The machine's name.
    #[serde(default)]
    pub host: String,
    /// Identifies its last start; empty in files of versions that did not write it.
    #[serde(default)]
    pub boot: String,
    /// The namespace that process numbers belong to, where the system has such a thing.
    #[serde(default)]
    pub pid_namespace: String,
}

impl Place {
    /// Where this process runs.
    pub fn this() -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let namespace = std::fs::read_link("/proc/self/ns/pid");
        Self {
            host: this_host(),
            // Elsewhere than on Linux, the moment of the start.
            boot: boot.map_or_else(|_| System::boot_time().to_string(), |id| id.trim().to_owned()),
            pid_namespace: namespace.map(|id| id.display().to_string()).unwrap_or_default(),
        }
    }

    /// Whether a process number from there names the same process here.
    pub fn is_here(&self) -> bool {
        !self.boot.is_empty() && *self == Self::this()
    }
}

/// When the process of this number started; `None` when there is none. On Linux in clock ticks since the
/// machine started: the date of a start is computed from today's clock, and moves when that is set.
/// Elsewhere in seconds since 1970.
#[cfg(target_os = "linux")]
pub fn started_at(pid: u32) -> Option<u64> {
    /// `starttime`, counted from the state, which is the first field after the program's name (proc(5)).
    const START_TIME: usize = 19;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold some itself.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(START_TIME)?.parse().ok()
}

/// See above.
#[cfg(not(target_os = "linux"))]
pub fn started_at(pid: u32) -> Option<u64> {
    use sysinfo::{Pid, Process, ProcessesToUpdate};
    let pid = Pid::from_u32(pid);
    let mut system = System::new();
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), true);
    system.process(pid).map(Process::start_time)
}

/// The name of this machine.
pub fn this_host() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

/// The process that drives a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id; 0 when the lock file does not tell.
    pub pid: u32,
    /// The machine's name.
    pub host: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// When the process started, as [`started_at`] counts; a number is given to another process after
    /// a while. Absent from files of versions that wrote a date, which moves with the clock.
    #[serde(default)]
    pub start_ticks: Option<u64>,
    /// Where its number means it; absent from files of earlier versions.
    #[serde(default)]
    pub place: Option<Box<Place>>,
}

impl Holder {
    pub(crate) fn this_process() -> Self {
        let pid = std::process::id();
        let (place, host) = (Some(Box::new(Place::this())), this_host());
        Self { pid, host, since_ms: now_ms(), start_ticks: started_at(pid), place }
    }

    pub(crate) fn unknown() -> Self {
        Self { pid: 0, host: String::new(), since_ms: 0, start_ticks: None, place: None }
    }

    /// Whether the process of this number on this machine is provably the one that holds the lock.
    pub fn is_process_here(&self) -> bool {
        self.place.as_deref().is_some_and(Place::is_here)
            && self.start_ticks.is_some()
            && started_at(self.pid) == self.start_ticks
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("another process");
        }
        let seconds = now_ms().saturating_sub(self.since_ms) / 1000;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        write!(f, "process {} on {}, begun ", self.pid, self.host)?;
        match (hours, minutes) {
            (0, 0) => write!(f, "{seconds} s ago"),
            (0, _) => write!(f, "{minutes} min ago"),
            _ => write!(f, "{hours} h {minutes} min ago"),
        }
    }
}

/// Milliseconds since the Unix epoch; for people, never for decisions.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_from_another_machine_start_or_container_names_no_process_here() {
        let here = Place::this();
        assert!(here.is_here());
        let other = |change: fn(&mut Place)| {
            let mut place = here.clone();
            change(&mut place);
            place
        };
        assert!(!other(|place| place.host.push('x')).is_here());
        assert!(!other(|place| place.boot.push('x')).is_here());
        assert!(!other(|place| place.pid_namespace.push('x')).is_here());
        assert!(!Place { host: here.host.clone(), ..Place::default() }.is_here());
    }

    #[test]
    fn this_process_has_started_and_one_that_cannot_be_has_not() {
        assert!(started_at(std::process::id()).is_some_and(|at| at > 0));
        assert_eq!(started_at(u32::MAX - 1), None);
    }

    /// A date would be some 10^11 ticks, and another one after the clock was set.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_start_of_a_process_is_counted_from_that_of_the_machine() {
        const TICKS_PER_SECOND: u64 = 100;
        let since_start = (System::uptime() + 1) * TICKS_PER_SECOND;
        let started = started_at(std::process::id()).unwrap();
        assert!(started <= since_start, "{started} of {since_start} ticks");
    }
}
