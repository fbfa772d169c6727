//! What a sweep's adapters and checkpoints will take on disk.

use std::path::Path;

use serde::Serialize;
use spec::{SaveStrategy, TrainSettings, Trial};
use trainer::adapter::AdapterLayout;
use trainer::model::DecoderConfig;
use trainer::plan::Work;

use super::{bytes, grouped};
use crate::plan::checkpoints::Checkpoints;
use crate::plan::workload::Workload;

/// Bytes of one of an adapter's values on disk.
const VALUE_BYTES: u64 = 4;

/// What a sweep writes, and what there is room for.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Room {
    /// Absent for trials without end.
    pub adapters: Option<Disk>,
    /// While it runs.
    pub checkpoints: Checkpoints,
    /// Bytes free where the results go; absent where the system does not tell.
    pub free: Option<u64>,
}

impl Room {
    /// One line for people.
    pub fn in_words(&self, results: &Path) -> String {
        let adapters = match &self.adapters {
            Some(adapters) => adapters.in_words(),
            None => "the adapter of each trial".to_owned(),
        };
        let free = match self.free {
            Some(free) => format!("; {} are free in `{}`", bytes(free), results.display()),
            None => String::new(),
        };
        let trials = match self.checkpoints.trials() {
            1 => "1 trial".to_owned(),
            several => format!("{} trials", grouped(several)),
        };
        let checkpoints = bytes(self.checkpoints.bytes());
        format!("disk: {adapters}, and {checkpoints} for checkpoints of {trials} at a time{free}\n")
    }

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
pub struct Disk {
    /// Those of the trials' best evaluations, and the copy of the sweep's best one.
    best_adapters: u64,
    /// Those of the epochs' ends.
    epoch_adapters: u64,
    bytes: u64,
}

impl Disk {
    /// What `trials` leave; where they are a sample of `total` trials, what so many would.
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

    fn in_words(&self) -> String {
        let each = match self.epoch_adapters {
            0 => String::new(),
            count => format!(" and of {} epochs", grouped(count)),
        };
        format!(
            "up to {} for the adapters of {} best evaluations{each}",
            bytes(self.bytes),
            grouped(self.best_adapters - 1)
        )
    }
}

/// Epochs whose ends the trial comes to itself; a shorter one comes to the others for it.
fn own_epochs(trial: &Trial, work: &Work) -> u64 {
    let per_epoch = (work.steps / trial.config.epochs.max(1)).max(1);
    u64::from(trial.config.epochs.saturating_sub(work.shared_steps / per_epoch))
}
