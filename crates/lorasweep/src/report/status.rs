//! How far a sweep is, also while another process runs it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use spec::{Event, Outcome, StopReason, SweepState, TrialState, TrialStatus};
use store::SweepFolder;
use worker::launch::{Handle, Hint};

use crate::error::Error;
use crate::export;
use crate::workers::cluster;

/// One sweep at a glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The sweep's name.
    pub name: String,
    /// Its results folder.
    pub dir: PathBuf,
    /// `running`, `interrupted` or `finished`.
    pub state: &'static str,
    /// Who runs it.
    pub holder: Option<String>,
    /// Trials in all, where that is known.
    pub planned_trials: Option<usize>,
    /// Trials that have ended.
    pub finished_trials: usize,
    /// What trials are compared by.
    pub metric: String,
    /// The best trial so far.
    pub best_trial: Option<u32>,
    /// Its validation loss.
    pub best_eval_loss: Option<f64>,
    /// Its value of the metric.
    pub best_value: Option<f64>,
    /// The base model's validation loss.
    pub base_eval_loss: Option<f64>,
    /// Tokens trained, each once however many trials share its step.
    pub trained_tokens: u64,
    /// Worker processes that have not ended.
    pub workers: Vec<WorkerStatus>,
    /// Jobs on a cluster that have not ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobStatus>,
    /// Why the jobs are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs_unknown: Option<String>,
    /// Every trial.
    pub trials: Vec<TrialProgress>,
}

/// A worker process at a glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerStatus {
    /// Its name.
    pub worker: String,
    /// The machine.
    pub place: String,
    /// Its device.
    pub device: String,
    /// Process id there.
    pub pid: u32,
    /// Seconds since its last sign of life, by the clocks of its machine and of this one.
    pub heartbeat_age: u64,
    /// What it trains.
    pub trials: Vec<u32>,
}

/// A job at a glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobStatus {
    /// The job's number.
    pub job: String,
    /// The worker that it is.
    pub worker: String,
    /// Its state in a few words.
    pub state: String,
}

/// A trial at a glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrialProgress {
    /// Its number.
    pub trial: u32,
    /// Its status in words.
    pub status: String,
    /// Optimizer steps taken.
    pub step: u32,
    /// Optimizer steps planned, once known.
    pub total_steps: Option<u32>,
    /// Train loss of the last step.
    pub train_loss: Option<f64>,
    /// Validation loss of the last evaluation.
    pub last_eval_loss: Option<f64>,
    /// Validation loss at the best evaluation.
    pub best_eval_loss: Option<f64>,
    /// The metric there.
    pub best_value: Option<f64>,
}

/// Looks at the sweep in `folder`.
pub fn look(folder: &SweepFolder) -> Result<Status, Error> {
    let identity = folder.identity()?;
    let holder = folder.holder()?;
    let events = folder.events()?;
    let state = SweepState::from_events(&events);
    let workers = workers(folder, &events)?;
    let best = export::best_so_far(&state);
    let (finished_trials, planned_trials) = state.progress(identity.planned_trials);
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
        planned_trials,
        finished_trials,
        metric: state.objective.metric.clone(),
        best_trial: best.map(|(trial, _)| trial.0),
        best_eval_loss: best.map(|(_, evaluation)| evaluation.eval_loss),
        best_value: best.and_then(|(_, evaluation)| state.objective.value(evaluation)),
        base_eval_loss: state.base.as_ref().map(|base| base.eval_loss),
        trained_tokens: state.trained_tokens(),
        workers,
        jobs,
        jobs_unknown,
        trials: lines(&state),
    })
}

/// The workers that have started, have not ended and are not known to be dead.
fn workers(folder: &SweepFolder, events: &[Event]) -> Result<Vec<WorkerStatus>, Error> {
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
        // On this machine its lock shows it; elsewhere the age of its last sign of life.
        if beat.place == store::this_host() && files.holder()?.is_none() {
            continue;
        }
        lines.push(WorkerStatus {
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
fn jobs(folder: &SweepFolder, sweep: &str) -> Result<(Vec<JobStatus>, Option<String>), Error> {
    let Some(cluster) = cluster::cluster(folder, sweep)? else { return Ok((Vec::new(), None)) };
    let line = |(worker, (job, hint)): (String, (Handle, Hint))| JobStatus {
        job: job.0,
        worker,
        state: cluster::in_words(&hint),
    };
    Ok(match cluster.jobs() {
        Ok(jobs) => (jobs.into_iter().map(line).collect(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    })
}

fn lines(state: &SweepState) -> Vec<TrialProgress> {
    let line = |trial: &TrialState| TrialProgress {
        trial: trial.trial.id.0,
        status: if trial.is_outside {
            format!("{}, outside the search space", status(trial))
        } else {
            status(trial)
        },
        step: trial.train_points.last().map_or(0, |point| point.step),
        total_steps: trial.total_steps,
        train_loss: trial.train_points.last().map(|point| point.loss),
        last_eval_loss: trial.last().map(|evaluation| evaluation.eval_loss),
        best_eval_loss: trial.best().map(|evaluation| evaluation.eval_loss),
        best_value: trial.best().and_then(|evaluation| trial.objective.value(evaluation)),
    };
    state.trials.values().map(line).collect()
}

fn status(trial: &TrialState) -> String {
    match &trial.status {
        TrialStatus::Finished { outcome } if trial.paused().is_some() => {
            format!("{} (may continue)", outcome_name(outcome))
        }
        TrialStatus::Pending => match trial.promotions.last() {
            Some(promoted) => format!("pending, continues: {}", promoted.reason),
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
        Outcome::Stopped { reason: StopReason::Person } => "stopped by hand".to_owned(),
        Outcome::Stopped { reason: StopReason::OutsideSpace } => {
            "stopped: it is outside the search space".to_owned()
        }
        Outcome::Diverged { step, reason } => format!("diverged at step {step}: {reason}"),
        Outcome::Failed { error } => format!("failed: {error}"),
    }
}
