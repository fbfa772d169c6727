//! Commands of a person (a trainer, a judge) as process groups: started through the shell, and ended with
//! everything that they started.
//!
//! A leaf of its own, because two crates that know nothing of each other start commands: `worker` those that
//! train a trial, `metrics` the judge that scores answers.

#![forbid(unsafe_code)]

use std::process::Command;
use std::time::{Duration, Instant};

/// Between two looks at a group that was asked to end.
pub const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// A killed group is waited for at most this long.
pub const AFTER_KILL: Duration = Duration::from_secs(1);

/// What a group is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end (SIGTERM).
    End,
    /// Ends it (SIGKILL).
    Kill,
}

/// A line for the shell, which leads a process group of its own where there is such a thing.
pub fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(line);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// A process group, by the number of its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group(u32);

impl Group {
    /// The group that a process of this number leads.
    pub const fn of(leader: u32) -> Self {
        Self(leader)
    }

    /// The number of its leader.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Sends a signal to all of it. It may be gone already, which is what is wanted.
    pub fn signal(self, signal: Signal) {
        #[cfg(unix)]
        {
            use rustix::process::{Signal as Number, kill_process_group};
            let number = match signal {
                Signal::End => Number::TERM,
                Signal::Kill => Number::KILL,
            };
            if let Some(group) = self.id() {
                let _ = kill_process_group(group, number);
            }
        }
        #[cfg(not(unix))]
        let _ = signal;
    }

    /// Whether any process of it is left, one that ended and was not waited for among them.
    pub fn is_there(self) -> bool {
        #[cfg(unix)]
        return self.id().is_some_and(|id| rustix::process::test_kill_process_group(id).is_ok());
        #[cfg(not(unix))]
        false
    }

    /// Asks it to end, and ends it after `grace`; `reap` is called between looks, to wait for a leader that
    /// has ended.
    pub fn end(self, grace: Duration, reap: &mut dyn FnMut()) {
        let asked = Instant::now();
        let mut wait_until = |longest: Duration| {
            reap();
            while self.is_there() && asked.elapsed() < longest {
                std::thread::sleep(BETWEEN_LOOKS);
                reap();
            }
        };
        self.signal(Signal::End);
        wait_until(grace);
        self.signal(Signal::Kill);
        wait_until(grace + AFTER_KILL);
    }

    #[cfg(unix)]
    fn id(self) -> Option<rustix::process::Pid> {
        rustix::process::Pid::from_raw(i32::try_from(self.0).ok()?)
    }
}
