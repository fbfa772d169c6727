//! `lorasweep status`: how far sweeps are, also while another process runs them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use spec::{Event, Outcome, StopReason, SweepState, TrialState, TrialStatus, printable_line};
use store::SweepFolder;
use worker::launch::{Handle, Hint};

use crate::args::StatusArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::export;
use crate::jobs;
use crate::output;
use crate::sweep_file;

/// One sweep at a glance.
#[derive(Serialize)]
struct Status {
    name: String,
    dir: PathBuf,
    /// `running`, `interrupted` or `finished`.
    state: &'static str,
    /// Who runs it.
    holder: Option<String>,
    planned_trials: Option<usize>,
    finished_trials: usize,
    best_trial: Option<u32>,
    best_eval_loss: Option<f64>,
    base_eval_loss: Option<f64>,
    /// Tokens trained, each once however many trials share its step.
    trained_tokens: u64,
    /// Worker processes that have not ended.
    workers: Vec<WorkerLine>,
    /// Jobs on a cluster that have not ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<JobLine>,
    /// Why the jobs are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs_unknown: Option<String>,
    trials: Vec<TrialLine>,
}

#[derive(Serialize)]
struct WorkerLine {
    worker: String,
    place: String,
    device: String,
    /// Process id there.
    pid: u32,
    /// Seconds since its last sign of life, by the clocks of its machine and of this one.
    heartbeat_age: u64,
    trials: Vec<u32>,
}

#[derive(Serialize)]
struct JobLine {
    job: String,
    worker: String,
    state: String,
}

#[derive(Serialize)]
struct TrialLine {
    trial: u32,
    status: String,
    step: u32,
    total_steps: Option<u32>,
    train_loss: Option<f64>,
    last_eval_loss: Option<f64>,
    best_eval_loss: Option<f64>,
}

pub fn run(args: &StatusArgs) -> Result<Exit, CliError> {
    let folders = find(&args.path, &args.results)?;
    let one = folders.len() == 1;
    let sweeps = folders.iter().map(look).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        output::json("the status", &sweeps)?;
        return Ok(Exit::Done);
    }
    for sweep in &sweeps {
        output::result(&headline(sweep));
        if one {
            if !sweep.workers.is_empty() {
                output::result(&workers_table(&sweep.workers));
            }
            output::result(&jobs_table(sweep));
            output::result(&table(&sweep.trials));
        }
    }
    Ok(Exit::Done)
}

/// The sweeps that `path` means.
pub fn find(path: &Path, results: &Path) -> Result<Vec<SweepFolder>, CliError> {
    if path.is_file() {
        let name = sweep_file::load(path)?.sweep.name;
        return Ok(vec![SweepFolder::open(results.join(name))?]);
    }
    if let Ok(folder) = SweepFolder::open(path) {
        return Ok(vec![folder]);
    }
    let folders = SweepFolder::all_in(path)?;
    if folders.is_empty() {
        return Err(CliError::NoSweepAt { path: path.to_path_buf() });
    }
    Ok(folders)
}

fn look(folder: &SweepFolder) -> Result<Status, CliError> {
    let identity = folder.identity()?;
    let holder = folder.holder()?;
    let events = folder.events()?;
    let state = SweepState::from_events(&events);
    let workers = workers(folder, &events)?;
    let best = export::best_so_far(&state);
    // A finished sweep has none, and asking takes time.
    let is_over = state.finished && holder.is_none();
    let (jobs, jobs_unknown) =
        if is_over { (Vec::new(), None) } else { jobs(folder, &identity.name)? };
    Ok(Status {
        name: identity.name,
        dir: folder.path().to_path_buf(),
        state: match (&holder, state.finished) {
            (Some(_), _) => "running",
            (None, true) => "finished",
            (None, false) => "interrupted",
        },
        holder: holder.map(|holder| holder.to_string()),
        planned_trials: identity.planned_trials,
        finished_trials: state.trials.values().filter(|t| t.outcome().is_some()).count(),
        best_trial: best.map(|(trial, _)| trial.0),
        best_eval_loss: best.map(|(_, loss)| loss),
        base_eval_loss: state.base.as_ref().map(|base| base.eval_loss),
        trained_tokens: state.trained_tokens(),
        workers,
        jobs,
        jobs_unknown,
        trials: lines(&state),
    })
}

/// The workers that have started, have not ended and are not known to be dead.
fn workers(folder: &SweepFolder, events: &[Event]) -> Result<Vec<WorkerLine>, CliError> {
    let mut living: BTreeMap<&str, &str> = BTreeMap::new();
    for event in events {
        match event {
            Event::WorkerStarted { worker, device, .. } => {
                living.insert(worker, device);
            }
            Event::WorkerEnded { worker, .. } | Event::WorkerLost { worker, .. } => {
                living.remove(worker.as_str());
            }
            _ => {}
        }
    }
    let mut lines = Vec::new();
    for (name, device) in living {
        let files = folder.worker(name);
        let Some(beat) = files.beat() else { continue };
        // On this machine its lock tells; elsewhere the age of its last sign of life.
        if beat.place == store::this_host() && files.holder()?.is_none() {
            continue;
        }
        lines.push(WorkerLine {
            worker: name.to_owned(),
            device: device.to_owned(),
            pid: beat.pid,
            heartbeat_age: beat.age_seconds(),
            trials: beat.trials.iter().map(|trial| trial.0).collect(),
            place: beat.place,
        });
    }
    Ok(lines)
}

/// The sweep's jobs, or why they are not known.
fn jobs(folder: &SweepFolder, sweep: &str) -> Result<(Vec<JobLine>, Option<String>), CliError> {
    let Some(cluster) = jobs::cluster(folder, sweep)? else { return Ok((Vec::new(), None)) };
    let line = |(worker, (job, hint)): (String, (Handle, Hint))| JobLine {
        job: job.0,
        worker,
        state: jobs::in_words(&hint),
    };
    Ok(match cluster.jobs() {
        Ok(jobs) => (jobs.into_iter().map(line).collect(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    })
}

fn jobs_table(sweep: &Status) -> String {
    let line = |job: &JobLine| format!("job {} ({}): {}\n", job.job, job.worker, job.state);
    let lines: String = sweep.jobs.iter().map(line).collect();
    let unknown = sweep.jobs_unknown.iter().map(|why| format!("jobs are not known: {why}\n"));
    lines + &unknown.collect::<String>()
}

fn workers_table(workers: &[WorkerLine]) -> String {
    let mut out = String::new();
    for worker in workers {
        let trials: Vec<String> = worker.trials.iter().map(|trial| format!("{trial:03}")).collect();
        let trials = if trials.is_empty() { "no trial".to_owned() } else { trials.join(" ") };
        let _ = writeln!(
            out,
            "{} on {} ({}, process {}), last heard of {} s ago: {trials}",
            worker.worker, worker.place, worker.device, worker.pid, worker.heartbeat_age
        );
    }
    out
}

fn lines(state: &SweepState) -> Vec<TrialLine> {
    let line = |trial: &TrialState| TrialLine {
        trial: trial.trial.id.0,
        status: status(trial),
        step: trial.train_points.last().map_or(0, |point| point.step),
        total_steps: trial.total_steps,
        train_loss: trial.train_points.last().map(|point| point.loss),
        last_eval_loss: trial.last().map(|evaluation| evaluation.eval_loss),
        best_eval_loss: trial.best().map(|evaluation| evaluation.eval_loss),
    };
    state.trials.values().map(line).collect()
}

fn status(trial: &TrialState) -> String {
    match &trial.status {
        TrialStatus::Finished { outcome } if trial.paused().is_some() => {
            format!("{} (may go on)", outcome_name(outcome))
        }
        TrialStatus::Pending => match trial.promotions.last() {
            Some(promoted) => format!("pending, goes on: {}", promoted.reason),
            None => "pending".to_owned(),
        },
        TrialStatus::Running => "running".to_owned(),
        TrialStatus::Finished { outcome } => outcome_name(outcome),
    }
}

/// An outcome in a few words.
pub fn outcome_name(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed => "completed".to_owned(),
        Outcome::Stopped { reason: StopReason::TargetReached { target } } => {
            format!("stopped: the target {target} was reached")
        }
        Outcome::Stopped { reason: StopReason::EarlyTerminate { reason } } => {
            format!("stopped: {reason}")
        }
        Outcome::Diverged { step, reason } => format!("diverged at step {step}: {reason}"),
        Outcome::Failed { error } => format!("failed: {error}"),
    }
}

fn headline(sweep: &Status) -> String {
    // The name is that in the folder, which somebody else may have given away.
    let name = printable_line(&sweep.name);
    let planned = sweep.planned_trials.map_or_else(String::new, |n| format!(" of {n}"));
    let mut line =
        format!("{name}: {}, {}{planned} trials ended", sweep.state, sweep.finished_trials);
    if let (Some(trial), Some(loss)) = (sweep.best_trial, sweep.best_eval_loss) {
        let _ = write!(line, ", best {trial:03} with eval_loss {loss:.4}");
    }
    if let Some(holder) = &sweep.holder {
        let _ = write!(line, " (by {holder})");
    }
    line
}

fn table(trials: &[TrialLine]) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
    let mut out = format!(
        "{:>5} {:>13} {:>10} {:>10} {:>10}  {}\n",
        "trial", "step", "train_loss", "eval_loss", "best", "status"
    );
    for trial in trials {
        let total = trial.total_steps.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let _ = writeln!(
            out,
            "{:>5} {:>13} {:>10} {:>10} {:>10}  {}",
            format!("{:03}", trial.trial),
            format!("{}/{total}", trial.step),
            number(trial.train_loss),
            number(trial.last_eval_loss),
            number(trial.best_eval_loss),
            trial.status
        );
    }
    out
}
