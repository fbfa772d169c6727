//! How much of a loss is the seed's.

use serde::Serialize;

/// What a sweep and its replicates say of the variance between seeds.
#[derive(Debug, Clone, Default)]
pub struct SeedShare {
    /// Scale of `phi`.
    pub share: f64,
    /// Degrees of freedom.
    pub freedom: f64,
    /// Degrees of freedom that replicates gave; 0 where no seed was repeated.
    pub repeated: usize,
    /// `v(k)` of each candidate.
    pub spread: Vec<f64>,
}

/// The variance between seeds in words and tables.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SeedSpread {
    /// Standard deviation between seeds of the best configuration's loss.
    pub deviation: f64,
    /// Degrees of freedom of that.
    pub freedom: f64,
    /// Configurations were trained under several seeds; otherwise it is an estimate.
    pub is_measured: bool,
}

impl SeedShare {
    /// Variance between seeds of one run's loss.
    pub fn of_run(&self, at: usize) -> f64 {
        self.share * self.spread.get(at).copied().unwrap_or_default()
    }

    /// The same in words, for the candidate at `at`.
    pub fn in_short(&self, at: usize) -> SeedSpread {
        SeedSpread {
            deviation: self.of_run(at).sqrt(),
            freedom: self.freedom,
            is_measured: self.repeated > 0,
        }
    }
}
