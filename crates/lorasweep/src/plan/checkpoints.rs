//! What the checkpoints of the trials in training take on disk: `check` says it, and `run` does not
//! begin where they do not fit.

use serde::Serialize;
use spec::{Sweep, SweepState, Trial};
use store::SweepFolder;
use trainer::adapter::AdapterLayout;
use trainer::model::DecoderConfig;

use super::devices;
use super::workload::MemoryPlan;
use crate::error::Error;

/// Checkpoints that are on disk at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Checkpoints {
    /// Trials in training at a time, at most.
    trials: u64,
    /// Bytes of the largest one.
    bytes_each: u64,
}

/// Trials that an earlier launch has ended.
pub fn ended(earlier: &SweepState) -> usize {
    earlier.trials.values().filter(|trial| trial.outcome().is_some()).count()
}

impl Checkpoints {
    /// Those of a sweep with these trials, or some of them, and this many validation rows. Without a
    /// plan of its memory, of one trial for each worker.
    pub fn of(
        sweep: &Sweep,
        decoder: &DecoderConfig,
        trials: &[Trial],
        validation_rows: usize,
        memory: Option<&MemoryPlan>,
        total: Option<usize>,
    ) -> Result<Self, Error> {
        let values = |trial: &Trial| AdapterLayout::of_trial(decoder, &trial.config).len;
        let bytes = |trial| trainer::engine::checkpoint_bytes(values(trial), validation_rows);
        let workers = match sweep.executor.kind.slurm() {
            Some(slurm) => slurm.max_jobs as usize,
            None => devices::of(&sweep.executor)?.len(),
        };
        let at_a_time = workers * memory.map_or(1, |plan| plan.packing.slots);
        Ok(Self {
            trials: at_a_time.min(total.unwrap_or(usize::MAX)) as u64,
            bytes_each: trials.iter().map(bytes).max().unwrap_or(0),
        })
    }

    /// Bytes of all of them.
    pub const fn bytes(self) -> u64 {
        self.trials.saturating_mul(self.bytes_each)
    }

    /// How many there are.
    pub const fn trials(self) -> u64 {
        self.trials
    }

    /// An error where they do not fit into the sweep's folder, in which this many trials of the `total`
    /// have ended. Checkpoints that are there already are replaced, one at a time.
    pub fn ask_for_room(
        self,
        folder: &SweepFolder,
        ended: usize,
        total: Option<usize>,
    ) -> Result<(), Error> {
        let left = total.map_or(u64::MAX, |total| total.saturating_sub(ended) as u64);
        let running = Self { trials: self.trials.min(left), ..self };
        if running.trials == 0 {
            return Ok(());
        }
        let there = folder.checkpoint_bytes().unwrap_or(0);
        let needed = running.bytes().saturating_sub(there).max(self.bytes_each);
        let what = || match running.trials {
            1 => "a checkpoint of the trial in training".to_owned(),
            several => format!("one checkpoint of each of the {several} trials in training"),
        };
        Ok(store::ask_for_room(folder.path(), needed, what)?)
    }
}
