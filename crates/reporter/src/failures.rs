//! What went wrong outside the runs' own numbers: failed trials and lost workers, each with its
//! cause and the end of the log.

use serde::Serialize;
use spec::{LostWorker, Outcome, SweepState, TrialId, TrialState};

/// A trial that failed, or a worker process that died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The worker process, when one died.
    pub worker: Option<String>,
    /// The trial that failed, or those that the worker was training.
    pub trials: Vec<TrialId>,
    /// What happened.
    pub cause: String,
    /// The end of the log; empty when there was none.
    pub log: String,
}

/// The failed trials, then the lost workers.
pub fn failures(state: &SweepState) -> Vec<Failure> {
    let of_trial = |trial: &TrialState| match trial.outcome() {
        Some(Outcome::Failed { error }) => Some(Failure {
            worker: None,
            trials: vec![trial.trial.id],
            cause: error.clone(),
            log: trial.failure_log.clone().unwrap_or_default(),
        }),
        _ => None,
    };
    let of_worker = |lost: &LostWorker| Failure {
        worker: Some(lost.worker.clone()),
        trials: lost.trials.clone(),
        cause: lost.cause.clone(),
        log: lost.log.clone(),
    };
    let trials = state.trials.values().filter_map(of_trial);
    trials.chain(state.lost_workers.iter().map(of_worker)).collect()
}

impl Failure {
    /// `trial 003` or `worker-002 (trials 003, 004)`.
    pub fn whose(&self) -> String {
        let trials: Vec<String> = self.trials.iter().map(ToString::to_string).collect();
        match (&self.worker, &trials[..]) {
            (Some(worker), []) => worker.clone(),
            (Some(worker), trials) => format!("{worker} ({})", trials.join(", ")),
            (None, trials) => trials.join(", "),
        }
    }
}
