//! Which worker gets which trial.

use spec::{Outcome, StopReason, Trial, TrialId, TrialState};

use super::{Run, is_target_reached, missing_bases};
use crate::error::WorkerError;
use crate::orders::{Assignment, Order};

impl Run<'_> {
    /// Gives every free slot a trial: first those the journal left unfinished, then stopped ones that
    /// are to go on, then new ones. A trial whose steps another is taking waits for it.
    pub(super) fn fill(&mut self) -> Result<(), WorkerError> {
        if !self.has_base() || self.drive.sweep.state.finished {
            return Ok(());
        }
        loop {
            if is_target_reached(&self.drive) {
                return self.stop_for_target();
            }
            if self.is_ordered {
                self.decide()?;
            }
            let free = self.free_slots();
            let next = self.waiting.iter().position(|&id| !self.must_wait(id));
            let next = next.filter(|_| free > 0).and_then(|place| self.waiting.remove(place));
            let has_changed = match next {
                Some(trial) => self.start(trial).map(|()| true)?,
                None if self.is_ordered => self.break_deadlock()?,
                None => free > 0 && self.propose(free)? > 0,
            };
            if !has_changed {
                return Ok(());
            }
        }
    }

    /// Sees that the base model is evaluated, in all forms that trials are measured against.
    fn has_base(&mut self) -> bool {
        let missing = missing_bases(&self.drive);
        let is_known = missing.is_empty();
        if !is_known
            && self.base_from.is_none()
            && let Some(worker) = self.fleet.ready().next()
        {
            for form in missing {
                worker.order(Order::EvaluateBase { form });
            }
            self.base_from = Some(worker.name.clone());
        }
        // Trials of a worker that was taken over are not given to another before it has reported.
        is_known && !self.fleet.workers.iter().any(super::fleet::Worker::is_taken_over)
    }

    /// Trials that ready workers can take now.
    fn free_slots(&self) -> usize {
        let ready = self.fleet.workers.iter().filter(|worker| worker.is_ready());
        ready.map(|worker| self.room(worker.capacity).saturating_sub(worker.trials.len())).sum()
    }

    /// Trials that a worker may have at a time: no more than its share of those that are left, so
    /// that none is idle while another has several.
    fn room(&self, capacity: usize) -> usize {
        if !self.suspects.is_empty() {
            return 1;
        }
        let Some(total) = self.drive.planner.total() else { return capacity.max(1) };
        let ended = self.trials().filter(|trial| trial.outcome().is_some()).count();
        let share = total.saturating_sub(ended).div_ceil(self.fleet.at_work().max(1));
        capacity.min(share).max(1)
    }

    /// Journals that a stopped trial goes on, or else up to `count` new ones, and returns how many
    /// there were.
    fn propose(&mut self, count: usize) -> Result<usize, WorkerError> {
        if self.is_exhausted {
            return Ok(0);
        }
        if self.promote()? {
            return Ok(1);
        }
        let trials = self.drive.planner.suggest(&self.drive.sweep.state, count);
        let proposed = trials.len();
        self.is_exhausted = proposed == 0;
        for trial in trials {
            self.record_proposal(trial, None, false)?;
        }
        Ok(proposed)
    }

    /// Gives `id` to the worker with the most free slots.
    fn start(&mut self, id: TrialId) -> Result<(), WorkerError> {
        let trial = self.state(id).trial.clone();
        if let Some(sibling) = self.already_taken(&trial) {
            return self.observe(&trial, sibling);
        }
        let assignment = self.assignment(trial)?;
        let room = |capacity| self.room(capacity);
        let rooms: Vec<usize> =
            self.fleet.workers.iter().map(|worker| room(worker.capacity)).collect();
        let workers = self.fleet.workers.iter_mut().zip(rooms);
        let free =
            workers.filter(|(worker, room)| worker.is_ready() && worker.trials.len() < *room);
        // Of equals the first, so that a sweep on one machine goes the same way every time.
        let most_free = free.min_by_key(|(worker, room)| worker.trials.len() as i64 - *room as i64);
        match most_free {
            Some((worker, _)) => {
                worker.trials.push(id);
                worker.order(Order::Train(Box::new(assignment)));
            }
            None => self.waiting.push_front(id),
        }
        Ok(())
    }

    fn assignment(&mut self, trial: Trial) -> Result<Assignment, WorkerError> {
        let attempt = self.drive.sweep.dir.next_attempt(trial.id)?;
        let fork = self.fork_for(&trial);
        let evaluated = |trial: &TrialState| -> Vec<(u32, f64)> {
            trial.evaluations.iter().map(|e| (e.step, e.eval_loss)).collect()
        };
        Ok(Assignment {
            attempt,
            fork,
            evaluated: evaluated(self.state(trial.id)),
            fork_evaluated: fork.map_or_else(Vec::new, |sibling| evaluated(self.state(sibling))),
            shared: self.shared_steps(&trial),
            is_judged: self.drive.pruner.is_some(),
            trial,
        })
    }

    /// Ends every trial that has not ended.
    pub(super) fn stop_for_target(&mut self) -> Result<(), WorkerError> {
        self.is_exhausted = true;
        let target = self.drive.settings.target.unwrap_or(f64::NAN);
        let reason = StopReason::TargetReached { target };
        let stopped = Outcome::Stopped { reason: reason.clone() };
        for id in std::mem::take(&mut self.waiting) {
            self.end(id, &stopped)?;
        }
        if !std::mem::replace(&mut self.is_stopping, true) {
            for id in self.fleet.trials().collect::<Vec<_>>() {
                self.order_stop(id, reason.clone(), false);
            }
        }
        Ok(())
    }
}
