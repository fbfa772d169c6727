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
            "PENDING" => Hint::Queued { reason: why_it_waits(&self.reason) },
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

/// Why a job waits, with what that means where Slurm's word for it does not say it.
fn why_it_waits(reason: &str) -> String {
    const NEVER: &str = "it asks for more than the partition gives, and will not start";
    const LIMIT: &str = "a limit of your account or QOS is reached";
    const MEANINGS: [(&str, &str); 10] = [
        ("PartitionConfig", NEVER),
        ("PartitionNodeLimit", NEVER),
        ("PartitionTimeLimit", "it asks for more time than the partition gives; it will not start"),
        ("BadConstraints", "no node has all that it asks for; it will not start"),
        ("JobHeld", "it is held until `scontrol release`"),
        ("BeginTime", "it may start later; being queued again takes about two minutes"),
        ("Priority", "others are first"),
        ("Resources", "nodes are busy"),
        ("QOS", LIMIT),
        ("Assoc", LIMIT),
    ];
    if reason.is_empty() {
        return "no reason given".to_owned();
    }
    match MEANINGS.iter().find(|(word, _)| reason.trim_start_matches('(').starts_with(word)) {
        Some((_, meaning)) => format!("{reason}: {meaning}"),
        None => reason.to_owned(),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As Slurm 22.05 printed it.
    const QUEUE: &str = "\
1|COMPLETED|n[1-2]|(null)|None
2|RUNNING|n1|lorasweep:x@1:w1|None
3|PENDING||lorasweep:x@1:w2|Resources
4|PENDING||(null)|(ReqNodeNotAvail, UnavailableNodes:n[1-2])
5|COMPLETING|n2|lorasweep:x@1:w3|NodeDown
";
    const DETAILS: &str = "\
JobId=2 JobName=lorasweep-x-w1 UserId=root(0) GroupId=root(0) MCS_label=N/A JobState=CANCELLED \
Reason=None Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:9 \
RunTime=00:00:03 TimeLimit=00:05:00 ReqNodeList=(null) ExcNodeList=(null) NodeList=n1 BatchHost=n1 \
Command=/a b/j.sh WorkDir=/a b Comment=lorasweep:x@1:w1  StdOut=/a b/out.2.log Power=
JobId=7 JobName=JobState=RUNNING JobState=FAILED Reason=NonZeroExitCode ExitCode=7:0 NodeList=n2
";

    fn hints(jobs: &[Job]) -> Vec<Hint> {
        jobs.iter().map(Job::hint).collect()
    }

    fn queued(reason: &str) -> Hint {
        Hint::Queued { reason: reason.to_owned() }
    }

    fn running(place: &str) -> Hint {
        Hint::Running { place: place.to_owned() }
    }

    fn gone(how: &str) -> Hint {
        Hint::Gone { how: how.to_owned() }
    }

    #[test]
    fn a_queue_is_read_as_it_is_listed() {
        let jobs = parse_queue(QUEUE);
        assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!((jobs[0].comment.as_str(), jobs[1].comment.as_str()), ("", "lorasweep:x@1:w1"));
        assert_eq!(
            hints(&jobs),
            [
                gone("COMPLETED on n[1-2]"),
                running("n1"),
                queued("Resources: nodes are busy"),
                queued("(ReqNodeNotAvail, UnavailableNodes:n[1-2])"),
                running("n2"),
            ]
        );
    }

    #[test]
    fn an_end_is_told_with_its_status_or_signal() {
        let jobs = parse_details(DETAILS);
        assert_eq!(
            hints(&jobs),
            [gone("CANCELLED, signal 9 on n1"), gone("FAILED, exit status 7 on n2")]
        );
        let accounts = parse_accounts(
            "12|OUT_OF_MEMORY|n1|c|0:125\n12.batch|OUT_OF_MEMORY|n1||0:125\n\
             13|CANCELLED by 1000|n2||0:15\n14|TIMEOUT|n3||0:0\n",
        );
        assert_eq!(
            hints(&accounts),
            [
                gone("OUT_OF_MEMORY, signal 125 on n1"),
                gone("CANCELLED, signal 15 on n2"),
                gone("TIMEOUT on n3")
            ]
        );
    }

    #[test]
    fn lines_of_other_things_are_left_out() {
        assert_eq!(parse_queue("CLUSTER: alps\n\nslurm_load_jobs error: x|y\n"), []);
        assert_eq!(parse_details("No jobs in the system\n"), []);
        assert_eq!(parse_submitted("sbatch: hello\n"), None);
        assert_eq!(parse_submitted("0\n"), None);
    }

    #[test]
    fn the_accounting_is_believed_only_about_ends() {
        let job = |state: &str| Job { id: 3, state: state.to_owned(), ..Job::default() };
        let (runs, failed) = (job("RUNNING"), job("FAILED"));
        assert_eq!(believe(3, Some(&runs), Some(&failed)), running(""));
        assert_eq!(believe(3, Some(&failed), Some(&runs)), gone("FAILED"));
        assert!(matches!(believe(3, None, Some(&runs)), Hint::Unknown { .. }));
        assert_eq!(believe(3, None, Some(&failed)), gone("FAILED"));
        assert_eq!(believe(3, None, None), gone("Slurm no longer knows job 3"));
    }

    /// Text that looks like Slurm's.
    fn listing() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            any::<String>(),
            "[0-9]{1,25}",
            "(RUNNING|PENDING|CANCELLED by 0|FAILED\\+|[A-Z_ ]{0,9})",
            "(JobId|JobState|ExitCode|NodeList)=[^ ]{0,9}",
        ];
        let words = prop::collection::vec(word, 0..9);
        let line = (words, prop_oneof![Just("|"), Just(" ")]).prop_map(|(w, by)| w.join(by));
        prop::collection::vec(line, 0..6).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in listing()) {
            let _ = parse_submitted(&text);
            for jobs in [parse_queue(&text), parse_accounts(&text), parse_details(&text)] {
                prop_assert!(jobs.len() <= text.lines().count());
                for job in &jobs {
                    prop_assert_eq!(job.has_ended(), matches!(job.hint(), Hint::Gone { .. }));
                }
            }
        }

        #[test]
        fn a_job_is_read_from_a_listing_whatever_its_reason(reason in "[^\n\r|]{0,40}", id in 1..u64::MAX) {
            let jobs = parse_queue(&format!("{id}|PENDING||c|{reason}\n"));
            prop_assert_eq!(jobs.len(), 1);
            prop_assert_eq!(jobs[0].id, id);
        }
    }
}
