//! The driver: proposes trials, gives them to workers, judges them, and sees that nothing is lost.
//!
//! Workers are other processes. The driver writes proposals to its journal and orders to the
//! workers' files; what happens to trials it reads from the workers' journals. What it knows it can
//! always read again, so that it may die at any moment: a trial is journalled before it is ordered,
//! so that it keeps its number, and tables of an ended trial that are missing are written again.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use planner::{Planner, Pruner};
use spec::{
    BaseForm, ConfigKey, Evaluation, Event, Outcome, Steps, Trial, TrialConfig, TrialId,
    TrialState, TrialStatus,
};
use store::{BuildError, News, Opened, Purpose, StoreError, TrialTables};

use crate::error::{WorkerError, chain};
use crate::launch::{Launcher, WorkerCommand};
use crate::observer::{Observer, Warning};
use crate::orders::Order;

mod decide;
mod fill;
mod fleet;
mod judge;
mod losses;
mod requests;
mod settings;
mod trajectory;

pub use fleet::Berth;
use fleet::{Fleet, Phase};
pub use settings::Settings;

/// Stopped trials whose checkpoints are kept: each takes the room of an adapter and its moments.
const MOST_PAUSED: usize = 8;

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

/// Turns a trial's points into text, given the base model's evaluation too.
pub type WriteTables = dyn Fn(&TrialState, Option<&Evaluation>) -> Result<TrialTables, BuildError>;

/// Chooses the trial whose adapter the test rows are evaluated with.
pub type ChooseTested<'a> = dyn Fn(&spec::SweepState) -> Option<TrialId> + 'a;

/// Everything a sweep is driven with.
pub struct Drive<'a> {
    /// What the driver needs to know of the sweep.
    pub settings: Settings,
    /// Proposes trials.
    pub planner: &'a dyn Planner,
    /// Judges running trials after each evaluation, if the sweep has a rule.
    pub pruner: Option<&'a dyn Pruner>,
    /// How many steps a trial takes.
    pub steps: &'a dyn Fn(&TrialConfig) -> Steps,
    /// Starts workers.
    pub launcher: &'a mut dyn Launcher,
    /// Workers that run at a time, at most.
    pub workers: usize,
    /// How a worker is started.
    pub command: &'a dyn Fn(&Berth) -> WorkerCommand,
    /// The sweep's folder and history.
    pub sweep: &'a mut Opened,
    /// Watches.
    pub observer: &'a mut dyn Observer,
    /// Writes the points of an ended trial as text.
    pub tables: &'a WriteTables,
    /// Present when there are held-out test rows to evaluate at the end.
    pub tested: Option<&'a ChooseTested<'a>>,
    /// Set from outside to stop after the current step.
    pub stop: &'a AtomicBool,
}

impl Drive<'_> {
    /// Runs the sweep to its end, or until it is stopped.
    pub fn run(self) -> Result<Finish, WorkerError> {
        let needs_test =
            self.tested.is_some() && !self.sweep.state.test.contains_key(&TrialId::BASE);
        if is_over(&self) && !needs_test {
            return Ok(Finish::AlreadyFinished);
        }
        let mut run = Run::new(self);
        let finish = run.begin().and_then(|()| run.go());
        // Whatever the end was, what the workers have is saved.
        let ended = run.end_workers();
        finish.and_then(|finish| ended.map(|()| finish))
    }
}

/// Whether no trial is left; replicates may be asked for after the end.
fn is_over(drive: &Drive) -> bool {
    let history = &drive.sweep.state;
    history.finished
        && !requests::has_any(drive)
        && (is_target_reached(drive) || drive.planner.suggest(history, 1).is_empty())
}

/// The forms of the base model that are still to be evaluated.
fn missing_bases(drive: &Drive) -> Vec<Option<BaseForm>> {
    let state = &drive.sweep.state;
    let is_missing = |form: &Option<BaseForm>| match form {
        Some(form) => state.base_in(*form).is_none(),
        None => state.base.is_none(),
    };
    drive.settings.bases.iter().copied().filter(is_missing).collect()
}

/// Whether a trial was as good as is asked for.
fn is_target_reached(drive: &Drive) -> bool {
    let Some(target) = drive.settings.target else { return false };
    let mut trials = drive.sweep.state.trials.values();
    trials.any(|trial| trial.reaches(target))
}

struct Run<'a> {
    drive: Drive<'a>,
    fleet: Fleet,
    /// Journalled trials that no worker has.
    waiting: VecDeque<TrialId>,
    /// Trials of a shared step that failed, or with which workers were lost repeatedly: each runs
    /// without company until it has ended.
    suspects: BTreeSet<TrialId>,
    /// Trials by the steps they share.
    trajectories: HashMap<ConfigKey, Vec<TrialId>>,
    /// Failures since the last trial that did not fail.
    failures: Vec<(TrialId, String)>,
    /// The planner had nothing to propose, and nothing has happened since.
    is_exhausted: bool,
    /// Losses of workers on each berth since the last one there got anything done.
    berths: Vec<losses::BerthLosses>,
    /// Decisions are made in logical order: every trial of the sweep has a logical start.
    is_ordered: bool,
    /// Decisions that wait for trials to get further.
    pending: decide::Pending,
    /// Every trial was told to stop, since one has reached the target.
    is_stopping: bool,
    /// Trials that were told to stop because a person asked, or the search space lost them.
    asked_to_stop: BTreeSet<TrialId>,
    /// The worker that evaluates the base model.
    base_from: Option<String>,
    /// The worker that evaluates the test rows.
    test_from: Option<String>,
}

impl<'a> Run<'a> {
    fn new(drive: Drive<'a>) -> Self {
        let unfinished = drive.sweep.state.trials.values().filter(|t| t.outcome().is_none());
        let waiting = unfinished.map(|t| t.trial.id).collect();
        let known: Vec<Trial> =
            drive.sweep.state.trials.values().map(|t| t.trial.clone()).collect();
        let berths = vec![losses::BerthLosses::default(); drive.workers.max(1)];
        let is_ordered = decide::is_ordered(&drive);
        let mut run = Self {
            drive,
            fleet: Fleet::default(),
            waiting,
            suspects: BTreeSet::new(),
            trajectories: HashMap::new(),
            failures: Vec::new(),
            is_exhausted: false,
            berths,
            is_ordered,
            pending: decide::Pending::default(),
            is_stopping: false,
            asked_to_stop: BTreeSet::new(),
            base_from: None,
            test_from: None,
        };
        for trial in &known {
            run.note_trajectory(trial);
        }
        run
    }

    /// Journals the launch, tidies up after an earlier one, and starts workers.
    fn begin(&mut self) -> Result<(), WorkerError> {
        if !is_over(&self.drive) {
            let Settings { name, fingerprint, objective, .. } = self.drive.settings.clone();
            let version = env!("CARGO_PKG_VERSION").to_owned();
            self.record(&[Event::SweepStarted { name, fingerprint, version, objective }])?;
        }
        self.adopt_workers()?;
        if self.fleet.workers.is_empty() {
            self.drive.sweep.dir.remove_leftovers()?;
            self.listen()?;
            self.tidy_ended()?;
        }
        // A sweep in which only the end is left to be said needs no worker for that.
        let state = &self.drive.sweep.state;
        self.is_exhausted = missing_bases(&self.drive).is_empty()
            && self.waiting.is_empty()
            && !requests::has_any(&self.drive)
            && self.promotion().is_none()
            && self.drive.planner.suggest(state, 1).is_empty();
        Ok(())
    }

    /// What an ended trial leaves is complete, and nothing more: the driver may have died before it
    /// saw to that.
    fn tidy_ended(&mut self) -> Result<(), WorkerError> {
        let ended: Vec<TrialId> =
            self.trials().filter(|t| t.outcome().is_some()).map(|t| t.trial.id).collect();
        for id in ended {
            if self.state(id).paused().is_none() {
                self.drive.sweep.dir.discard_checkpoint(id, Purpose::Resume)?;
            }
            if !self.drive.sweep.dir.folder().has_summary(id) {
                self.write_tables(id)?;
            }
        }
        self.write_base()
    }

    /// The reference of the ranking, once it is known.
    fn write_base(&mut self) -> Result<(), WorkerError> {
        let Some(base) = &self.drive.sweep.state.base else { return Ok(()) };
        let written = self.drive.sweep.dir.write_base(base);
        self.warn_unless_written(written, || "the base model's `base.json`".to_owned())
    }

    /// What is derived from the journal may be missing: only a full disk ends the sweep.
    fn warn_unless_written(
        &mut self,
        written: Result<(), StoreError>,
        what: impl FnOnce() -> String,
    ) -> Result<(), WorkerError> {
        match written {
            Err(error) if error.is_disk_full() => Err(error.into()),
            Err(error) => {
                self.warn(&Warning::NotWritten { what: what(), error: chain(&error) });
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn go(&mut self) -> Result<Finish, WorkerError> {
        loop {
            let is_cancelled = self.drive.sweep.dir.folder().is_cancelled();
            if is_cancelled || self.drive.stop.load(Ordering::Relaxed) {
                return Ok(Finish::Interrupted);
            }
            self.listen()?;
            self.heed_requests()?;
            self.fill()?;
            if self.is_done() && !requests::has_any(&self.drive) && self.finish()? {
                return Ok(Finish::Completed);
            }
            self.look_after_workers()?;
            self.deliver()?;
            self.drive.launcher.wait(self.wait_before_reading());
        }
    }

    /// A worker does not report its steps at once. Where a decision waits for one, a slot may be idle.
    fn wait_before_reading(&self) -> Duration {
        const WHILE_A_SLOT_IS_IDLE: Duration = Duration::from_millis(5);
        let read_every = self.drive.settings.read_every;
        let is_due = self.is_ordered && self.has_due();
        if is_due { read_every.min(WHILE_A_SLOT_IS_IDLE) } else { read_every }
    }

    /// Whether no trial is left.
    fn is_done(&self) -> bool {
        self.drive.sweep.state.finished
            || (self.is_exhausted
                && self.waiting.is_empty()
                && self.fleet.trials().next().is_none())
    }

    /// Ends the sweep; false while the test rows are being evaluated.
    fn finish(&mut self) -> Result<bool, WorkerError> {
        if !self.drive.sweep.state.finished {
            self.discard_forks()?;
            self.keep_paused(0)?;
            self.record(&[Event::SweepFinished])?;
        }
        let Some(choose) = self.drive.tested else { return Ok(true) };
        if self.drive.sweep.state.test.contains_key(&TrialId::BASE) {
            return Ok(true);
        }
        let is_asked = self.test_from.is_some();
        let state = &self.drive.sweep.state;
        let (chosen, usual) = (choose(state), self.drive.settings.bases.first().copied().flatten());
        if !is_asked && let Some(worker) = self.fleet.ready().next() {
            let form = chosen.and_then(|id| state.trials.get(&id)?.trial.config.quantization);
            let trials = chosen.into_iter().chain([TrialId::BASE]).collect();
            // The base model is tested in the form that the chosen adapter sits on.
            worker.order(Order::Test { trials, form: form.or(usual) });
            self.test_from = Some(worker.name.clone());
        }
        Ok(false)
    }

    /// Reads what workers have written and acts on it.
    fn listen(&mut self) -> Result<(), WorkerError> {
        for news in self.drive.sweep.dir.news()? {
            self.take_in(news)?;
        }
        Ok(())
    }

    fn take_in(&mut self, News { writer, number, record }: News) -> Result<(), WorkerError> {
        let event = record.event;
        if let Some(worker) = self.fleet.get(&writer) {
            worker.sign();
            if matches!(event, Event::Evaluated { .. } | Event::Checkpointed { .. }) {
                self.berths[worker.berth].forget();
            }
        }
        self.see(record.at_ms, &event);
        match event {
            Event::WorkerStarted { device, capacity, .. } => {
                self.worker_started(&writer, number, device, capacity as usize);
            }
            Event::WorkerEnded { error: Some(error), device_lost: true, .. } => {
                self.device_lost(&writer, number, error);
            }
            Event::WorkerEnded { error, .. } => self.worker_ended(&writer, number, error),
            Event::BaseEvaluated { .. } | Event::QuantizedBaseEvaluated { .. } => {
                self.write_base()?;
                self.is_exhausted = false;
            }
            Event::TrialsReturned { trials, cause, capacity } => {
                self.take_back(&writer, trials, cause, capacity as usize);
            }
            Event::TrialStarted { trial, from_step, .. } if from_step > 0 => {
                self.judge(trial, from_step);
            }
            Event::Evaluated { trial, evaluation } => self.evaluated(trial, evaluation.step)?,
            Event::TrialFinished { trial, outcome } => self.ended(trial, &outcome, &writer)?,
            Event::Warned { text, .. } => self.warn(&Warning::OfWorker { text }),
            _ => {}
        }
        Ok(())
    }

    /// Sees to what an ended trial leaves. Its end is journalled, and its adapter is on disk.
    fn ended(&mut self, id: TrialId, outcome: &Outcome, writer: &str) -> Result<(), WorkerError> {
        if !self.drive.sweep.state.trials.contains_key(&id) {
            return Ok(());
        }
        self.fleet.take(id);
        self.pending.forget(id);
        self.waiting.retain(|&other| other != id);
        self.suspects.remove(&id);
        self.is_exhausted = false;
        match outcome {
            Outcome::Failed { error } => {
                self.failures.push((id, error.clone()));
                self.log_failure(id, writer)?;
            }
            _ => self.failures.clear(),
        }
        self.write_tables(id)?;
        self.discard_fork_behind(id)?;
        if !self.is_ordered {
            self.keep_paused(MOST_PAUSED)?;
        }
        self.give_up_if_all_fail()
    }

    /// Ends a trial that no worker has.
    fn end(&mut self, id: TrialId, outcome: &Outcome) -> Result<(), WorkerError> {
        self.record(&[Event::TrialFinished { trial: id, outcome: outcome.clone() }])?;
        self.ended(id, outcome, "")?;
        self.drive.sweep.dir.discard_checkpoint(id, Purpose::Resume)?;
        Ok(())
    }

    fn write_tables(&mut self, id: TrialId) -> Result<(), WorkerError> {
        let trial = self.state(id);
        debug_assert!(matches!(trial.status, TrialStatus::Finished { .. }), "it has ended");
        let tables = (self.drive.tables)(trial, self.drive.sweep.state.base_of(trial))
            .map_err(|source| WorkerError::Tables { trial: id, source })?;
        let trial = trial.clone();
        let written = self.drive.sweep.dir.write_trial(&trial, &tables);
        self.warn_unless_written(written, || format!("a table of trial {id}"))
    }

    /// Ends the sweep when trial after trial fails.
    fn give_up_if_all_fail(&mut self) -> Result<(), WorkerError> {
        let count = self.failures.len() as u32;
        if count < self.drive.settings.max_consecutive_failures {
            return Ok(());
        }
        match self.failures.pop() {
            Some((trial, error)) => Err(WorkerError::OnlyFailures { count, trial, error }),
            None => Ok(()),
        }
    }

    /// Asks all workers to save and end, and waits until they have.
    fn end_workers(&mut self) -> Result<(), WorkerError> {
        let began = Instant::now();
        for worker in &mut self.fleet.workers {
            match worker.phase {
                // A job that has ended, with everything saved, may be waiting to run again.
                Phase::Starting | Phase::Ended => worker.kill(self.drive.launcher)?,
                Phase::Ready => worker.order(Order::End),
                Phase::Ending => continue,
            }
            worker.phase = Phase::Ending;
        }
        self.deliver()?;
        while !self.fleet.workers.is_empty() && began.elapsed() < self.drive.settings.silence {
            let gone = self.gone()?;
            // A cluster queues a job again whose node died, also when its worker had ended meanwhile.
            for worker in self.fleet.workers.iter_mut().filter(|worker| worker.is_queued) {
                worker.kill(self.drive.launcher)?;
            }
            for News { writer, record, .. } in self.drive.sweep.dir.news()? {
                self.see(record.at_ms, &record.event);
                match record.event {
                    Event::WorkerEnded { error: Some(error), .. } => {
                        let text = format!("{writer} could not save its trials: {error}");
                        self.warn(&Warning::OfWorker { text });
                    }
                    Event::TrialFinished { trial, .. } => self.write_tables(trial)?,
                    Event::WorkerStarted { .. } => {
                        if let Some(worker) = self.fleet.get(&writer) {
                            worker.kill(self.drive.launcher)?;
                        }
                    }
                    _ => {}
                }
            }
            for (name, _) in gone {
                self.fleet.remove(&name);
            }
            self.drive.launcher.wait(self.drive.settings.poll_every);
        }
        Ok(())
    }

    fn deliver(&mut self) -> Result<(), WorkerError> {
        let seq = self.drive.sweep.dir.seq();
        self.fleet.deliver(self.drive.launcher, seq)
    }

    /// Journals events, then applies and shows them.
    fn record(&mut self, events: &[Event]) -> Result<(), WorkerError> {
        let at_ms = self.drive.sweep.dir.record(events)?;
        for event in events {
            self.see(at_ms, event);
        }
        Ok(())
    }

    /// Applies and shows an event that is journalled.
    fn see(&mut self, at_ms: u64, event: &Event) {
        self.drive.sweep.state.apply_at(at_ms, event);
        self.drive.observer.event(event, &self.drive.sweep.state);
    }

    fn warn(&mut self, warning: &Warning) {
        self.drive.observer.warning(warning);
    }

    fn trials(&self) -> impl Iterator<Item = &TrialState> {
        self.drive.sweep.state.trials.values()
    }

    /// The state of a trial that was journalled, as every trial with a number here was.
    fn state(&self, id: TrialId) -> &TrialState {
        &self.drive.sweep.state.trials[&id]
    }
}
