//! The state of a sweep: a fold over its events.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::BaseForm;
use crate::evaluation::{Evaluation, TestEvaluation};
use crate::event::{DataFacts, Event, Outcome, Record, ReturnCause, StopReason, TrainPoint};
use crate::example_losses::ExampleLosses;
use crate::logical::LogicalClock;
use crate::metric::Objective;
use crate::scores::ScoredAnswers;
use crate::timeline::Timeline;
use crate::trial::{Trial, TrialId};

/// Where a trial stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum TrialStatus {
    /// Proposed, not begun.
    Pending,
    /// Begun, not ended (or its process ended before it did).
    Running,
    /// Ended.
    Finished {
        /// How.
        outcome: Outcome,
    },
}

/// One trial with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrialState {
    /// The configuration.
    pub trial: Trial,
    /// Where it stands.
    pub status: TrialStatus,
    /// The device of its last start.
    pub device: Option<String>,
    /// Optimizer steps it takes in all, once known.
    pub total_steps: Option<u32>,
    /// Step of its last checkpoint.
    pub checkpoint_step: Option<u32>,
    /// Optimizer steps, ascending by `step`.
    pub train_points: Vec<TrainPoint>,
    /// Evaluations, ascending by `step`.
    pub evaluations: Vec<Evaluation>,
    /// The trial that took this one's first steps, if another did.
    pub continues: Option<Continued>,
    /// Losses of the single validation examples at the best evaluation, once it has ended.
    pub examples: Option<ExampleLosses>,
    /// What it answered at the best evaluation, and how that was scored, once it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<ScoredAnswers>,
    /// What its sweep compares trials by.
    #[serde(skip)]
    pub objective: Objective,
    /// How often a worker was lost with it since it last got further (since its last checkpoint).
    pub losses: u32,
    /// The end of the log of the worker in which it failed.
    pub failure_log: Option<String>,
    /// Its checkpoint is kept beyond an early stop.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_kept: bool,
    /// The times it went on after an early stop.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub promotions: Vec<Promoted>,
    /// When it began, in logical time, where the sweep keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<LogicalClock>,
    /// A person added it: it comes on top of what the planner proposes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_added: bool,
    /// The search space does not have its configuration any more: it is history.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_outside: bool,
}

/// The sweep file was changed, and the sweep continued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extension {
    /// Trials that there were before.
    pub trials: usize,
    /// One line for each setting that changed.
    pub changes: Vec<String>,
}

/// A stopped trial went on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Promoted {
    /// Optimizer steps it had taken.
    pub step: u32,
    /// Why it had been stopped.
    pub stopped: StopReason,
    /// Why it went on.
    pub reason: String,
}

/// Steps that a trial shares with an earlier one and did not take itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Continued {
    /// Who took them.
    pub trial: TrialId,
    /// How many.
    pub steps: u32,
}

impl TrialState {
    fn new(trial: Trial) -> Self {
        Self {
            trial,
            status: TrialStatus::Pending,
            device: None,
            total_steps: None,
            checkpoint_step: None,
            train_points: Vec::new(),
            evaluations: Vec::new(),
            continues: None,
            examples: None,
            answers: None,
            objective: Objective::default(),
            losses: 0,
            failure_log: None,
            is_kept: false,
            promotions: Vec::new(),
            clock: None,
            is_added: false,
            is_outside: false,
        }
    }

    /// Tokens of the steps that this trial took itself.
    pub fn trained_tokens(&self) -> u64 {
        let upto = |step: u32| {
            let taken = self.train_points.partition_point(|p| p.step <= step);
            taken.checked_sub(1).map_or(0, |last| self.train_points[last].tokens)
        };
        upto(u32::MAX) - self.continues.map_or(0, |shared| upto(shared.steps))
    }

    /// The last evaluation.
    pub fn last(&self) -> Option<&Evaluation> {
        self.evaluations.last()
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.status {
            TrialStatus::Finished { outcome } => Some(outcome),
            TrialStatus::Pending | TrialStatus::Running => None,
        }
    }

    /// The rule that stopped it, when it may go on from there.
    pub fn paused(&self) -> Option<&StopReason> {
        match self.outcome() {
            Some(Outcome::Stopped { reason }) if self.is_kept => Some(reason),
            _ => None,
        }
    }

    /// A stopped trial waits to go on.
    fn promote(&mut self, reason: &str, at: Option<u64>) {
        let Some(stopped) = self.paused().cloned() else { return };
        let step = self.last().map_or(0, |last| last.step);
        if let Some((clock, at)) = self.clock.as_mut().zip(at) {
            clock.starts.push((step, at));
        }
        self.promotions.push(Promoted { step, stopped, reason: reason.to_owned() });
        self.is_kept = false;
        self.status = TrialStatus::Pending;
    }

    /// Runs again from its beginning.
    fn retry(&mut self) {
        self.rewind(0);
        (self.status, self.checkpoint_step) = (TrialStatus::Pending, None);
        (self.losses, self.is_kept) = (0, false);
        (self.failure_log, self.promotions) = (None, Vec::new());
        if let Some(clock) = &mut self.clock {
            clock.starts.truncate(1);
        }
    }

    /// Whether the search space has its configuration. One that left it and is back goes on.
    fn set_outside(&mut self, is_outside: bool) {
        self.is_outside = is_outside;
        let was_dropped =
            matches!(self.outcome(), Some(Outcome::Stopped { reason: StopReason::OutsideSpace }));
        if was_dropped && !is_outside {
            self.retry();
        }
    }

    /// A trial that restarts from an earlier step takes those steps again: what lay beyond is
    /// forgotten, since deterministic training will bring it back.
    fn rewind(&mut self, to_step: u32) {
        self.train_points.retain(|p| p.step <= to_step);
        self.evaluations.retain(|e| e.step <= to_step);
        self.continues = self.continues.filter(|shared| shared.steps <= to_step);
        self.examples = None;
        self.answers = None;
    }

    /// Begins after `from_step`, of which the steps are this trial's own or those of `sibling`.
    fn begin(&mut self, sibling: Option<&Self>, from_step: u32) {
        match sibling {
            Some(sibling) => self.inherit(sibling, from_step),
            None => self.rewind(from_step),
        }
    }

    /// Has a checkpoint; one that is further than the last shows that its workers live.
    fn save(&mut self, step: u32) {
        if self.checkpoint_step.is_none_or(|before| before < step) {
            self.losses = 0;
        }
        self.checkpoint_step = Some(step);
    }

    /// Takes over the first steps of the trial that this one continues.
    fn inherit(&mut self, from: &Self, steps: u32) {
        self.train_points.clone_from(&from.train_points);
        self.evaluations.clone_from(&from.evaluations);
        self.continues = None;
        self.rewind(steps);
        self.continues = Some(Continued { trial: from.trial.id, steps });
    }
}

/// A worker process that died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostWorker {
    /// Its name.
    pub worker: String,
    /// What is known of the cause.
    pub cause: String,
    /// The end of its log.
    pub log: String,
    /// The trials it was training.
    pub trials: Vec<TrialId>,
}

/// The untouched base model in one of the forms that trials ask for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuantizedBase {
    /// Which form.
    pub quantization: BaseForm,
    /// Its losses.
    pub evaluation: Evaluation,
    /// Its losses of the single validation examples.
    pub examples: Option<ExampleLosses>,
    /// What it answered, and how that was scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<ScoredAnswers>,
}

/// Everything known of a sweep. Built by applying events in the order of the journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SweepState {
    /// Name of the sweep.
    pub name: String,
    /// Hash of the resolved sweep.
    pub fingerprint: String,
    /// What trials are compared by.
    #[serde(skip_serializing_if = "Objective::is_default")]
    pub objective: Objective,
    /// What is known of the data and of the model, if it was journalled.
    pub facts: Option<DataFacts>,
    /// The base model's losses, once evaluated; where it has several forms, those of the first.
    pub base: Option<Evaluation>,
    /// The base model's losses of the single validation examples, in the same form.
    pub base_examples: Option<ExampleLosses>,
    /// What the base model answered, and how that was scored, in the same form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_answers: Option<ScoredAnswers>,
    /// The base model in each form, the first one included, where `quantization` is a parameter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quantized_bases: Vec<QuantizedBase>,
    /// Losses on the held-out test rows, of the chosen trial and of the base model (trial 0).
    pub test: BTreeMap<TrialId, TestEvaluation>,
    /// Trials by number.
    pub trials: BTreeMap<TrialId, TrialState>,
    /// How often a step needed more memory than there was.
    pub out_of_memory: u32,
    /// The most memory that a worker of the last launch took, in bytes, where the system tells.
    pub peak_bytes: Option<u64>,
    /// Workers that died or were ended because they gave no sign of life.
    pub lost_workers: Vec<LostWorker>,
    /// No trial is left to run.
    pub finished: bool,
    /// When trials ran where, as far as the times of events are known.
    pub timeline: Timeline,
    /// The changes of the sweep file since it began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
    /// Methods that draw begin with this draw of their sequence: those before belong to the search
    /// space as it was.
    #[serde(skip)]
    pub first_draw: u64,
}

impl SweepState {
    /// Folds a whole history.
    pub fn from_events<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut state = Self::default();
        for event in events {
            state.apply(event);
        }
        state
    }

    /// Folds a whole journal, with the times of its records.
    pub fn from_records<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut state = Self::default();
        for record in records {
            state.apply_at(record.at_ms, &record.event);
        }
        state
    }

    /// Tokens trained in all, each step once however many trials share it.
    pub fn trained_tokens(&self) -> u64 {
        self.trials.values().map(TrialState::trained_tokens).sum()
    }

    /// Folds one event that was journalled at this time, in milliseconds since the Unix epoch.
    pub fn apply_at(&mut self, at_ms: u64, event: &Event) {
        self.timeline.note(at_ms, event);
        self.apply(event);
    }

    fn start(&mut self, name: &str, fingerprint: &str, objective: &Objective) {
        name.clone_into(&mut self.name);
        fingerprint.clone_into(&mut self.fingerprint);
        self.objective.clone_from(objective);
        for trial in self.trials.values_mut() {
            trial.objective.clone_from(objective);
        }
        self.reopen();
        self.peak_bytes = None;
    }

    /// Folds one event, of which the time is not known. An event of an unknown trial is ignored: it
    /// can only come from a journal whose proposal was lost, and then the trial is proposed again.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::SweepStarted { name, fingerprint, objective, .. } => {
                self.start(name, fingerprint, objective);
            }
            Event::SweepExtended { fingerprint, changes, outside, first_draw } => {
                self.fingerprint.clone_from(fingerprint);
                self.first_draw = *first_draw;
                self.extend(changes, outside);
            }
            Event::TrialRetried { trial } => {
                self.reopen();
                self.with(*trial, TrialState::retry);
            }
            Event::DataPrepared { facts } => self.facts = Some(facts.clone()),
            Event::BaseEvaluated { evaluation } => self.base = Some(evaluation.clone()),
            Event::QuantizedBaseEvaluated { quantization, evaluation, examples, answers } => {
                self.set_base(QuantizedBase {
                    quantization: *quantization,
                    evaluation: evaluation.clone(),
                    examples: examples.clone(),
                    answers: answers.clone(),
                });
            }
            Event::TrialProposed { trial, start, is_added } => {
                self.reopen();
                let new = TrialState {
                    clock: start.map(LogicalClock::new),
                    is_added: *is_added,
                    objective: self.objective.clone(),
                    ..TrialState::new(trial.clone())
                };
                self.trials.entry(trial.id).or_insert(new);
            }
            Event::TrialStarted { trial, device, from_step, total_steps, continues } => {
                let sibling = continues.and_then(|other| self.trials.get(&other)).cloned();
                self.with(*trial, |t| {
                    t.begin(sibling.as_ref(), *from_step);
                    t.status = TrialStatus::Running;
                    t.is_kept = false;
                    t.device = Some(device.clone());
                    t.total_steps = Some(*total_steps).filter(|&steps| steps > 0);
                });
            }
            Event::Trained { trial, point } => {
                self.with(*trial, |t| t.train_points.push(point.clone()));
            }
            Event::Evaluated { trial, evaluation } => {
                self.with(*trial, |t| t.evaluations.push(evaluation.clone()));
            }
            Event::ExamplesEvaluated { trial: TrialId::BASE, examples, .. } => {
                self.base_examples = Some(examples.clone());
            }
            Event::ExamplesEvaluated { trial, examples, .. } => {
                self.with(*trial, |t| t.examples = Some(examples.clone()));
            }
            Event::AnswersScored { trial: TrialId::BASE, answers } => {
                self.base_answers = Some(answers.clone());
            }
            Event::AnswersScored { trial, answers } => {
                self.with(*trial, |t| t.answers = Some(answers.clone()));
            }
            Event::TestEvaluated { trial, test } => {
                self.test.insert(*trial, test.clone());
            }
            Event::Checkpointed { trial, step } => self.with(*trial, |t| t.save(*step)),
            Event::CheckpointKept { trial, step } => {
                self.with(*trial, |t| (t.checkpoint_step, t.is_kept) = (Some(*step), true));
            }
            Event::CheckpointDropped { trial } => self.with(*trial, |t| t.is_kept = false),
            Event::TrialPromoted { trial, reason, at } => {
                self.with(*trial, |t| t.promote(reason, *at));
            }
            Event::OutOfMemory { .. } => self.out_of_memory += 1,
            Event::TrialFinished { trial, outcome } => {
                self.with(*trial, |t| {
                    t.status = TrialStatus::Finished { outcome: outcome.clone() };
                });
            }
            Event::SweepFinished => self.finished = true,
            Event::TrialsReturned { cause: ReturnCause::Superseded, .. }
            | Event::Warned { .. }
            | Event::WorkerStarted { .. } => {}
            Event::TrialsReturned { trials, .. } => self.set_pending(trials),
            Event::WorkerLost { worker, cause, log, trials } => {
                self.set_pending(trials);
                for trial in trials {
                    self.with(*trial, |t| t.losses += 1);
                }
                let (worker, cause, log) = (worker.clone(), cause.clone(), log.clone());
                let trials = trials.clone();
                self.lost_workers.push(LostWorker { worker, cause, log, trials });
            }
            Event::FailureLogged { trial, log } => {
                self.with(*trial, |t| t.failure_log = Some(log.clone()));
            }
            Event::WorkerEnded { peak_bytes, .. } => {
                self.peak_bytes = self.peak_bytes.max(*peak_bytes);
            }
        }
    }

    /// How many trials have ended, and of how many where `planned` is what the method proposes: trials that a
    /// person added come on top, and those that have left the search space do not count.
    pub fn progress(&self, planned: Option<usize>) -> (usize, Option<usize>) {
        let within = || self.trials.values().filter(|trial| !trial.is_outside);
        let ended = within().filter(|trial| trial.outcome().is_some()).count();
        let added = within().filter(|trial| trial.is_added).count();
        (ended, planned.map(|planned| (planned + added).max(within().count())))
    }

    /// The same without the trials that the search space does not have any more: what a decision or
    /// a comparison may see.
    pub fn within_space(&self) -> Cow<'_, Self> {
        if !self.trials.values().any(|trial| trial.is_outside) {
            return Cow::Borrowed(self);
        }
        let mut within = self.clone();
        within.trials.retain(|_, trial| !trial.is_outside);
        Cow::Owned(within)
    }

    /// The untouched base model that a trial began from, in the form that it asks for.
    pub fn base_of(&self, trial: &TrialState) -> Option<&Evaluation> {
        match trial.trial.config.quantization {
            Some(form) => self.base_in(form).map(|base| &base.evaluation),
            None => self.base.as_ref(),
        }
    }

    /// The base model in one of its forms, once evaluated.
    pub fn base_in(&self, form: BaseForm) -> Option<&QuantizedBase> {
        self.quantized_bases.iter().find(|base| base.quantization == form)
    }

    /// The base model's highest validation loss over its forms, in nats; `None` before there is one.
    pub fn highest_base_loss(&self) -> Option<f64> {
        let forms = self.quantized_bases.iter().map(|base| &base.evaluation);
        self.base.iter().chain(forms).map(|base| base.eval_loss).reduce(f64::max)
    }

    fn set_base(&mut self, base: QuantizedBase) {
        let is_same = |other: &QuantizedBase| other.quantization == base.quantization;
        let place = self.quantized_bases.iter().position(is_same);
        if place.unwrap_or(self.quantized_bases.len()) == 0 {
            self.base = Some(base.evaluation.clone());
            self.base_examples.clone_from(&base.examples);
            self.base_answers.clone_from(&base.answers);
        }
        match place {
            Some(place) => self.quantized_bases[place] = base,
            None => self.quantized_bases.push(base),
        }
    }

    /// The sweep file was changed: which trials are outside the search space is known anew.
    fn extend(&mut self, changes: &[String], outside: &[TrialId]) {
        let extension = Extension { trials: self.trials.len(), changes: changes.to_vec() };
        self.extensions.push(extension);
        for (id, trial) in &mut self.trials {
            trial.set_outside(outside.contains(id));
        }
    }

    /// There are trials to run again; which one is chosen and tested is open again, too.
    fn reopen(&mut self) {
        if std::mem::take(&mut self.finished) {
            self.test.clear();
        }
    }

    /// Trials that lost their worker wait for another one.
    fn set_pending(&mut self, trials: &[TrialId]) {
        for trial in trials {
            self.with(*trial, |t| {
                if t.outcome().is_none() {
                    t.status = TrialStatus::Pending;
                }
            });
        }
    }

    fn with(&mut self, id: TrialId, change: impl FnOnce(&mut TrialState)) {
        if let Some(trial) = self.trials.get_mut(&id) {
            change(trial);
        }
    }
}
