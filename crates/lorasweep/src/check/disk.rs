//! What a sweep's adapters and checkpoints will take on disk.

use std::path::Path;

use serde::Serialize;
use spec::{SaveStrategy, TrainSettings, Trial};
use trainer::adapter::AdapterLayout;
use trainer::model::DecoderConfig;
use trainer::plan::Work;

use crate::plan::checkpoints::Checkpoints;
use crate::plan::workload::Workload;

/// Bytes of one of an adapter's values on disk.
const VALUE_BYTES: u64 = 4;

/// What a sweep writes, and what there is room for.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct DiskPlan {
    /// Absent for trials without end.
    pub adapters: Option<AdaptersOnDisk>,
    /// While it runs.
    pub checkpoints: Checkpoints,
    /// Bytes free where the results go; absent where the system does not report it.
    pub free: Option<u64>,
}

impl DiskPlan {
    /// What to warn of.
    pub fn warning(&self, results: &Path) -> Option<String> {
        let adapters = self.adapters.map_or(0, |adapters| adapters.bytes);
        let needed = self.checkpoints.bytes().saturating_add(adapters);
        let free = self.free.filter(|free| *free < needed)?;
        Some(format!(
            "the sweep may not fit on the disk: adapters and checkpoints take up to {needed} bytes, \
             and {free} are free in `{}`",
            results.display()
        ))
    }
}

/// The adapters that a sweep leaves at most, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AdaptersOnDisk {
    /// Those of the trials' best evaluations, and the copy of the sweep's best one.
    pub best_adapters: u64,
    /// Those of the epochs' ends.
    pub epoch_adapters: u64,
    /// Bytes of all.
    pub bytes: u64,
}

impl AdaptersOnDisk {
    /// What `trials` leave; where they are a sample of `total` trials, what all would.
    pub fn of(
        decoder: &DecoderConfig,
        trials: &[Trial],
        work: &Workload,
        train: &TrainSettings,
        total: usize,
    ) -> Self {
        let (mut epochs, mut sum, mut largest) = (0, 0, 0);
        for (trial, (_, work)) in trials.iter().zip(work.trials()) {
            let adapter = AdapterLayout::of_trial(decoder, &trial.config).len as u64 * VALUE_BYTES;
            let own = match train.save_strategy {
                SaveStrategy::Best => 0,
                SaveStrategy::Epoch => own_epochs(trial, work),
            };
            epochs += own;
            sum += (1 + own) * adapter;
            largest = adapter.max(largest);
        }
        let (known, total) = ((trials.len() as u64).max(1), total as u64);
        let of_all =
            |count: u64| (u128::from(count) * u128::from(total) / u128::from(known)) as u64;
        Self {
            best_adapters: total + 1,
            epoch_adapters: of_all(epochs),
            bytes: of_all(sum) + largest,
        }
    }
}

/// Epochs whose ends the trial comes to itself; a shorter one comes to the others for it.
fn own_epochs(trial: &Trial, work: &Work) -> u64 {
    let per_epoch = (work.steps / trial.config.epochs.max(1)).max(1);
    u64::from(trial.config.epochs.saturating_sub(work.shared_steps / per_epoch))
}
