//! Logical time: what a trial has done, counted in its own micro-batches instead of seconds.
//!
//! Decisions that depend on the other trials (which configuration next, which trial to stop or to
//! resume) would depend on the wall clock if they saw whatever has arrived so far. So a trial has a
//! logical start, journalled with its proposal; everything that happens to it follows at
//! `start + micro-batches taken since then`, and a decision at time t sees the sweep as it was at t
//! ([`crate::SweepState::as_of`]). What the machine did in between, a crash included, does not change that
//! view. In a packed step every slot takes a micro-batch in turn, so that in a sweep left alone
//! logical time passes as real time does.

use serde::{Deserialize, Serialize};

/// The logical start of a trial, journalled with its proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogicalStart {
    /// When, in micro-batches since the sweep began.
    pub at: u64,
    /// Micro-batches of one of its optimizer steps.
    pub per_step: u32,
    /// How many trials the sweep trains at a time; the same for all of its trials.
    pub slots: u32,
}

/// The logical times at which a trial began to train: once, and again at each promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogicalClock {
    /// Micro-batches of an optimizer step.
    pub per_step: u32,
    /// How many trials the sweep trains at a time.
    pub slots: u32,
    /// Optimizer step and logical time of each beginning, ascending; never empty.
    pub starts: Vec<(u32, u64)>,
}

impl LogicalClock {
    pub(crate) fn new(start: LogicalStart) -> Self {
        let LogicalStart { at, per_step, slots } = start;
        Self { per_step: per_step.max(1), slots, starts: vec![(0, at)] }
    }

    /// When the last beginning was.
    pub fn last_start(&self) -> u64 {
        self.starts.last().map_or(0, |(_, at)| *at)
    }

    /// When `step` is taken by a trial whose first `shared` steps are another trial's. Nothing
    /// happens to a trial at its very start: a step that it did not take itself counts as its first.
    pub(crate) fn time_of(&self, step: u32, shared: u32) -> u64 {
        let begun = self.starts.iter().rev().find(|(from, _)| *from < step);
        let (from, at) = begun.or(self.starts.first()).copied().unwrap_or((0, 0));
        let taken = step.saturating_sub(from.max(shared)).max(1);
        at + u64::from(taken) * u64::from(self.per_step)
    }
}
