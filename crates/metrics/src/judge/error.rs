//! Why a judge gave no scores.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why there are no scores.
#[derive(Debug, Error)]
pub enum JudgeError {
    /// The shell could not be started.
    #[error("failed to start the judge `{command}` in `{}`", dir.display())]
    Start {
        /// What was to run.
        command: String,
        /// Where.
        dir: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It did something other than to score.
    #[error(transparent)]
    Failed(#[from] Box<JudgeFailure>),
}

/// How a judge failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the judge `{command}` {fault} after {scored} of {asked} scores{}{}{}",
    if *is_restarted { ", the second time in a row" } else { "" },
    of(id.as_deref()),
    tail(stderr)
)]
pub struct JudgeFailure {
    /// What was run.
    pub command: String,
    /// What it did.
    pub fault: JudgeFault,
    /// The first answer without a score.
    pub id: Option<String>,
    /// How many have one.
    pub scored: usize,
    /// How many were asked for.
    pub asked: usize,
    /// It had been started again because it ended or fell silent.
    pub is_restarted: bool,
    /// The last lines that it wrote to stderr.
    pub stderr: String,
}

fn of(id: Option<&str>) -> String {
    id.map_or_else(String::new, |id| format!("; {id:?} has none"))
}

fn tail(stderr: &str) -> String {
    if stderr.is_empty() {
        "; it wrote nothing to stderr".to_owned()
    } else {
        format!("; the end of its stderr:\n{stderr}")
    }
}

impl JudgeError {
    /// What to do.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Start { .. } => return None,
            Self::Failed(failure) => match failure.fault {
                JudgeFault::Ended { .. } => {
                    "run the command by hand with a line such as {\"id\": \"1\", \"prompt\": \"\", \
                     \"reference\": \"\", \"output\": \"\"}; it must keep reading until its stdin ends"
                }
                JudgeFault::Silent { .. } => {
                    "the judge must write and flush each score before it waits for more lines \
                     (Python: print(score, flush=True)); a slow one needs a longer time limit"
                }
                JudgeFault::ClosedInput => "the judge must read stdin to its end",
                JudgeFault::NotAScore { .. } | JudgeFault::TooLong => {
                    "write nothing but scores to stdout; everything else belongs on stderr"
                }
                JudgeFault::TooMany { .. } | JudgeFault::Unasked { .. } => {
                    "write exactly one line for each line read, and everything else to stderr"
                }
            },
        };
        Some(help.to_owned())
    }
}

/// What a judge did instead of scoring.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JudgeFault {
    /// It ended.
    #[error("ended ({how})")]
    Ended {
        /// With which status.
        how: String,
    },
    /// It wrote nothing for too long.
    #[error("wrote no score for {} s", longest.as_secs_f64())]
    Silent {
        /// The time limit.
        longest: Duration,
    },
    /// It closed its stdin and lives on.
    #[error("closed its stdin before it had read everything")]
    ClosedInput,
    /// It wrote something else.
    #[error("wrote {line}, which is not a score ({why})")]
    NotAScore {
        /// What it wrote, quoted and cut.
        line: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A line without an end.
    #[error("wrote a line of more than {} bytes", super::running::LONGEST_LINE)]
    TooLong,
    /// More lines than it was asked for.
    #[error("wrote a line too many ({line})")]
    TooMany {
        /// What it wrote, quoted and cut.
        line: String,
    },
    /// A score before the line that it is of.
    #[error("wrote {line} before it was asked")]
    Unasked {
        /// What it wrote, quoted and cut.
        line: String,
    },
}

impl JudgeFault {
    /// Whether it may go well the next time: a program that answers wrongly does so again.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::Silent { .. })
    }
}
