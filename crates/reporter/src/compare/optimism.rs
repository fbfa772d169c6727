//! How much too low the lowest of many losses is.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use spec::Objective;

use super::bootstrap::normal;
use super::candidate::Candidates;
use super::student::{TWO_SIDED, freedom_of_sum, student};

/// Draws of what other seeds would do.
const DRAWS: usize = 500;

/// A configuration under a seed that was not tried, on new rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Expected {
    /// The middle.
    pub loss: f64,
    /// Lower end of the 95 % interval, of rows and seeds.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
}

impl Expected {
    /// Costs as values of what runs are compared by.
    pub(super) fn in_values(self, objective: &Objective) -> Self {
        let [loss, a, b] =
            [self.loss, self.low, self.high].map(|cost| objective.expected_value(cost));
        Self { loss, low: a.min(b), high: a.max(b) }
    }

    /// Of the candidate at `chosen`, whose loss is too low by `optimism` on these rows. A new run's loss
    /// differs from the configuration's mean by as much as those that were measured, and the mean is
    /// known from m seeds: `phi v (1 + 1 / m)`.
    pub fn of(found: &Candidates, chosen: usize, optimism: f64) -> Self {
        let candidate = &found.list[chosen];
        let rows = found.row_variance(&candidate.nll);
        let seeds = found.seeds.of_run(chosen) * (1.0 + 1.0 / candidate.trials.len() as f64);
        let of_rows = (found.targets.len() as f64 - 1.0).max(1.0);
        let freedom = freedom_of_sum([(rows, of_rows), (seeds, found.seeds.freedom)]);
        let half = student(TWO_SIDED, freedom) * (rows + seeds).sqrt();
        let loss = candidate.loss + optimism + luck(found);
        Self { loss, low: loss - half, high: loss + half }
    }
}

/// By how much the seed of the lowest loss is luckier than the average one: the mean, over draws of
/// other seeds, of what the lowest one was moved down by.
fn luck(found: &Candidates) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(0x05ee_d1cc);
    let deviations: Vec<f64> =
        (0..found.list.len()).map(|at| found.seed_variance(at).sqrt()).collect();
    let mut sum = 0.0;
    for _ in 0..DRAWS {
        let moved = found.list.iter().zip(&deviations).map(|(candidate, deviation)| {
            let own = deviation * normal(&mut random);
            (candidate.loss + own, own)
        });
        let lowest = moved.min_by(|a, b| a.0.total_cmp(&b.0));
        sum -= lowest.map_or(0.0, |(_, own)| own);
    }
    (sum / DRAWS as f64).max(0.0)
}

/// How much too low the lowest loss is; `None` with too few examples.
pub fn of(found: &Candidates) -> Option<f64> {
    let targets = &found.targets;
    let runs = found.list.iter().map(|run| curves::Measured::Losses { nll: &run.nll, targets });
    curves::optimism(&runs.collect::<Vec<_>>())
}
