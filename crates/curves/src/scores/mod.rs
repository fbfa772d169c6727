//! Statistics of what a run was measured by: summed losses of examples, or scores of answers.
//!
//! # Notation
//! n examples with scores `x_i`, their mean p and squares `S = Σ (x_i - p)²`; two runs on the same
//! examples differ by `d_i`. Scores in 0..=1 have a variance of at most `p (1 - p)`, which 0 and 1 alone
//! reach. `DESIGN.md` says why each method was taken, and `tests/it/scores.rs` compares with scipy and
//! statsmodels.

mod optimism;
mod paired;
mod single;

pub use optimism::optimism;
pub use paired::{PairedDifference, mcnemar_mid_p};
pub use single::Interval;

use std::borrow::Cow;

/// Two-sided 95 % and a power of 80 %: the sum of the two normal quantiles.
pub const DETECTABLE: f64 = 2.801_585;

/// What one run gave on the examples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measured<'a> {
    /// Summed losses of the examples and their target tokens; the mean is over tokens, lower is better.
    Losses {
        /// Summed loss of each example.
        nll: &'a [f64],
        /// Its target tokens.
        targets: &'a [f64],
    },
    /// Scores of the examples, higher is better.
    Scores(&'a [f64]),
}

/// Which values scores have, by which a method is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// 0 and 1 alone.
    Binary,
    /// 0..=1.
    Fraction,
    /// Any number, as a judge of one's own may give.
    Open,
}

impl Range {
    fn of<'a>(scores: impl IntoIterator<Item = &'a f64>) -> Self {
        let one = |score: &f64| match *score {
            0.0 | 1.0 => Self::Binary,
            score if (0.0..=1.0).contains(&score) => Self::Fraction,
            _ => Self::Open,
        };
        scores.into_iter().map(one).fold(Self::Binary, |a, b| match (a, b) {
            (Self::Open, _) | (_, Self::Open) => Self::Open,
            (Self::Binary, Self::Binary) => Self::Binary,
            _ => Self::Fraction,
        })
    }
}

impl<'a> Measured<'a> {
    /// How many examples.
    pub const fn examples(&self) -> usize {
        match self {
            Self::Losses { nll, .. } => nll.len(),
            Self::Scores(scores) => scores.len(),
        }
    }

    /// Mean loss of a token, or mean score.
    pub fn mean(&self) -> f64 {
        self.values().iter().sum::<f64>() / self.weights().iter().sum::<f64>()
    }

    /// 1 where a higher value is better, and -1 where a lower one is.
    pub const fn sign(&self) -> f64 {
        match self {
            Self::Losses { .. } => -1.0,
            Self::Scores(_) => 1.0,
        }
    }

    /// Sums of each example.
    fn values(&self) -> &'a [f64] {
        match self {
            Self::Losses { nll, .. } => nll,
            Self::Scores(scores) => scores,
        }
    }

    /// What each example counts for.
    fn weights(&self) -> Cow<'a, [f64]> {
        match self {
            Self::Losses { targets, .. } => Cow::Borrowed(targets),
            Self::Scores(scores) => Cow::Owned(vec![1.0; scores.len()]),
        }
    }
}

/// Examples that would tell a difference with this variance over `examples` from 0 (95 %, power 80 %): its
/// standard error falls with the root of their number. `None` where no number would.
pub fn examples_needed(difference: f64, variance: f64, examples: usize) -> Option<u64> {
    let factor = (DETECTABLE * variance.sqrt() / difference).powi(2);
    let needed = (examples as f64 * factor).ceil();
    (needed.is_finite() && needed < 1e12).then_some(needed as u64)
}
