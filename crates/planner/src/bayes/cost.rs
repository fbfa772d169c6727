//! How long a trial takes compared with others, from the times of those that ran.
//!
//! The logarithm of the seconds per epoch is linear in the doublings of batch size and rank; what
//! is not known yet is taken as no difference (ridge regression).

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};
use spec::{SweepState, TrialConfig, TrialState};

/// Weight of "no difference", in trials.
const RIDGE: f64 = 1.0;

/// Predicts the logarithm of a trial's seconds, up to a constant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    by_batch: f64,
    by_rank: f64,
}

impl Cost {
    pub fn new(history: &SweepState) -> Self {
        let rows: Vec<([f64; 3], f64)> = history.trials.values().filter_map(row).collect();
        let normal = Mat::from_fn(3, 3, |i, j| {
            let ridge = if i == j && i > 0 { RIDGE } else { 0.0 };
            ridge + rows.iter().map(|(x, _)| x[i] * x[j]).sum::<f64>()
        });
        let mut slopes = Mat::from_fn(3, 1, |i, _| rows.iter().map(|(x, y)| x[i] * y).sum());
        match normal.llt(Side::Lower) {
            Ok(factor) => factor.solve_in_place(&mut slopes),
            // Nothing has run.
            Err(_) => slopes.fill(0.0),
        }
        Self { by_batch: slopes[(1, 0)], by_rank: slopes[(2, 0)] }
    }

    /// Logarithm of the seconds, less a constant.
    pub fn log_seconds(&self, config: &TrialConfig) -> f64 {
        let [_, batch, rank] = features(config);
        f64::from(config.epochs).ln() + self.by_batch * batch + self.by_rank * rank
    }
}

/// Features and the logarithm of the seconds per epoch.
fn row(trial: &TrialState) -> Option<([f64; 3], f64)> {
    let last = trial.last().filter(|last| last.seconds > 0.0 && last.epoch > 0.0)?;
    Some((features(&trial.trial.config), (last.seconds / last.epoch).ln()))
}

fn features(config: &TrialConfig) -> [f64; 3] {
    [1.0, (f64::from(config.batch_size) / 16.0).log2(), (f64::from(config.rank) / 16.0).log2()]
}
