//! What Slurm says of jobs, read as plain values. Its words are hints, so that nothing here is an
//! error: a line that makes no sense is left out, a state that nobody knows stays a text.

use std::fmt::Write as _;

use super::super::Hint;

/// One job, as one of Slurm's commands tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Job {
    /// The job's number.
    pub id: u64,
    /// Its state in Slurm's words, in capitals: `RUNNING`.
    pub state: String,
    /// Where it runs or ran; empty when nowhere.
    pub nodes: String,
    /// Its comment; empty when there is none.
    pub comment: String,
    /// Why it waits or ended; empty when there is no reason.
    pub reason: String,
    /// `status:signal` of its script, once it has ended and where it is told.
    pub exit_code: Option<String>,
}

/// Columns that `squeue --format` is asked for; [`parse_queue`] reads them.
pub(super) const SQUEUE_FORMAT: &str = "%A|%T|%N|%k|%r";
/// Columns that `sacct --format` is asked for.
pub(super) const SACCT_FORMAT: &str = "JobIDRaw,State,NodeList,Comment,ExitCode";

/// Reads lines of [`SQUEUE_FORMAT`].
pub(super) fn parse_queue(squeue: &str) -> Vec<Job> {
    squeue.lines().filter_map(|line| columns(line).map(|(job, last)| job.because(last))).collect()
}

/// Reads lines of [`SACCT_FORMAT`]. Steps of jobs (`12.batch`) are left out; of a job that is
/// listed several times, since it was queued again, the last one counts.
pub(super) fn parse_accounts(sacct: &str) -> Vec<Job> {
    let listed = sacct.lines().filter_map(|line| {
        let (job, exit_code) = columns(line)?;
        Some(Job { exit_code: some(exit_code), ..job })
    });
    listed.collect()
}

/// Reads `scontrol --oneliner show job`: words of `Key=Value`, one job a line. Values with spaces
/// (a job's name, its command) cannot be told from words, so that only keys are looked up whose
/// values have none, and the first of a name counts.
pub(super) fn parse_details(scontrol: &str) -> Vec<Job> {
    let job = |line: &str| {
        let value = |key: &str| {
            line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=').map(plain))
        };
        Some(Job {
            id: value("JobId")?.parse().ok()?,
            state: value("JobState")?,
            nodes: value("NodeList").unwrap_or_default(),
            comment: value("Comment").unwrap_or_default(),
            reason: value("Reason").unwrap_or_default(),
            exit_code: value("ExitCode"),
        })
    };
    scontrol.lines().filter_map(job).collect()
}

/// Four columns that all listings begin with, and the last one.
fn columns(line: &str) -> Option<(Job, &str)> {
    let mut columns = line.splitn(5, '|').map(str::trim);
    let mut next = || columns.next();
    let (id, state, nodes, comment) = (next()?, next()?, next()?, next()?);
    let last = next()?;
    let job = Job {
        id: id.parse().ok()?,
        // `CANCELLED by 1000`: who did it is of no use here.
        state: state.split(' ').next().unwrap_or_default().trim_end_matches('+').to_uppercase(),
        nodes: plain(nodes),
        comment: plain(comment),
        reason: String::new(),
        exit_code: None,
    };
    (!job.state.is_empty()).then_some((job, last))
}

/// Slurm's several words for nothing.
fn plain(value: &str) -> String {
    match value {
        "(null)" | "None" | "N/A" | "None assigned" => String::new(),
        value => value.to_owned(),
    }
}

fn some(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

impl Job {
    fn because(self, reason: &str) -> Self {
        Self { reason: plain(reason), ..self }
    }

    /// It has ended and will not start again by itself.
    pub fn has_ended(&self) -> bool {
        matches!(self.hint(), Hint::Gone { .. })
    }

    /// What it means for a worker.
    pub fn hint(&self) -> Hint {
        let waits = |why: &str| Hint::Queued { reason: why.to_owned() };
        match self.state.as_str() {
            "PENDING" if self.reason.is_empty() => waits("no reason given"),
            "PENDING" => waits(&self.reason),
            // Its nodes boot, or it was taken off them and will get others, or it stands still.
            "CONFIGURING" | "REQUEUED" | "REQUEUE_FED" | "SUSPENDED" | "STOPPED" => {
                waits(&self.state.to_lowercase())
            }
            "REQUEUE_HOLD" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => Hint::Queued {
                reason: format!(
                    "{}: held until `scontrol release {}`",
                    self.state.to_lowercase(),
                    self.id
                ),
            },
            // The last three may still write.
            "RUNNING" | "RESIZING" | "SIGNALING" | "COMPLETING" | "STAGE_OUT" => {
                Hint::Running { place: self.nodes.clone() }
            }
            "BOOT_FAIL" | "CANCELLED" | "COMPLETED" | "DEADLINE" | "FAILED" | "NODE_FAIL"
            | "OUT_OF_MEMORY" | "PREEMPTED" | "REVOKED" | "TIMEOUT" => {
                Hint::Gone { how: self.end() }
            }
            other => Hint::Unknown { said: format!("job {} is {other}", self.id) },
        }
    }

    /// How it ended, in words.
    fn end(&self) -> String {
        let mut how = self.state.clone();
        let numbers = self.exit_code.as_deref().and_then(|code| code.split_once(':'));
        match numbers {
            Some((_, signal)) if signal != "0" => {
                let _ = write!(how, ", signal {signal}");
            }
            Some((status, _)) if status != "0" => {
                let _ = write!(how, ", exit status {status}");
            }
            _ => {}
        }
        if !self.nodes.is_empty() {
            let _ = write!(how, " on {}", self.nodes);
        }
        how
    }
}

/// The number of the job that `sbatch --parsable` submitted: `12` or `12;cluster`, after any lines
/// that a site's own plugins print.
pub(super) fn parse_submitted(sbatch: &str) -> Option<u64> {
    sbatch.lines().rev().find_map(|line| {
        let (id, _) = line.trim().split_once(';').unwrap_or((line.trim(), ""));
        id.parse().ok().filter(|id| *id > 0)
    })
}

/// What to believe of job `id`: the controller while it knows the job as not ended, then whoever
/// tells more of its end. The controller forgets a job some minutes after its end; the accounting
/// may hear of that later, or never.
pub(super) fn believe(id: u64, listed: Option<&Job>, end: Option<&Job>) -> Hint {
    match (listed, end) {
        (Some(job), _) if !job.has_ended() => job.hint(),
        (_, Some(end)) if end.has_ended() => end.hint(),
        (Some(job), _) => job.hint(),
        (None, Some(end)) => Hint::Unknown {
            said: format!(
                "the controller has forgotten job {id}, but the accounting says {}",
                end.state
            ),
        },
        (None, None) => Hint::Gone { how: format!("Slurm no longer knows job {id}") },
    }
}
