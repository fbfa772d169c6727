//! A worker: takes orders, trains what it was given, and journals what happens to it.
//!
//! Orders that make a crash harmless:
//! - an ended trial's adapter is on disk before its end is journalled, so that a journalled end is
//!   never without it;
//! - so is an epoch's adapter before its evaluation is journalled;
//! - the journal is durable up to a checkpoint's step before the checkpoint counts
//!   (`store::WorkerDir::save_checkpoint`), so that no point before it can be missing;
//! - an attempt at a trial is claimed before it begins. A worker that finds a later claim lets go
//!   of the trial, and what it wrote meanwhile does not count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use spec::{
    Admission, BaseForm, Event, Outcome, ReturnCause, SaveStrategy, Trainer, TrainerError, TrialId,
};
use store::{Purpose, StoreError, WorkerDir};

use crate::error::chain;
use crate::observer::Warning;
use crate::orders::{Assignment, Envelope, Order};

mod keep;

/// Why a worker cannot go on. What it was training goes on from its checkpoints elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The results folder cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The base model cannot be evaluated.
    #[error("failed to evaluate the base model")]
    Base(#[source] TrainerError),
    /// The test rows cannot be evaluated.
    #[error("failed to evaluate the test rows")]
    Test(#[source] TrainerError),
    /// The device does not answer any more, and with it nothing that it held.
    #[error("the device is lost")]
    Device(#[source] TrainerError),
}

/// How a worker works.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Time between checkpoints of the running trials.
    pub checkpoint_every: Duration,
    /// Which adapters are kept.
    pub save_strategy: SaveStrategy,
    /// Time between signs of life.
    pub beat_every: Duration,
    /// Set from outside to save and end after the current step.
    pub stop: Arc<AtomicBool>,
}

/// What a turn of a worker came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It did something.
    Worked,
    /// It waits for orders.
    Idle,
    /// It has saved everything and ended.
    Ended,
}

/// A trial in a slot.
#[derive(Debug)]
struct Slot {
    assignment: Assignment,
    step: u32,
    /// Step and validation loss of the best evaluation.
    best: Option<(u32, f64)>,
    /// It waits to be judged at this step.
    waits_at: Option<u32>,
    /// The trainer leaves it out of its steps meanwhile.
    is_held: bool,
}

impl Slot {
    const fn id(&self) -> TrialId {
        self.assignment.trial.id
    }
}

/// A worker with its trainer and its files.
pub struct Serve<T: ?Sized> {
    trainer: Box<T>,
    dir: WorkerDir,
    settings: ServeSettings,
    /// Tells the driver that there is something to read.
    tell: Box<dyn FnMut()>,
    slots: Vec<Slot>,
    last_checkpoint: Instant,
    /// When it last showed that it lives, and with which trials.
    last_beat: Option<(Instant, Vec<TrialId>)>,
    is_ending: bool,
    has_news: bool,
    /// Time in which the trainer trained or evaluated.
    busy: Duration,
    /// Once is enough: the next trial's command names as little.
    has_told_of_nothing_kept: bool,
}

impl<T: Trainer + ?Sized> Serve<T> {
    /// A worker that is ready to take orders; says so in its journal. `tell` is called when there
    /// is something for the driver to act on.
    pub fn begin(
        trainer: Box<T>,
        dir: WorkerDir,
        settings: ServeSettings,
        tell: Box<dyn FnMut()>,
    ) -> Result<Self, ServeError> {
        let mut serve = Self {
            trainer,
            dir,
            settings,
            tell,
            slots: Vec::new(),
            last_checkpoint: Instant::now(),
            last_beat: None,
            is_ending: false,
            has_news: false,
            busy: Duration::ZERO,
            has_told_of_nothing_kept: false,
        };
        serve.beat_if_due()?;
        serve.report()?;
        serve.tell_news();
        Ok(serve)
    }

    /// Says that it is ready.
    fn report(&mut self) -> Result<(), ServeError> {
        let started = Event::WorkerStarted {
            worker: self.dir.name().to_owned(),
            place: store::this_host(),
            device: self.trainer.device(),
            capacity: self.capacity(),
        };
        self.record(None, &[started])
    }

    /// Works until it is told to end. `wait` waits for orders, at most so long.
    pub fn run(mut self, mut wait: impl FnMut(Duration)) -> Result<(), ServeError> {
        /// Orders are looked for at least so often.
        const LONGEST_WAIT: Duration = Duration::from_millis(250);
        loop {
            match self.turn()? {
                Turn::Worked => {}
                Turn::Idle => wait(LONGEST_WAIT.min(self.settings.beat_every)),
                Turn::Ended => return Ok(()),
            }
        }
    }

    /// Takes orders, then a step if there is one to take. An error is journalled as the worker's end.
    pub fn turn(&mut self) -> Result<Turn, ServeError> {
        let turn = self.take_turn().or_else(|error| {
            self.look_at_device()?;
            Err(error)
        });
        if let Err(error) = &turn {
            let device_lost = matches!(error, ServeError::Device(_));
            // The driver sees the end of the process if this cannot be written either.
            let _ = self.record_end(Some(chain(error)), device_lost);
        }
        self.tell_news();
        turn
    }

    /// After an error: where the device is lost, no trial is to blame and nothing else can be done here.
    fn look_at_device(&self) -> Result<(), ServeError> {
        self.trainer.check_device().map_err(ServeError::Device)
    }

    /// The trainer, to look at.
    pub const fn trainer(&self) -> &T {
        &self.trainer
    }

    fn take_turn(&mut self) -> Result<Turn, ServeError> {
        let orders: Vec<Envelope> = self.dir.take_orders()?;
        let had_orders = !orders.is_empty();
        for Envelope { seq, to, order } in orders {
            self.dir.has_seen(seq);
            if to == self.dir.number() || to == 0 {
                self.obey(order)?;
            } else {
                // Another process has taken this one's name and work over.
                self.is_ending |= to > self.dir.number();
            }
        }
        self.beat_if_due()?;
        if self.is_ending || self.settings.stop.load(Ordering::Relaxed) {
            self.checkpoint_all()?;
            self.record_end(None, false)?;
            return Ok(Turn::Ended);
        }
        let waits = |slot: &Slot| slot.waits_at.is_some();
        let must_wait = self.slots.iter().any(|slot| waits(slot) && !slot.is_held);
        if must_wait || self.slots.iter().all(waits) {
            return Ok(if had_orders { Turn::Worked } else { Turn::Idle });
        }
        self.step()?;
        if self.last_checkpoint.elapsed() >= self.settings.checkpoint_every {
            self.checkpoint_all()?;
        }
        Ok(Turn::Worked)
    }

    fn obey(&mut self, order: Order) -> Result<(), ServeError> {
        match order {
            Order::EvaluateBase { form } => self.evaluate_base(form),
            Order::Train(assignment) => self.start(*assignment),
            Order::GoOn { trial, step } => {
                self.go_on(trial, step);
                Ok(())
            }
            Order::Stop { trial, reason, pause } => {
                let is_kept = pause && self.keep(trial)?;
                self.end(trial, Outcome::Stopped { reason }, is_kept)
            }
            Order::Test { trials, form } => self.test(&trials, form),
            Order::Report => {
                self.checkpoint_all()?;
                for id in self.slots.iter().map(Slot::id).collect::<Vec<_>>() {
                    self.release(id);
                }
                self.report()
            }
            Order::End => {
                self.is_ending = true;
                Ok(())
            }
        }
    }

    fn evaluate_base(&mut self, form: Option<BaseForm>) -> Result<(), ServeError> {
        let evaluation =
            self.busily(|trainer| trainer.evaluate_base(form)).map_err(ServeError::Base)?;
        let examples = self.trainer.base_example_losses(form);
        let answers = self.trainer.base_answers(form);
        if let Some(quantization) = form {
            let evaluated =
                Event::QuantizedBaseEvaluated { quantization, evaluation, examples, answers };
            return self.record(None, &[evaluated]);
        }
        let of_base =
            |examples| Event::ExamplesEvaluated { trial: TrialId::BASE, step: 0, examples };
        let scored = |answers| Event::AnswersScored { trial: TrialId::BASE, answers };
        // The event that the driver acts on comes last.
        let evaluated = Event::BaseEvaluated { evaluation };
        let events =
            examples.map(of_base).into_iter().chain(answers.map(scored)).chain([evaluated]);
        let events: Vec<Event> = events.collect();
        self.record(None, &events)
    }

    fn test(&mut self, trials: &[TrialId], form: Option<BaseForm>) -> Result<(), ServeError> {
        for &trial in trials {
            let adapter = self.dir.folder().adapter(trial);
            if trial != TrialId::BASE && adapter.is_none() {
                continue;
            }
            if let Some(Err(damage)) = adapter.as_deref().map(store::verify_adapter) {
                self.warn(trial, None, &Warning::DamagedAdapter { trial, damage })?;
                continue;
            }
            let tested = self.busily(|trainer| trainer.evaluate_test(adapter.as_deref(), form));
            let tested = tested.map_err(ServeError::Test)?;
            let event = tested.map(|test| Event::TestEvaluated { trial, test });
            self.record(None, event.as_slice())?;
        }
        Ok(())
    }

    /// Gives a trial a slot, from its checkpoint when it has a good one.
    fn start(&mut self, assignment: Assignment) -> Result<(), ServeError> {
        let (id, attempt) = (assignment.trial.id, Some(assignment.attempt));
        let is_here = self.slots.iter().any(|slot| slot.id() == id);
        if is_here || !self.dir.claim(id, assignment.attempt)? {
            return self.give_back(vec![id], attempt, ReturnCause::Superseded);
        }
        match self.admit(&assignment)? {
            Ok((Admission::NoRoom, _)) => self.give_back(vec![id], attempt, ReturnCause::NoRoom),
            Ok((Admission::Admitted { from_step, total_steps }, continues)) => {
                let device = self.trainer.device();
                let is_judged = assignment.is_judged;
                let history = match continues {
                    Some(_) => &assignment.fork_evaluated,
                    None => &assignment.evaluated,
                };
                let before = history.iter().filter(|(step, _)| *step <= from_step);
                let best = before.min_by(|a, b| a.1.total_cmp(&b.1)).copied();
                self.slots.push(Slot {
                    assignment,
                    step: from_step,
                    best,
                    waits_at: None,
                    is_held: false,
                });
                let started =
                    Event::TrialStarted { trial: id, device, from_step, total_steps, continues };
                self.record(attempt, &[started])?;
                // The process may have ended between an evaluation and its judgement.
                if from_step > 0 && is_judged {
                    self.wait_to_be_judged(id, from_step);
                }
                Ok(())
            }
            Err(error) => {
                self.look_at_device()?;
                let outcome = Outcome::Failed { error: chain(&*error) };
                self.record(attempt, &[Event::TrialFinished { trial: id, outcome }])?;
                Ok(self.dir.discard_checkpoint(id, Purpose::Resume)?)
            }
        }
    }

    /// Puts a trial into the trainer: from its own checkpoint, from the fork of a trial that shares
    /// its steps (which is returned), or from the beginning.
    #[allow(clippy::type_complexity, reason = "the trial's own error inside the worker's")]
    fn admit(
        &mut self,
        assignment: &Assignment,
    ) -> Result<Result<(Admission, Option<TrialId>), TrainerError>, ServeError> {
        let (trial, attempt) = (&assignment.trial, Some(assignment.attempt));
        let mut places = vec![(trial.id, Purpose::Resume, None)];
        places.extend(assignment.fork.map(|sibling| (sibling, Purpose::Fork, Some(sibling))));
        for (owner, purpose, continues) in places {
            let warning = match self.dir.folder().checkpoint(owner, purpose) {
                Ok(None) => continue,
                Ok(Some(found)) => match self.trainer.admit(trial, Some(&found.path)) {
                    Ok(admitted) => return Ok(Ok((admitted, continues))),
                    Err(error) => {
                        self.look_at_device()?;
                        Warning::RefusedCheckpoint { trial: trial.id, error: chain(&*error) }
                    }
                },
                Err(damage) => Warning::DamagedCheckpoint { trial: trial.id, damage },
            };
            self.warn(trial.id, attempt, &warning)?;
        }
        Ok(self.trainer.admit(trial, None).map(|admitted| (admitted, None)))
    }

    /// One step of all slots that take part, and what follows from it.
    fn step(&mut self) -> Result<(), ServeError> {
        let events = match self.busily(Trainer::step) {
            Ok(events) => events,
            Err(error) => return self.step_failed(&error),
        };
        let mut ends = Vec::new();
        for event in events {
            match event {
                Event::TrialFinished { trial, outcome } => ends.push((trial, outcome)),
                event => self.progress(&event)?,
            }
        }
        for (trial, outcome) in ends {
            self.end(trial, outcome, false)?;
        }
        Ok(())
    }

    fn progress(&mut self, event: &Event) -> Result<(), ServeError> {
        if let Event::Evaluated { trial, evaluation } = event {
            self.keep_epoch(*trial, evaluation)?;
        }
        let id = event.trial();
        let slot = self.slots.iter().find(|slot| Some(slot.id()) == id);
        self.record(slot.map(|slot| slot.assignment.attempt), std::slice::from_ref(event))?;
        let Some(slot) = self.slots.iter_mut().find(|slot| Some(slot.id()) == id) else {
            return Ok(());
        };
        let (id, is_judged) = (slot.id(), slot.assignment.is_judged);
        match event {
            Event::Trained { point, .. } => {
                slot.step = point.step;
                self.fork_if_shared(id, false)?;
            }
            Event::Evaluated { evaluation, .. } => {
                // Not every trainer tells of the steps between.
                slot.step = slot.step.max(evaluation.step);
                let here = (evaluation.step, evaluation.eval_loss);
                slot.best = slot.best.filter(|best| best.1 <= here.1).or(Some(here));
                if is_judged {
                    self.wait_to_be_judged(id, evaluation.step);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The fault of a step that several trials shared cannot be told, so that none is failed for
    /// it: the driver lets them go on from their checkpoints, one at a time.
    fn step_failed(&mut self, error: &TrainerError) -> Result<(), ServeError> {
        self.look_at_device()?;
        let error = chain(&**error);
        let stepped: Vec<TrialId> =
            self.slots.iter().filter(|slot| !slot.is_held).map(Slot::id).collect();
        if let [only] = stepped[..] {
            return self.end(only, Outcome::Failed { error }, false);
        }
        for &trial in &stepped {
            self.release(trial);
        }
        self.give_back(stepped, None, ReturnCause::SharedStepFailed { error })
    }

    fn give_back(
        &mut self,
        trials: Vec<TrialId>,
        attempt: Option<u32>,
        cause: ReturnCause,
    ) -> Result<(), ServeError> {
        let capacity = self.capacity();
        self.record(attempt, &[Event::TrialsReturned { trials, cause, capacity }])
    }

    fn wait_to_be_judged(&mut self, id: TrialId, step: u32) {
        let is_held = self.trainer.hold(id, true);
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.id() == id) {
            (slot.waits_at, slot.is_held) = (Some(step), is_held);
        }
    }

    fn go_on(&mut self, id: TrialId, step: u32) {
        let judged = |slot: &&mut Slot| slot.id() == id && slot.waits_at == Some(step);
        if let Some(slot) = self.slots.iter_mut().find(judged) {
            slot.waits_at = None;
            if std::mem::take(&mut slot.is_held) {
                self.trainer.hold(id, false);
            }
        }
    }

    fn record_end(&mut self, error: Option<String>, device_lost: bool) -> Result<(), ServeError> {
        let (worker, peak_bytes) = (self.dir.name().to_owned(), self.trainer.peak_bytes());
        let busy_seconds = Some(self.busy.as_secs_f64());
        let ended = Event::WorkerEnded { worker, error, peak_bytes, busy_seconds, device_lost };
        self.record(None, &[ended])
    }

    /// Has the trainer work, and counts the time.
    fn busily<R>(&mut self, work: impl FnOnce(&mut T) -> R) -> R {
        let began = Instant::now();
        let result = work(&mut self.trainer);
        self.busy += began.elapsed();
        result
    }

    fn warn(
        &mut self,
        trial: TrialId,
        attempt: Option<u32>,
        warning: &Warning,
    ) -> Result<(), ServeError> {
        self.record(attempt, &[Event::Warned { trial, text: warning.to_string() }])
    }

    fn record(&mut self, attempt: Option<u32>, events: &[Event]) -> Result<(), ServeError> {
        let is_news = |e: &Event| !matches!(e, Event::Trained { .. } | Event::Checkpointed { .. });
        self.has_news |= events.iter().any(is_news);
        Ok(self.dir.record(attempt, events)?)
    }

    fn tell_news(&mut self) {
        if std::mem::take(&mut self.has_news) {
            (self.tell)();
        }
    }

    /// Shows that it lives, and at once when its trials have changed.
    fn beat_if_due(&mut self) -> Result<(), ServeError> {
        let trials: Vec<TrialId> = self.slots.iter().map(Slot::id).collect();
        let every = self.settings.beat_every;
        let is_shown =
            |(at, shown): &(Instant, Vec<TrialId>)| at.elapsed() < every && *shown == trials;
        if self.last_beat.as_ref().is_some_and(is_shown) {
            return Ok(());
        }
        self.dir.beat(&trials)?;
        self.is_ending |= self.dir.folder().is_cancelled();
        self.last_beat = Some((Instant::now(), trials));
        Ok(())
    }

    fn release(&mut self, id: TrialId) {
        self.trainer.release(id);
        self.slots.retain(|slot| slot.id() != id);
    }

    fn slot(&self, id: TrialId) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.id() == id)
    }

    fn capacity(&self) -> u32 {
        self.trainer.capacity().max(1) as u32
    }
}
