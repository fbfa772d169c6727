//! Workers that start, end and die, and what becomes of their trials.

use spec::{Event, Outcome, ReturnCause, TrialId};

use super::fleet::{Berth, Limits, Phase, Worker};
use super::{Run, Settings};
use crate::error::{WorkerError, after_log};
use crate::observer::Warning;
use crate::orders::Order;

/// Lines of a worker's log that are kept of a failure.
const LOG_LINES: usize = 20;

/// Workers lost in one place that had nothing to train.
#[derive(Debug, Clone, Default)]
pub(super) struct BerthLosses {
    count: u32,
    is_given_up: bool,
}

impl BerthLosses {
    /// A worker there got something done.
    pub fn forget(&mut self) {
        self.count = 0;
    }
}

impl Run<'_> {
    /// Takes over workers that an earlier driver has started.
    pub(super) fn adopt_workers(&mut self) -> Result<(), WorkerError> {
        let found = self.drive.launcher.find().map_err(WorkerError::Launch)?;
        for (berth, (name, handle)) in found.into_iter().enumerate() {
            let orders = self.drive.sweep.dir.orders(&name)?;
            let mut worker = Worker::new(name, berth, Some(handle), orders);
            worker.is_adopted = true;
            worker.order(Order::Report);
            self.fleet.workers.push(worker);
        }
        self.berths.resize(self.berths.len().max(self.fleet.workers.len()), BerthLosses::default());
        Ok(())
    }

    /// Starts workers where there are none, and sees to the trials of those that are gone.
    pub(super) fn look_after_workers(&mut self) -> Result<(), WorkerError> {
        let gone = self.gone()?;
        if !gone.is_empty() {
            // What they wrote last.
            self.listen()?;
        }
        for (name, how) in gone {
            if let Some(worker) = self.fleet.remove(&name) {
                self.clear_up(worker, how)?;
            }
        }
        for (name, trials) in self.fleet.queued_again() {
            self.forget_questions_to(&name);
            self.put_back(trials);
        }
        for index in 0..self.workers_wanted() {
            let is_taken = self.fleet.workers.iter().any(|worker| worker.berth == index);
            if !is_taken && !self.berths[index].is_given_up {
                self.start_worker(index)?;
            }
        }
        Ok(())
    }

    /// Workers that are known to be gone, with what became of them.
    pub(super) fn gone(&mut self) -> Result<Vec<(String, String)>, WorkerError> {
        let Settings { poll_every, silence, .. } = self.drive.settings;
        let limits = &Limits { poll_every, silence };
        let folder = self.drive.sweep.dir.folder().clone();
        let beat_of = |name: &str| folder.worker(name).beat().map(|beat| beat.beats);
        self.fleet.look(self.drive.launcher, limits, beat_of)
    }

    /// No more than there are trials for, as far as that is known.
    fn workers_wanted(&self) -> usize {
        if self.drive.sweep.state.finished {
            return 1;
        }
        let ended = self.trials().filter(|t| t.outcome().is_some()).count();
        if self.is_exhausted && self.waiting.is_empty() {
            return 0;
        }
        let left = self.drive.planner.total().map(|total| total.saturating_sub(ended).max(1));
        self.drive.workers.max(1).min(left.unwrap_or(usize::MAX))
    }

    fn start_worker(&mut self, index: usize) -> Result<(), WorkerError> {
        let name = self.drive.sweep.dir.new_worker()?;
        let orders = self.drive.sweep.dir.orders(&name)?;
        let berth = Berth { name: &name, index, seq: self.drive.sweep.dir.seq() };
        let command = (self.drive.command)(&berth);
        self.fleet.submit(self.drive.launcher, &command, index, orders)
    }

    /// A worker is ready, for the first time or once more (a cluster may start one again, which
    /// then has none of its trials).
    pub(super) fn worker_started(
        &mut self,
        name: &str,
        number: u32,
        device: String,
        capacity: usize,
    ) {
        let Some(worker) = self.fleet.get(name).filter(|worker| number >= worker.number) else {
            return;
        };
        if worker.phase != Phase::Ending {
            worker.phase = Phase::Ready;
        }
        (worker.number, worker.device, worker.capacity) = (number, device, capacity);
        let trials = std::mem::take(&mut worker.trials);
        self.put_back(trials);
        self.forget_questions_to(name);
    }

    /// A worker has saved everything and ended; its process will be gone soon.
    pub(super) fn worker_ended(&mut self, name: &str, number: u32, error: Option<String>) {
        let Some(worker) = self.fleet.get(name).filter(|worker| number >= worker.number) else {
            return;
        };
        let has_begun = worker.phase != Phase::Starting;
        worker.error = error;
        if worker.error.is_none() || has_begun {
            worker.phase = Phase::Ended;
        }
        let trials = std::mem::take(&mut worker.trials);
        self.put_back(trials);
        self.forget_questions_to(name);
    }

    /// Another worker is asked what this one did not answer.
    fn forget_questions_to(&mut self, name: &str) {
        self.base_from = self.base_from.take().filter(|asked| asked != name);
        self.test_from = self.test_from.take().filter(|asked| asked != name);
    }

    /// Trials that a worker gave back.
    pub(super) fn take_back(
        &mut self,
        name: &str,
        trials: Vec<TrialId>,
        cause: ReturnCause,
        capacity: usize,
    ) {
        let Some(worker) = self.fleet.get(name) else { return };
        worker.capacity = capacity;
        let is_its = |id: &TrialId| worker.trials.contains(id);
        let trials: Vec<TrialId> = trials.into_iter().filter(is_its).collect();
        if trials.is_empty() {
            return;
        }
        worker.trials.retain(|id| !trials.contains(id));
        match cause {
            ReturnCause::NoRoom => {
                for &trial in &trials {
                    self.warn(&Warning::NoRoom { trial, capacity });
                }
            }
            ReturnCause::SharedStepFailed { error } => {
                self.suspects.extend(&trials);
                self.warn(&Warning::SharedStepFailed { trials: trials.clone(), error });
            }
            ReturnCause::Superseded => {}
        }
        self.put_back(trials);
    }

    /// They are the next to be given out, in this order.
    fn put_back(&mut self, trials: Vec<TrialId>) {
        for id in trials.into_iter().rev() {
            self.pending.forget(id);
            if self.state(id).outcome().is_none() {
                self.waiting.push_front(id);
            }
        }
    }

    /// Sees to what a worker that is gone leaves.
    fn clear_up(&mut self, worker: Worker, how: String) -> Result<(), WorkerError> {
        let Worker { name, berth, phase, trials, error, .. } = worker;
        if let Some(error) = error {
            let at_start = phase == Phase::Starting;
            let others_work = self.fleet.workers.iter().any(Worker::is_ready);
            if at_start && others_work {
                self.berths[berth].is_given_up = true;
                self.warn(&Warning::WorkerGivenUp { worker: name, cause: error });
                return Ok(());
            }
            return Err(WorkerError::WorkerFailed { worker: name, error, at_start });
        }
        if phase == Phase::Ended {
            return Ok(());
        }
        self.lost(&name, berth, how, trials)
    }

    /// A worker died without a word.
    fn lost(
        &mut self,
        name: &str,
        berth: usize,
        cause: String,
        trials: Vec<TrialId>,
    ) -> Result<(), WorkerError> {
        self.forget_questions_to(name);
        let log = self.drive.sweep.dir.folder().worker(name).log_tail(LOG_LINES);
        let cause = with_lack_of_memory(cause, &log);
        let (worker, had_trials) = (name.to_owned(), !trials.is_empty());
        self.warn(&Warning::WorkerLost {
            worker: worker.clone(),
            cause: cause.clone(),
            trials: trials.clone(),
        });
        self.record(&[Event::WorkerLost {
            worker: worker.clone(),
            cause: cause.clone(),
            log: log.clone(),
            trials: trials.clone(),
        }])?;
        let (failed, retried): (Vec<_>, Vec<_>) = trials
            .into_iter()
            .partition(|&id| self.state(id).losses > self.drive.settings.max_retries);
        // One loss may be anyone's fault; after another, company must not suffer for it.
        let again = retried.iter().copied().filter(|&id| self.state(id).losses > 1);
        let again: Vec<TrialId> = again.collect();
        self.suspects.extend(again);
        self.put_back(retried);
        for id in failed {
            let times = self.state(id).losses;
            let error = format!("its worker was lost {times} times; the last time: {cause}");
            self.record(&[Event::FailureLogged { trial: id, log: log.clone() }])?;
            self.end(id, &Outcome::Failed { error })?;
        }
        if had_trials { Ok(()) } else { self.count_loss(berth, worker, cause, log) }
    }

    /// Gives a place up in which workers die before they get anything done.
    fn count_loss(
        &mut self,
        berth: usize,
        worker: String,
        cause: String,
        log: String,
    ) -> Result<(), WorkerError> {
        let losses = &mut self.berths[berth];
        losses.count += 1;
        let count = losses.count;
        if count <= self.drive.settings.max_retries {
            return Ok(());
        }
        losses.is_given_up = true;
        if self.fleet.workers.is_empty() {
            return Err(WorkerError::WorkersDie { count, worker, cause, log });
        }
        let cause = format!("{cause}{}", after_log(&log));
        self.warn(&Warning::WorkerGivenUp { worker, cause });
        Ok(())
    }

    /// Keeps the end of the log of the worker in which a trial failed.
    pub(super) fn log_failure(&mut self, id: TrialId, writer: &str) -> Result<(), WorkerError> {
        if writer.is_empty() {
            return Ok(());
        }
        let log = self.drive.sweep.dir.folder().worker(writer).log_tail(LOG_LINES);
        if log.is_empty() {
            return Ok(());
        }
        self.record(&[Event::FailureLogged { trial: id, log }])
    }
}

/// What ended a process, in words that say so where it got no memory: then it aborts with a last line
/// in its log.
fn with_lack_of_memory(cause: String, log: &str) -> String {
    let refused =
        |line: &&str| line.starts_with("memory allocation of ") && line.ends_with("failed");
    match log.lines().rev().find(refused) {
        Some(line) => format!("{cause}: it ran out of memory ({line})"),
        None => cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_got_no_memory_is_said_to_have_run_out_of_it() {
        let cause = |log: &str| with_lack_of_memory("it was ended by signal 6".to_owned(), log);
        let log = "begun\nmemory allocation of 4096 bytes failed\nstack backtrace:\n";
        assert_eq!(
            cause(log),
            "it was ended by signal 6: it ran out of memory (memory allocation of 4096 bytes failed)"
        );
        assert_eq!(cause("begun\n"), "it was ended by signal 6");
    }
}
