//! The workers of a sweep as the driver sees them: started, ready, ended, lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use spec::TrialId;
use store::Orders;

use crate::error::WorkerError;
use crate::launch::{Handle, Hint, Launcher, Submission, WorkerCommand};
use crate::orders::{Envelope, Order};

/// What a worker is to be started for.
#[derive(Debug, Clone, Copy)]
pub struct Berth<'a> {
    /// The worker's name.
    pub name: &'a str,
    /// Its place among the workers that run at a time, from 0: which device it takes.
    pub index: usize,
    /// It comes after all that is numbered up to this.
    pub seq: u64,
}

/// How far a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It loads the base model, or waits in a queue.
    Starting,
    /// It takes trials.
    Ready,
    /// It was told to end.
    Ending,
    /// It said that it has ended.
    Ended,
}

/// A worker process, from its start until it is known to be gone.
#[derive(Debug)]
pub(super) struct Worker {
    pub name: String,
    pub berth: usize,
    pub phase: Phase,
    /// Which process of its name works.
    pub number: u32,
    pub device: String,
    pub capacity: usize,
    /// Trials it was given.
    pub trials: Vec<TrialId>,
    /// An earlier driver has started it.
    pub is_adopted: bool,
    /// It waits in a queue, nobody knows how long.
    pub is_queued: bool,
    /// Why it could not go on.
    pub error: Option<String>,
    /// What its device answered last.
    pub device_error: Option<String>,
    handle: Option<Handle>,
    orders: Orders,
    batch: Vec<Order>,
    /// When it last gave a sign of life, by this process's clock.
    last_sign: Instant,
    beats: u64,
    /// Why it was ended by force.
    killed: Option<(String, Instant)>,
}

impl Worker {
    pub fn new(name: String, berth: usize, handle: Option<Handle>, orders: Orders) -> Self {
        Self {
            name,
            berth,
            phase: Phase::Starting,
            number: 0,
            device: String::new(),
            capacity: 0,
            trials: Vec::new(),
            is_adopted: false,
            is_queued: false,
            error: None,
            device_error: None,
            handle,
            orders,
            batch: Vec::new(),
            last_sign: Instant::now(),
            beats: 0,
            killed: None,
        }
    }

    /// An order that goes out with the next [`Fleet::deliver`].
    pub fn order(&mut self, order: Order) {
        self.batch.push(order);
    }

    /// It has shown that it lives.
    pub fn sign(&mut self) {
        self.last_sign = Instant::now();
    }

    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// It was started by an earlier driver and has not reported yet. One in a queue has nothing to
    /// report.
    pub fn is_taken_over(&self) -> bool {
        self.is_adopted && self.phase == Phase::Starting && !self.is_queued
    }
}

/// All workers that are not known to be gone.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    pub workers: Vec<Worker>,
    last_poll: Option<Instant>,
    last_beats: Option<Instant>,
}

impl Fleet {
    pub fn get(&mut self, name: &str) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.name == name)
    }

    /// The worker that has a trial.
    pub fn with_trial(&mut self, trial: TrialId) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.trials.contains(&trial))
    }

    pub fn trials(&self) -> impl Iterator<Item = TrialId> {
        self.workers.iter().flat_map(|worker| worker.trials.iter().copied())
    }

    pub fn has(&self, trial: TrialId) -> bool {
        self.trials().any(|other| other == trial)
    }

    /// Workers that take trials now or will soon.
    pub fn at_work(&self) -> usize {
        let is_at_work = |worker: &&Worker| match worker.phase {
            Phase::Starting => !worker.is_queued,
            Phase::Ready => true,
            Phase::Ending | Phase::Ended => false,
        };
        self.workers.iter().filter(is_at_work).count()
    }

    pub fn ready(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.workers.iter_mut().filter(|worker| worker.is_ready())
    }

    /// Takes a trial from whoever has it; false when nobody has.
    pub fn take(&mut self, trial: TrialId) -> bool {
        let Some(worker) = self.with_trial(trial) else { return false };
        worker.trials.retain(|&other| other != trial);
        true
    }

    /// Starts a worker.
    pub fn submit(
        &mut self,
        launcher: &mut dyn Launcher,
        command: &WorkerCommand,
        berth: usize,
        orders: Orders,
    ) -> Result<(), WorkerError> {
        let handle = match launcher.submit(command).map_err(WorkerError::Launch)? {
            Submission::Known(handle) => Some(handle),
            Submission::Uncertain { .. } => None,
        };
        self.workers.push(Worker::new(command.name.clone(), berth, handle, orders));
        Ok(())
    }

    /// Writes the orders that were given since the last call.
    pub fn deliver(&mut self, launcher: &mut dyn Launcher, seq: u64) -> Result<(), WorkerError> {
        for worker in self.workers.iter_mut().filter(|worker| !worker.batch.is_empty()) {
            let to = worker.number;
            let batch = std::mem::take(&mut worker.batch).into_iter();
            let envelopes: Vec<_> = batch.map(|order| Envelope { seq, to, order }).collect();
            worker.orders.give(&envelopes)?;
            if let Some(handle) = &worker.handle {
                launcher.nudge(handle).map_err(WorkerError::Launch)?;
            }
        }
        Ok(())
    }

    /// Ends workers that have given no sign of life for too long, and returns those that are known
    /// to be gone, with what became of them. They stay until [`Fleet::remove`], so that what they
    /// wrote last can still be read.
    pub fn look(
        &mut self,
        launcher: &mut dyn Launcher,
        limits: &Limits,
        beat_of: impl Fn(&str) -> Option<u64>,
    ) -> Result<Vec<(String, String)>, WorkerError> {
        if self.last_poll.is_some_and(|at| at.elapsed() < limits.poll_every) {
            return Ok(Vec::new());
        }
        self.last_poll = Some(Instant::now());
        if self.workers.iter().any(|worker| worker.handle.is_none()) {
            // A cluster that does not answer now does later; until then the worker is in doubt.
            let mut found = launcher.find().unwrap_or_default();
            for worker in self.workers.iter_mut().filter(|worker| worker.handle.is_none()) {
                worker.handle = found.remove(&worker.name);
            }
        }
        let handles: Vec<Handle> = self.workers.iter().filter_map(|w| w.handle.clone()).collect();
        let hints = launcher.poll(&handles).map_err(WorkerError::Launch)?;
        self.read_beats(limits, beat_of);
        let mut gone = Vec::new();
        for worker in &mut self.workers {
            if let Some(how) = worker.look(launcher, &hints, limits)? {
                gone.push((worker.name.clone(), how));
            }
        }
        Ok(gone)
    }

    /// Takes the trials of workers that were at work and wait in a queue now: what ran them is gone,
    /// and nobody knows when they begin again.
    pub fn queued_again(&mut self) -> Vec<(String, Vec<TrialId>)> {
        let is_back = |worker: &&mut Worker| worker.is_queued && worker.is_ready();
        let taken = self.workers.iter_mut().filter(is_back).map(|worker| {
            worker.phase = Phase::Starting;
            (worker.name.clone(), std::mem::take(&mut worker.trials))
        });
        taken.collect()
    }

    /// Forgets a worker that is gone.
    pub fn remove(&mut self, name: &str) -> Option<Worker> {
        let place = self.workers.iter().position(|worker| worker.name == name)?;
        Some(self.workers.remove(place))
    }

    fn read_beats(&mut self, limits: &Limits, beat_of: impl Fn(&str) -> Option<u64>) {
        if self.last_beats.is_some_and(|at| at.elapsed() < limits.silence / 20) {
            return;
        }
        self.last_beats = Some(Instant::now());
        for worker in &mut self.workers {
            if let Some(beats) = beat_of(&worker.name).filter(|&beats| beats != worker.beats) {
                worker.beats = beats;
                worker.sign();
            }
        }
    }
}

/// When a worker is looked at and when it is given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Time between two questions about what became of the workers.
    pub poll_every: Duration,
    /// The longest time without a sign of life.
    pub silence: Duration,
}

impl Worker {
    /// What became of it, when it is gone.
    fn look(
        &mut self,
        launcher: &mut dyn Launcher,
        hints: &BTreeMap<Handle, Hint>,
        limits: &Limits,
    ) -> Result<Option<String>, WorkerError> {
        let hint = self.handle.as_ref().and_then(|handle| hints.get(handle));
        match hint {
            Some(Hint::Gone { how }) => {
                return Ok(Some(self.killed.take().map_or_else(|| how.clone(), |(why, _)| why)));
            }
            Some(Hint::Queued { .. }) => self.sign(),
            Some(Hint::Running { .. } | Hint::Unknown { .. }) | None => {}
        }
        self.is_queued = matches!(hint, Some(Hint::Queued { .. }));
        if self.last_sign.elapsed() < limits.silence {
            return Ok(None);
        }
        if let Some((why, at)) = &self.killed {
            return Ok((at.elapsed() > limits.silence).then(|| why.clone()));
        }
        let why = format!(
            "it gave no sign of life for {} s (executor.heartbeat_seconds) and was ended",
            limits.silence.as_secs()
        );
        self.kill(launcher)?;
        self.killed = Some((why, Instant::now()));
        Ok(None)
    }

    /// Ends it without waiting for a sign.
    pub fn kill(&mut self, launcher: &mut dyn Launcher) -> Result<(), WorkerError> {
        if let Some(handle) = &self.handle {
            launcher.kill(handle).map_err(WorkerError::Launch)?;
        }
        Ok(())
    }
}
