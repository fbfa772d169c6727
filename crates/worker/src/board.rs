//! A sweep whose trials are trained by whoever asks for them: `lorasweep ask` and `tell`.
//!
//! Both hold the sweep for a moment only. Everything that was answered is journalled before, so that
//! a caller that dies loses nothing but its own trial, which can be asked for again.

use std::path::Path;

use planner::{Decision, Planner, Pruner};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::{
    Evaluation, Event, Outcome, StopReason, Trial, TrialConfig, TrialId, TrialState, TrialStatus,
};
use store::{Opened, Request, StoreError};

use crate::drive::WriteTables;
use crate::error::WorkerError;
use crate::metrics::{AdapterError, Curve, Line, Loss, check_adapter, copy_adapter, object};

/// What `ask` answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Asked {
    /// Train this.
    Trial {
        /// Its number.
        trial: u32,
        /// Its parameters.
        params: TrialConfig,
    },
    /// There is nothing to train until one of the trials has ended.
    Wait {
        /// Trials that were given out and have not ended.
        unfinished: Vec<u32>,
    },
    /// The sweep is over.
    Finished {
        /// Why.
        reason: String,
    },
}

/// What `tell` answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The trial; 0 is the base model.
    pub trial: u32,
    /// What its trainer is to do.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Whether this was new; what was told before changes nothing.
    pub recorded: bool,
}

/// What the trainer of a trial is to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Verdict {
    /// Go on.
    Continue,
    /// End the trial: it counts as ended.
    Stop {
        /// Why.
        reason: String,
    },
    /// The trial has ended by itself.
    Ended,
}

/// Why a line of `tell` was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    /// It is not a JSON object.
    #[error("this is not a JSON object: {line}")]
    NotAnObject {
        /// The line.
        line: String,
    },
    /// It does not say which trial.
    #[error("`trial` must be the number of a trial that `ask` gave: {line}")]
    NoTrial {
        /// The line.
        line: String,
    },
    /// Nobody asked for that trial.
    #[error("there is no trial {trial}; `ask` has given {given}")]
    UnknownTrial {
        /// What was told of.
        trial: TrialId,
        /// How many there are, in words.
        given: String,
    },
    /// A value that cannot be used.
    #[error("{why}: {line}")]
    Unusable {
        /// What is wrong.
        why: String,
        /// The line.
        line: String,
    },
    /// An adapter that is no adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The sweep cannot be written.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

impl From<StoreError> for TellError {
    fn from(error: StoreError) -> Self {
        Self::Worker(error.into())
    }
}

/// How a trial ended, as its trainer puts it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum End {
    Completed,
    Failed,
    Diverged,
}

/// What a line of `tell` has beside the metrics.
#[derive(Deserialize)]
struct Telling {
    outcome: Option<End>,
    error: Option<String>,
}

/// The trainer of a trial that was given out.
const DEVICE: &str = "external";

/// A sweep held for a moment.
pub struct Board<'a> {
    /// The folder and the history.
    pub sweep: &'a mut Opened,
    /// Proposes trials.
    pub planner: &'a dyn Planner,
    /// Judges running trials, if the sweep has a rule.
    pub pruner: Option<&'a dyn Pruner>,
    /// Writes the points of an ended trial as text.
    pub tables: &'a WriteTables,
}

impl Board<'_> {
    /// Gives out up to `count` new trials; a single other answer when there are none.
    pub fn ask(&mut self, count: usize) -> Result<Vec<Asked>, WorkerError> {
        self.heed_requests()?;
        // Those that a person added or wants again come first.
        let pending = self.sweep.state.trials.values();
        let pending = pending.filter(|trial| trial.status == TrialStatus::Pending);
        let mut trials: Vec<Trial> = pending.map(|trial| trial.trial.clone()).take(count).collect();
        let mut events = Vec::new();
        for trial in self.planner.suggest(&self.sweep.state, count - trials.len()) {
            if self.sweep.state.trials.contains_key(&trial.id) {
                return Err(WorkerError::DuplicateProposal { trial: trial.id });
            }
            events.push(Event::proposed(trial.clone()));
            trials.push(trial);
        }
        for trial in &trials {
            events.push(Event::TrialStarted {
                trial: trial.id,
                device: DEVICE.to_owned(),
                from_step: 0,
                total_steps: 0,
                continues: None,
            });
        }
        self.record(&events)?;
        if !trials.is_empty() {
            return Ok(trials.iter().map(given).collect());
        }
        let unfinished: Vec<u32> = self.unfinished().map(|trial| trial.id.0).collect();
        if !unfinished.is_empty() {
            return Ok(vec![Asked::Wait { unfinished }]);
        }
        self.finish()?;
        let count = self.sweep.state.trials.len();
        let reason = self
            .planner
            .conclusion(&self.sweep.state)
            .unwrap_or_else(|| format!("all {count} trials have ended"));
        Ok(vec![Asked::Finished { reason }])
    }

    /// Every trial has ended and there is none to come.
    fn is_over(&self) -> bool {
        self.unfinished().next().is_none() && self.planner.suggest(&self.sweep.state, 1).is_empty()
    }

    fn finish(&mut self) -> Result<(), WorkerError> {
        if self.sweep.state.finished { Ok(()) } else { self.record(&[Event::SweepFinished]) }
    }

    /// Carries out what people ask of the sweep.
    fn heed_requests(&mut self) -> Result<(), WorkerError> {
        for requested in self.sweep.dir.folder().requests()? {
            match &requested.request {
                Request::Add { config } => self.add(config)?,
                Request::Stop { trial } => self.stop(*trial, StopReason::Person)?,
                Request::Retry { trial } => {
                    let known = self.sweep.state.trials.get(trial);
                    if known.is_some_and(|known| known.outcome().is_some()) {
                        self.record(&[Event::TrialRetried { trial: *trial }])?;
                    }
                }
            }
            self.sweep.dir.done(&requested)?;
        }
        let is_left = |trial: &&TrialState| trial.is_outside && trial.outcome().is_none();
        let left: Vec<TrialId> =
            self.sweep.state.trials.values().filter(is_left).map(|t| t.trial.id).collect();
        left.into_iter().try_for_each(|id| self.stop(id, StopReason::OutsideSpace))
    }

    fn add(&mut self, config: &TrialConfig) -> Result<(), WorkerError> {
        let trials = &self.sweep.state.trials;
        if trials.values().any(|known| known.trial.config.key() == config.key()) {
            return Ok(());
        }
        let last = trials.keys().next_back().map_or(0, |id| id.0);
        let trial = Trial { id: TrialId(last + 1), config: config.clone() };
        self.record(&[Event::TrialProposed { trial, start: None, is_added: true }])
    }

    fn stop(&mut self, id: TrialId, reason: StopReason) -> Result<(), WorkerError> {
        let known = self.sweep.state.trials.get(&id);
        if known.is_some_and(|known| known.outcome().is_none()) {
            self.end(id, Outcome::Stopped { reason })?;
        }
        Ok(())
    }

    /// The trials that were given out and have not ended: for a caller that lost its own.
    pub fn unfinished_trials(&self) -> Vec<Asked> {
        self.unfinished().map(given).collect()
    }

    fn unfinished(&self) -> impl Iterator<Item = &Trial> {
        let trials = self.sweep.state.trials.values();
        trials.filter(|trial| trial.outcome().is_none()).map(|trial| &trial.trial)
    }

    /// Takes one line of a trial's trainer. Paths in it start at `dir`.
    pub fn tell(&mut self, text: &str, dir: &Path) -> Result<Answer, TellError> {
        self.heed_requests()?;
        let line = || text.trim().to_owned();
        let unusable = |why: String| TellError::Unusable { why, line: line() };
        let value = object(text).ok_or_else(|| TellError::NotAnObject { line: line() })?;
        let number = value["trial"].as_u64().and_then(|number| u32::try_from(number).ok());
        let id = TrialId(number.ok_or_else(|| TellError::NoTrial { line: line() })?);
        let telling: Telling =
            Telling::deserialize(&value).map_err(|error| unusable(error.to_string()))?;
        let mut metrics = Line::of(without_telling(value)).map_err(unusable)?;
        let told = |wrong: Wrong| match wrong {
            Wrong::Line(why) => unusable(why),
            Wrong::Other(error) => error,
        };
        if id == TrialId::BASE {
            return self.tell_base(&metrics).map_err(told);
        }
        let Some(known) = self.sweep.state.trials.get(&id) else {
            return Err(TellError::UnknownTrial { trial: id, given: self.in_words() });
        };
        if let Some(outcome) = known.outcome() {
            return Ok(Answer { trial: id.0, verdict: verdict(outcome), recorded: false });
        }
        if metrics.eval_loss.is_some() && metrics.step.is_none() && metrics.epoch.is_none() {
            if telling.outcome != Some(End::Completed) {
                let why = "without `step` or `epoch` nobody can tell whether this is told twice";
                return Err(unusable(why.to_owned()));
            }
            metrics.epoch = Some(known.trial.config.epochs.into());
        }
        let is_known = is_told(known, &metrics).map_err(unusable)?;
        let mut recorded = false;
        if !is_known {
            recorded = self.point(id, &metrics, dir).map_err(told)?;
        }
        if let Some(end) = telling.outcome.filter(|_| !self.is_ended(id)) {
            let outcome = self.outcome(id, end, telling.error.as_deref()).map_err(unusable)?;
            self.end(id, outcome)?;
            recorded = true;
        }
        if recorded && self.is_ended(id) && self.is_over() {
            self.finish()?;
        }
        let state = &self.sweep.state;
        let verdict = state.trials[&id].outcome().map_or(Verdict::Continue, verdict);
        Ok(Answer { trial: id.0, verdict, recorded })
    }

    /// Records what a line measured, and what the rule of early stops makes of it.
    fn point(&mut self, id: TrialId, line: &Line, dir: &Path) -> Result<bool, Wrong> {
        let mut curve = Curve::of(&self.sweep.state.trials[&id]);
        let meant = curve.take(line, 0.0).map_err(Wrong::Line)?;
        let adapter = meant.adapter.filter(|(evaluation, _)| curve.best() == Some(*evaluation));
        let adapter = adapter.map(|(_, path)| dir.join(path));
        if let Some(path) = &adapter {
            check_adapter(path)?;
        }
        let mut recorded = adapter.is_some() || meant.end.is_some();
        if let Some(path) = adapter {
            // Its trainer may overwrite it with the next one's.
            self.sweep.dir.save_adapter(id, |dir| {
                copy_adapter(&path, dir)?;
                Ok(true)
            })?;
        }
        if let Some(event) = meant.point {
            let events: Vec<Event> = meant.answers.into_iter().chain([event]).collect();
            self.record(&events)?;
            recorded = true;
        }
        let outcome = meant.end.or_else(|| match self.pruner?.judge(&self.sweep.state, id) {
            Decision::Keep => None,
            Decision::Stop { reason } => Some(Outcome::Stopped { reason }),
        });
        if let Some(outcome) = outcome {
            self.end(id, outcome)?;
        }
        Ok(recorded)
    }

    /// The base model's losses: told once.
    fn tell_base(&mut self, line: &Line) -> Result<Answer, Wrong> {
        let Some(Loss::Finite(eval_loss)) = line.eval_loss else {
            return Err(Wrong::Line("the base model (trial 0) needs an `eval_loss`".to_owned()));
        };
        let answer = |recorded| Answer { trial: 0, verdict: Verdict::Ended, recorded };
        if let Some(base) = &self.sweep.state.base {
            let known = base.eval_loss;
            return if known == eval_loss {
                Ok(answer(false))
            } else {
                Err(Wrong::Line(format!("the base model's loss was told before: {known}")))
            };
        }
        let evaluation = line.of_base(&self.sweep.state.objective, eval_loss, 0.0);
        self.sweep.dir.write_base(&evaluation)?;
        self.record(&[Event::BaseEvaluated { evaluation }])?;
        Ok(answer(true))
    }

    fn outcome(&self, id: TrialId, end: End, error: Option<&str>) -> Result<Outcome, String> {
        let trial = &self.sweep.state.trials[&id];
        let said = |default: &str| error.unwrap_or(default).to_owned();
        match end {
            End::Completed if trial.evaluations.is_empty() => {
                Err("a completed trial needs an `eval_loss`, here or before".to_owned())
            }
            End::Completed => Ok(Outcome::Completed),
            End::Failed => Ok(Outcome::Failed { error: said("its trainer did not say why") }),
            End::Diverged => Ok(Outcome::Diverged {
                step: trial.last().map_or(0, |last| last.step),
                reason: said("its trainer said so"),
            }),
        }
    }

    fn end(&mut self, id: TrialId, outcome: Outcome) -> Result<(), WorkerError> {
        let mut ended = self.sweep.state.trials[&id].clone();
        ended.status = TrialStatus::Finished { outcome: outcome.clone() };
        let tables = (self.tables)(&ended, self.sweep.state.base_of(&ended))
            .map_err(|source| WorkerError::Tables { trial: id, source })?;
        self.sweep.dir.write_trial(&ended, &tables)?;
        self.record(&[Event::TrialFinished { trial: id, outcome }])
    }

    fn is_ended(&self, id: TrialId) -> bool {
        self.sweep.state.trials[&id].outcome().is_some()
    }

    fn in_words(&self) -> String {
        match self.sweep.state.trials.last_key_value() {
            Some((last, _)) => format!("trials 1 to {}", last.0),
            None => "none".to_owned(),
        }
    }

    fn record(&mut self, events: &[Event]) -> Result<(), WorkerError> {
        Ok(self.sweep.record(events)?)
    }
}

/// Why a line was not taken.
enum Wrong {
    Line(String),
    Other(TellError),
}

impl From<AdapterError> for Wrong {
    fn from(error: AdapterError) -> Self {
        Self::Other(error.into())
    }
}

impl From<StoreError> for Wrong {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}

impl From<WorkerError> for Wrong {
    fn from(error: WorkerError) -> Self {
        Self::Other(error.into())
    }
}

fn given(trial: &Trial) -> Asked {
    Asked::Trial { trial: trial.id.0, params: trial.config.clone() }
}

/// The metrics of a line alone.
fn without_telling(mut value: Value) -> Value {
    if let Value::Object(entries) = &mut value {
        for key in ["trial", "outcome", "error"] {
            entries.remove(key);
        }
    }
    value
}

/// Whether a line's evaluation was told before; an error when it was told with another loss.
fn is_told(trial: &TrialState, line: &Line) -> Result<bool, String> {
    let Some(Loss::Finite(loss)) = line.eval_loss else { return Ok(false) };
    let is_same = |e: &&Evaluation| match line.step {
        Some(step) => e.step == step,
        None => line.epoch == Some(e.epoch),
    };
    match trial.evaluations.iter().find(is_same) {
        Some(known) if known.eval_loss == loss => Ok(true),
        Some(known) => Err(format!("this evaluation was told before with {}", known.eval_loss)),
        None => Ok(false),
    }
}

fn verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Stopped { reason: StopReason::EarlyTerminate { reason } } => {
            Verdict::Stop { reason: reason.clone() }
        }
        Outcome::Stopped { reason: StopReason::TargetReached { target } } => {
            Verdict::Stop { reason: format!("the target of {target} was reached") }
        }
        Outcome::Stopped { reason: StopReason::Person } => {
            Verdict::Stop { reason: "a person stopped it".to_owned() }
        }
        Outcome::Stopped { reason: StopReason::OutsideSpace } => {
            Verdict::Stop { reason: "the search space does not have it any more".to_owned() }
        }
        Outcome::Diverged { reason, .. } => Verdict::Stop { reason: reason.clone() },
        Outcome::Completed | Outcome::Failed { .. } => Verdict::Ended,
    }
}
