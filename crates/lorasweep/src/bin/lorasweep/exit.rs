//! What the process's exit code says; `lorasweep --help` lists the same.

use std::process::ExitCode;

use lorasweep::worker::launch::DISK_FULL;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: something failed while running.
    Failed,
    /// 2: the sweep file, its data, its model or the arguments are wrong; nothing was changed.
    BadInput,
    /// 3: the sweep ended, but every trial failed or diverged.
    NoUsableTrial,
    /// 12: aborted, as when the system gives no more memory; the state is saved (`abort`).
    #[cfg_attr(not(unix), allow(dead_code, reason = "aborts are told of on Unix"))]
    Aborted,
    /// 28: there is no room left on the disk.
    DiskFull,
    /// 130: interrupted by Ctrl-C; the state is saved.
    Interrupted,
}

/// The end of `--help`.
pub const HELP: &str = "\
Exit codes:
  0    done
  1    something failed while running
  2    the sweep file, its data, its model or the arguments are wrong
  3    the sweep ended, but every trial failed or diverged
  12   it was aborted, as when the system gives no more memory; `lorasweep run` resumes
  28   there is no room left on the disk; with room, `lorasweep run` resumes
  130  interrupted; the state is saved and `lorasweep run` resumes from it";

impl Exit {
    /// The code itself.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadInput => 2,
            Self::NoUsableTrial => 3,
            // That of the system's own error, ENOMEM; 28 is ENOSPC.
            Self::Aborted => 12,
            Self::DiskFull => DISK_FULL,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_in_the_help_text() {
        use Exit::{Aborted, BadInput, DiskFull, Done, Failed, Interrupted, NoUsableTrial};
        for exit in [Done, Failed, BadInput, NoUsableTrial, Aborted, DiskFull, Interrupted] {
            let line = format!("\n  {:<3}  ", exit.code());
            assert!(HELP.contains(&line), "{exit:?} is missing");
        }
    }
}
