//! Slurm's commands, each asked for one thing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::super::LaunchError;
use super::super::command::{Answer, NoAnswer, ask};
use super::jobs::{self, Job};
use super::refusals;

/// Why a command did not do its work.
#[derive(Debug)]
pub(super) struct Trouble {
    pub kind: Kind,
    pub error: LaunchError,
}

/// What is certain after a command that did not do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is no such command here.
    NotInstalled,
    /// It said no.
    Refused,
    /// Nothing: its answer was lost.
    Lost,
}

/// Asks Slurm by its commands.
#[derive(Debug)]
pub(super) struct Client {
    /// How long a command may take.
    pub limit: Duration,
    /// Where its commands are; `None`: where the environment says.
    pub path: Option<OsString>,
    /// Until `sacct` says otherwise, there is an accounting.
    accounting: bool,
}

impl Client {
    pub fn new(limit: Duration) -> Self {
        Self { limit, path: None, accounting: true }
    }

    /// Submits a script and gives the job's number. `options` are those that the script has: the
    /// environment would go before them.
    pub fn submit(&self, script: &Path, options: &[String]) -> Result<u64, Trouble> {
        let mut sbatch = self.slurm("sbatch");
        for option in options {
            sbatch.env_remove(format!("SBATCH_{}", option.to_uppercase().replace('-', "_")));
        }
        let answer = self.run(sbatch.arg("--parsable").arg(script)).map_err(|mut trouble| {
            let said = &trouble.error.said;
            if trouble.kind == Kind::Refused && refusals::may_have_submitted(said) {
                trouble.kind = Kind::Lost;
            }
            trouble.error.help = trouble.error.help.or_else(|| refusals::help(said));
            trouble
        })?;
        jobs::parse_submitted(&answer.stdout).ok_or_else(|| Trouble {
            kind: Kind::Lost,
            error: error(&sbatch, format!("it answered {:?}, not a job's number", answer.stdout)),
        })
    }

    /// All jobs of this user that the controller still knows, in one call. Asking for single ones
    /// is an error as soon as one of them is forgotten.
    pub fn list(&self) -> Result<Vec<Job>, Trouble> {
        let mut squeue = self.slurm("squeue");
        squeue.args(["--noheader", "--me", "--states=all"]);
        squeue.args(["--format", jobs::SQUEUE_FORMAT]);
        self.run(&mut squeue).map(|answer| jobs::parse_queue(&answer.stdout))
    }

    /// How jobs ended, as far as that is told: by the accounting where there is one, else by the
    /// controller's memory.
    pub fn ends(&mut self, ids: &[u64]) -> BTreeMap<u64, Job> {
        if self.accounting {
            let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
            let mut sacct = self.slurm("sacct");
            sacct.args(["--noheader", "--allocations", "--parsable2"]);
            sacct.args(["--format", jobs::SACCT_FORMAT, "--jobs", &ids.join(",")]);
            match self.run(&mut sacct) {
                Ok(answer) => return by_id(jobs::parse_accounts(&answer.stdout)),
                Err(trouble) => {
                    let none = trouble.kind == Kind::NotInstalled
                        || trouble.error.said.contains("accounting storage is disabled");
                    self.accounting = !none;
                }
            }
        }
        let mut scontrol = self.slurm("scontrol");
        scontrol.args(["--oneliner", "show", "job"]);
        match self.run(&mut scontrol) {
            Ok(answer) => by_id(jobs::parse_details(&answer.stdout)),
            // An exit code is good to have; without it a job's end is still an end.
            Err(_) => BTreeMap::new(),
        }
    }

    /// Runs `scancel` on a job; one that has ended meanwhile has nothing left to cancel.
    pub fn cancel(&self, id: u64) -> Result<(), Trouble> {
        let mut scancel = self.slurm("scancel");
        match self.run(scancel.arg(id.to_string())) {
            Err(Trouble { kind: Kind::Refused, error })
                if ["Invalid job id", "already completing", "not running", "pending"]
                    .iter()
                    .any(|words| error.said.contains(words)) =>
            {
                Ok(())
            }
            other => other.map(|_| ()),
        }
    }

    /// A command of Slurm that the environment does not change: the driver may itself run in a job,
    /// and people keep their favourite formats and filters in variables.
    fn slurm(&self, program: &str) -> Command {
        const PREFIXES: [&str; 5] = ["SLURM_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_"];
        const KEPT: [&str; 2] = ["SLURM_CONF", "SLURM_CLUSTERS"];
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let Some(name) = name.to_str() else { continue };
            if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !KEPT.contains(&name) {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C");
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command
    }

    fn run(&self, command: &mut Command) -> Result<Answer, Trouble> {
        let (kind, said) = match ask(command, self.limit) {
            Ok(answer) if answer.status.success() => return Ok(answer),
            // Killed: what it had done by then is not known.
            Ok(answer) if answer.status.code().is_none() => (Kind::Lost, answer.complaint()),
            Ok(answer) => (Kind::Refused, answer.complaint()),
            Err(NoAnswer::NotInstalled) => {
                (Kind::NotInstalled, "there is no such command on this machine".to_owned())
            }
            Err(NoAnswer::Io(error)) => (Kind::Lost, error.to_string()),
            Err(NoAnswer::TimedOut(limit)) => {
                (Kind::Lost, format!("it gave no answer in {} s", limit.as_secs_f64()))
            }
        };
        let mut error = error(command, said);
        if kind == Kind::NotInstalled {
            let help = "start lorasweep where jobs are submitted from, on a login node";
            error.help = Some(help.to_owned());
        }
        Err(Trouble { kind, error })
    }
}

/// The newest word on each job.
pub(super) fn by_id(jobs: Vec<Job>) -> BTreeMap<u64, Job> {
    jobs.into_iter().map(|job| (job.id, job)).collect()
}

fn error(command: &Command, said: String) -> LaunchError {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    LaunchError { what: format!("`{}` failed", words.join(" ")), said, help: None }
}
