//! What went wrong outside the runs' own numbers: failed trials and lost workers, each with its
//! cause and the end of the log.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Serialize;
use spec::{LostWorker, Outcome, SweepState, TrialId};

/// Trials that failed of one cause, or a worker process that died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The worker process, when one died.
    pub worker: Option<String>,
    /// The trials that failed, or those that the worker was training.
    pub trials: Vec<TrialId>,
    /// What happened.
    pub cause: String,
    /// The end of the log (of several trials, the first one's); empty when there was none.
    pub log: String,
}

/// The failed trials, those of one cause together, then the lost workers.
pub fn failures(state: &SweepState) -> Vec<Failure> {
    let mut found: Vec<Failure> = Vec::new();
    let mut of_cause: HashMap<&str, usize> = HashMap::new();
    for trial in state.trials.values() {
        let Some(Outcome::Failed { error }) = trial.outcome() else { continue };
        let at = *of_cause.entry(error).or_insert(found.len());
        if at == found.len() {
            let (cause, log) = (error.clone(), trial.failure_log.clone().unwrap_or_default());
            found.push(Failure { worker: None, trials: Vec::new(), cause, log });
        }
        found[at].trials.push(trial.trial.id);
    }
    let of_worker = |lost: &LostWorker| Failure {
        worker: Some(lost.worker.clone()),
        trials: lost.trials.clone(),
        cause: lost.cause.clone(),
        log: lost.log.clone(),
    };
    found.extend(state.lost_workers.iter().map(of_worker));
    found
}

impl Failure {
    /// `003`, `003, 004, … (35)` or `worker-002 (003, 004)`.
    pub fn whose(&self) -> String {
        /// More trials than these are counted.
        const NAMED: usize = 8;
        let named = self.trials.iter().take(NAMED).map(ToString::to_string);
        let mut trials = named.collect::<Vec<_>>().join(", ");
        if self.trials.len() > NAMED {
            let _ = write!(trials, ", … ({})", self.trials.len());
        }
        match &self.worker {
            Some(worker) if trials.is_empty() => worker.clone(),
            Some(worker) => format!("{worker} ({trials})"),
            None => trials,
        }
    }
}
