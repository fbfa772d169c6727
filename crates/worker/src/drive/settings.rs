//! What a driver is told of its sweep.

use std::time::Duration;

use spec::{BaseForm, ExecutorKind, Objective, Sweep, TrainSettings};

/// What the driver needs to know of the sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Name of the sweep.
    pub name: String,
    /// Hash of the resolved sweep.
    pub fingerprint: String,
    /// The forms in which the base model is evaluated, the reference first; none where a command has
    /// nothing that does.
    pub bases: Vec<Option<BaseForm>>,
    /// What trials are compared by.
    pub objective: Objective,
    /// A value of the metric that ends the sweep when a trial reaches it.
    pub target: Option<f64>,
    /// What tells which trials share their steps.
    pub train: TrainSettings,
    /// The largest number of epochs of a trial, if there is one: longer ones need no fork.
    pub most_epochs: Option<u32>,
    /// How often a trial is tried again after its worker was lost, as long as it gets no further.
    pub max_retries: u32,
    /// So many failures in a row end the sweep: their cause is likely not the trials'.
    pub max_consecutive_failures: u32,
    /// A worker that gives no sign of life for so long is ended.
    pub silence: Duration,
    /// Time between two questions about what became of the workers.
    pub poll_every: Duration,
    /// Workers' journals are read at least so often.
    pub read_every: Duration,
    /// Decisions that depend on other trials are made in logical order (`spec::LogicalStart`), so that
    /// nothing that dies changes them. Not where workers come and go as a cluster likes, or where
    /// nobody knows how long a command takes.
    pub is_ordered: bool,
}

impl From<&Sweep> for Settings {
    fn from(sweep: &Sweep) -> Self {
        Self {
            name: sweep.name.clone(),
            fingerprint: sweep.fingerprint(),
            bases: match &sweep.executor.kind {
                ExecutorKind::Command(command) if command.base_command.is_none() => Vec::new(),
                _ => sweep.space.base_forms(),
            },
            objective: sweep.metric.objective(),
            target: sweep.metric.target,
            train: sweep.train.clone(),
            most_epochs: sweep.space.most_epochs(),
            max_retries: sweep.executor.max_retries,
            max_consecutive_failures: sweep.executor.max_consecutive_failures,
            silence: Duration::from_secs(sweep.executor.heartbeat_seconds.into()),
            poll_every: Duration::from_millis(100),
            read_every: Duration::from_millis(100),
            is_ordered: matches!(sweep.executor.kind, ExecutorKind::Local),
        }
    }
}
