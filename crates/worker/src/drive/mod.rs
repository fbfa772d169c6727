//! The drive loop: fill the slots, step, journal, judge, save; until no trial is left.
//!
//! Orders that make a crash harmless:
//! - a trial is journalled before it is started, so that it keeps its number;
//! - an ended trial's adapter and tables are on disk before its end is journalled, so that a
//!   journalled end is never without its files;
//! - the journal is durable up to a checkpoint's step before the checkpoint counts
//!   (`store::SweepDir::save_checkpoint`), so that no point before it can be missing.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use planner::{Decision, Planner, Pruner};
use spec::{
    ConfigKey, Evaluation, Event, Outcome, StopReason, Sweep, TrainSettings, Trial, TrialId,
    TrialState, TrialStatus,
};
use store::{BuildError, Opened, Purpose, TrialTables};

use crate::error::{WorkerError, chain};
use crate::observer::{Observer, Warning};
use crate::trainer::{Admission, Trainer, TrainerError};

mod trajectory;

/// So many failures in a row end the sweep: their cause is likely not the trials'.
pub const MAX_CONSECUTIVE_FAILURES: u32 = 3;

/// How a drive ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// No trial is left.
    Completed,
    /// No trial was left when it began; nothing was done.
    AlreadyFinished,
    /// A stop was asked for; the running trials are checkpointed.
    Interrupted,
}

/// What the loop needs to know of the sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Name of the sweep.
    pub name: String,
    /// Hash of the resolved sweep.
    pub fingerprint: String,
    /// A validation loss that ends the sweep when a trial reaches it.
    pub target: Option<f64>,
    /// Wall-clock time between checkpoints of the running trials.
    pub checkpoint_every: Duration,
    /// What tells which trials share their steps.
    pub train: TrainSettings,
    /// The largest number of epochs of a trial, if there is one: longer ones need no fork.
    pub most_epochs: Option<u32>,
}

impl From<&Sweep> for Settings {
    fn from(sweep: &Sweep) -> Self {
        Self {
            name: sweep.name.clone(),
            fingerprint: sweep.fingerprint(),
            target: sweep.metric.target,
            checkpoint_every: Duration::from_secs(sweep.executor.checkpoint_seconds.into()),
            train: sweep.train.clone(),
            most_epochs: sweep.space.most_epochs(),
        }
    }
}

/// Turns a trial's points into text, given the base model's evaluation too.
pub type WriteTables = dyn Fn(&TrialState, Option<&Evaluation>) -> Result<TrialTables, BuildError>;

/// Everything a sweep is driven with.
pub struct Drive<'a> {
    /// What the loop needs to know of the sweep.
    pub settings: Settings,
    /// Proposes trials.
    pub planner: &'a dyn Planner,
    /// Judges running trials after each evaluation, if the sweep has a rule.
    pub pruner: Option<&'a dyn Pruner>,
    /// Trains.
    pub trainer: &'a mut dyn Trainer,
    /// The sweep's folder and history.
    pub sweep: &'a mut Opened,
    /// Watches.
    pub observer: &'a mut dyn Observer,
    /// Writes the points of an ended trial as text.
    pub tables: &'a WriteTables,
    /// Set from outside to stop after the current step.
    pub stop: &'a AtomicBool,
}

impl Drive<'_> {
    /// Runs the sweep to its end, or until it is stopped.
    pub fn run(self) -> Result<Finish, WorkerError> {
        if self.sweep.state.finished {
            return Ok(Finish::AlreadyFinished);
        }
        let mut run = Run::new(self);
        run.begin()?;
        while !run.drive.stop.load(Ordering::Relaxed) {
            run.fill()?;
            if run.running.is_empty() {
                run.discard_forks()?;
                run.record(&[Event::SweepFinished])?;
                return Ok(Finish::Completed);
            }
            run.step()?;
            run.give_up_if_all_fail()?;
            run.checkpoint_if_due()?;
        }
        run.checkpoint_all()?;
        Ok(Finish::Interrupted)
    }
}

struct Run<'a> {
    drive: Drive<'a>,
    /// Trials in the trainer's slots.
    running: Vec<TrialId>,
    /// Journalled trials that have no slot yet.
    waiting: VecDeque<TrialId>,
    /// Trials of a shared step that failed: each runs without company until it has ended.
    suspects: BTreeSet<TrialId>,
    /// Trials by the steps they share.
    trajectories: HashMap<ConfigKey, Vec<TrialId>>,
    /// Failures since the last trial that did not fail.
    failures: Vec<(TrialId, String)>,
    last_checkpoint: Instant,
}

impl<'a> Run<'a> {
    fn new(drive: Drive<'a>) -> Self {
        let unfinished = drive.sweep.state.trials.values().filter(|t| t.outcome().is_none());
        let waiting = unfinished.map(|t| t.trial.id).collect();
        let known: Vec<Trial> =
            drive.sweep.state.trials.values().map(|t| t.trial.clone()).collect();
        let mut run = Self {
            drive,
            running: Vec::new(),
            waiting,
            suspects: BTreeSet::new(),
            trajectories: HashMap::new(),
            failures: Vec::new(),
            last_checkpoint: Instant::now(),
        };
        for trial in &known {
            run.note_trajectory(trial);
        }
        run
    }

    /// Journals the launch and sees that the base model was evaluated.
    fn begin(&mut self) -> Result<(), WorkerError> {
        let Settings { name, fingerprint, .. } = self.drive.settings.clone();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.record(&[Event::SweepStarted { name, fingerprint, version }])?;
        let ended: Vec<_> =
            self.trials().filter(|t| t.outcome().is_some()).map(|t| t.trial.id).collect();
        for trial in ended {
            self.drive.sweep.dir.discard_checkpoint(trial, Purpose::Resume)?;
        }
        if self.drive.sweep.state.base.is_none() && self.drive.trainer.has_base() {
            let evaluation =
                self.drive.trainer.evaluate_base().map_err(WorkerError::BaseEvaluation)?;
            self.drive.sweep.dir.write_base(&evaluation)?;
            let examples = self.examples_event(TrialId::BASE, 0);
            let evaluated = Event::BaseEvaluated { evaluation };
            self.record(&[evaluated].into_iter().chain(examples).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Gives every free slot a trial: first those the journal left unfinished, then new ones. A
    /// trial whose steps another is taking waits for it.
    fn fill(&mut self) -> Result<(), WorkerError> {
        loop {
            let free = self.slots().saturating_sub(self.running.len());
            if free == 0 {
                return Ok(());
            }
            if self.is_target_reached() {
                return self.stop_for_target();
            }
            let next = self.waiting.iter().position(|&id| !self.must_wait(id));
            match next.and_then(|place| self.waiting.remove(place)) {
                Some(trial) => {
                    self.start(trial)?;
                    self.give_up_if_all_fail()?;
                }
                None if self.propose(free)? == 0 => return Ok(()),
                None => {}
            }
        }
    }

    /// Journals up to `count` new trials and returns how many there were.
    fn propose(&mut self, count: usize) -> Result<usize, WorkerError> {
        let trials = self.drive.planner.suggest(&self.drive.sweep.state, count);
        let proposed = trials.len();
        for trial in trials {
            let id = trial.id;
            if self.drive.sweep.state.trials.contains_key(&id) {
                return Err(WorkerError::DuplicateProposal { trial: id });
            }
            self.note_trajectory(&trial);
            self.record(&[Event::TrialProposed { trial }])?;
            self.waiting.push_back(id);
        }
        Ok(proposed)
    }

    /// Gives `id` a slot, from its checkpoint when it has a good one.
    fn start(&mut self, id: TrialId) -> Result<(), WorkerError> {
        let trial = self.state(id).trial.clone();
        if let Some(sibling) = self.already_taken(&trial) {
            return self.observe(&trial, sibling);
        }
        match self.admit(&trial) {
            Ok((Admission::NoRoom, _)) => {
                self.waiting.push_front(id);
                self.warn(&Warning::NoRoom { trial: id, capacity: self.drive.trainer.capacity() });
                Ok(())
            }
            Ok((Admission::Admitted { from_step, total_steps }, continues)) => {
                self.running.push(id);
                let device = self.drive.trainer.device();
                self.record(&[Event::TrialStarted {
                    trial: id,
                    device,
                    from_step,
                    total_steps,
                    continues,
                }])?;
                // The process may have ended between an evaluation and its judgement.
                if from_step > 0 { self.judge(id) } else { Ok(()) }
            }
            Err(error) => self.end(id, Outcome::Failed { error: chain(&*error) }),
        }
    }

    /// Puts `trial` into the trainer: from its own checkpoint, from the fork of a trial that shares
    /// its steps (which is returned), or from the beginning.
    fn admit(&mut self, trial: &Trial) -> Result<(Admission, Option<TrialId>), TrainerError> {
        let id = trial.id;
        let mut sources = Vec::new();
        match self.drive.sweep.dir.checkpoint(id, Purpose::Resume) {
            Ok(own) => sources.extend(own.map(|own| (own, None))),
            Err(damage) => self.warn(&Warning::DamagedCheckpoint { trial: id, damage }),
        }
        sources.extend(self.fork_for(trial).map(|(sibling, fork)| (fork, Some(sibling))));
        for (checkpoint, continues) in sources {
            match self.drive.trainer.admit(trial, Some(&checkpoint.path)) {
                Ok(admitted) => return Ok((admitted, continues)),
                Err(error) => {
                    self.warn(&Warning::RefusedCheckpoint { trial: id, error: chain(&*error) });
                }
            }
        }
        self.drive.trainer.admit(trial, None).map(|admitted| (admitted, None))
    }

    /// One step of all slots, and what follows from it.
    fn step(&mut self) -> Result<(), WorkerError> {
        let events = match self.drive.trainer.step() {
            Ok(events) => events,
            Err(error) => return self.step_failed(&error),
        };
        let (ends, progress): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| matches!(event, Event::TrialFinished { .. }));
        self.record(&progress)?;
        for event in &progress {
            if let Event::Trained { trial, .. } = event {
                self.fork_if_shared(*trial, false)?;
            }
        }
        for event in ends {
            if let Event::TrialFinished { trial, outcome } = event {
                self.end(trial, outcome)?;
            }
        }
        for event in &progress {
            if let Event::Evaluated { trial, .. } = event {
                self.judge(*trial)?;
            }
        }
        if self.is_target_reached() { self.stop_for_target() } else { Ok(()) }
    }

    /// The fault of a step that several trials shared cannot be told, so that none is failed for
    /// it: they go on from their checkpoints, one at a time.
    fn step_failed(&mut self, error: &TrainerError) -> Result<(), WorkerError> {
        let error = chain(&**error);
        if let [only] = self.running[..] {
            return self.end(only, Outcome::Failed { error });
        }
        let trials = std::mem::take(&mut self.running);
        for &trial in trials.iter().rev() {
            self.drive.trainer.release(trial);
            self.waiting.push_front(trial);
            self.suspects.insert(trial);
        }
        self.warn(&Warning::SharedStepFailed { trials, error });
        Ok(())
    }

    /// Asks the pruner about a running trial.
    fn judge(&mut self, id: TrialId) -> Result<(), WorkerError> {
        let Some(pruner) = self.drive.pruner.filter(|_| self.running.contains(&id)) else {
            return Ok(());
        };
        match pruner.judge(&self.drive.sweep.state, id) {
            Decision::Keep => Ok(()),
            Decision::Stop { reason } => self.end(id, Outcome::Stopped { reason }),
        }
    }

    fn is_target_reached(&self) -> bool {
        let reached =
            |t: &TrialState, target| t.best().is_some_and(|best| best.eval_loss <= target);
        self.drive.settings.target.is_some_and(|target| self.trials().any(|t| reached(t, target)))
    }

    /// Ends every trial that has not ended.
    fn stop_for_target(&mut self) -> Result<(), WorkerError> {
        let target = self.drive.settings.target.unwrap_or(f64::NAN);
        let waiting = std::mem::take(&mut self.waiting);
        for id in self.running.clone().into_iter().chain(waiting) {
            self.end(id, Outcome::Stopped { reason: StopReason::TargetReached { target } })?;
        }
        Ok(())
    }

    /// Saves what an ended trial leaves, journals its end and frees its slot.
    fn end(&mut self, id: TrialId, outcome: Outcome) -> Result<(), WorkerError> {
        let is_running = self.running.contains(&id);
        if is_running {
            self.save_adapter(id, &outcome)?;
            if matches!(outcome, Outcome::Completed | Outcome::Stopped { .. }) {
                self.fork_if_shared(id, true)?;
            }
            let step = self.state(id).best().map_or(0, |best| best.step);
            let examples = self.examples_event(id, step);
            self.record(examples.as_slice())?;
        }
        let mut ended = self.state(id).clone();
        ended.status = TrialStatus::Finished { outcome: outcome.clone() };
        let tables = (self.drive.tables)(&ended, self.drive.sweep.state.base.as_ref())
            .map_err(|source| WorkerError::Tables { trial: id, source })?;
        self.drive.sweep.dir.write_trial(&ended, &tables)?;
        match &outcome {
            Outcome::Failed { error } => self.failures.push((id, error.clone())),
            _ => self.failures.clear(),
        }
        self.record(&[Event::TrialFinished { trial: id, outcome }])?;
        if is_running {
            self.drive.trainer.release(id);
            self.running.retain(|&other| other != id);
        }
        self.suspects.remove(&id);
        self.discard_fork_behind(id)?;
        self.drive.sweep.dir.discard_checkpoint(id, Purpose::Resume)?;
        Ok(())
    }

    /// What later comparisons of runs need.
    fn examples_event(&self, trial: TrialId, step: u32) -> Option<Event> {
        let examples = self.drive.trainer.example_losses(trial)?;
        Some(Event::ExamplesEvaluated { trial, step, examples })
    }

    fn save_adapter(&mut self, id: TrialId, outcome: &Outcome) -> Result<(), WorkerError> {
        let trainer = &*self.drive.trainer;
        let saved = self.drive.sweep.dir.save_adapter(id, |dir| trainer.save_best(id, dir));
        match (saved, outcome) {
            (Ok(_), _) => Ok(()),
            (Err(error), Outcome::Failed { .. }) => {
                self.warn(&Warning::AdapterOfFailed { trial: id, error: chain(&error) });
                Ok(())
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Ends the sweep when trial after trial fails.
    fn give_up_if_all_fail(&mut self) -> Result<(), WorkerError> {
        let count = self.failures.len() as u32;
        if count < MAX_CONSECUTIVE_FAILURES {
            return Ok(());
        }
        self.checkpoint_all()?;
        match self.failures.pop() {
            Some((trial, error)) => Err(WorkerError::OnlyFailures { count, trial, error }),
            None => Ok(()),
        }
    }

    fn checkpoint_if_due(&mut self) -> Result<(), WorkerError> {
        if self.last_checkpoint.elapsed() < self.drive.settings.checkpoint_every {
            return Ok(());
        }
        self.checkpoint_all()?;
        self.last_checkpoint = Instant::now();
        Ok(())
    }

    fn checkpoint_all(&mut self) -> Result<(), WorkerError> {
        for trial in self.running.clone() {
            let trainer = &*self.drive.trainer;
            let step = self.drive.sweep.dir.save_checkpoint(trial, Purpose::Resume, |path| {
                trainer.save_checkpoint(trial, path)
            })?;
            self.record(&[Event::Checkpointed { trial, step }])?;
        }
        Ok(())
    }

    /// Journals events, then applies and shows them.
    fn record(&mut self, events: &[Event]) -> Result<(), WorkerError> {
        self.drive.sweep.dir.record(events)?;
        for event in events {
            self.drive.sweep.state.apply(event);
            self.drive.observer.event(event, &self.drive.sweep.state);
        }
        Ok(())
    }

    fn warn(&mut self, warning: &Warning) {
        self.drive.observer.warning(warning);
    }

    fn slots(&self) -> usize {
        if self.suspects.is_empty() { self.drive.trainer.capacity().max(1) } else { 1 }
    }

    fn trials(&self) -> impl Iterator<Item = &TrialState> {
        self.drive.sweep.state.trials.values()
    }

    /// The state of a trial that was journalled, as every trial with a number here was.
    fn state(&self, id: TrialId) -> &TrialState {
        &self.drive.sweep.state.trials[&id]
    }
}
