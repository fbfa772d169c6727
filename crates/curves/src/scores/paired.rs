//! Two runs on the same examples.

use super::{Measured, Range};
use crate::student::{TWO_SIDED, ratio_error, student};

/// 95 %.
const LEVEL: f64 = 0.05;

/// The first run's mean minus the second's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedDifference {
    /// As measured.
    pub difference: f64,
    /// Standard error over examples; of scores in 0..=1 never 0.
    pub stderr: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How likely a difference at least as large is between equal runs: of 0/1 scores by the mid-p
    /// test.
    pub p: Option<f64>,
    /// The examples do not tell the runs apart (95 %, two-sided).
    pub is_tied: bool,
}

impl Measured<'_> {
    /// This run against another one on the same examples; `None` where they are not the same: another
    /// number, or losses and scores.
    pub fn against(&self, other: &Self) -> Option<PairedDifference> {
        let is_alike = match (self, other) {
            (Self::Losses { targets: a, .. }, Self::Losses { targets: b, .. }) => a == b,
            (Self::Scores(a), Self::Scores(b)) => a.len() == b.len(),
            _ => false,
        };
        if !is_alike || self.examples() == 0 {
            return None;
        }
        let (a, b) = (self.values(), other.values());
        let apart: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        let range = match self {
            Self::Losses { .. } => Range::Open,
            Self::Scores(_) => Range::of(a.iter().chain(b)),
        };
        Some(match range {
            Range::Open => self.open(&apart),
            Range::Fraction => bounded(&apart, None),
            Range::Binary => bounded(&apart, Some(mid_p_of(&apart))),
        })
    }

    fn open(&self, apart: &[f64]) -> PairedDifference {
        let weights = self.weights();
        let total: f64 = weights.iter().sum();
        let difference = apart.iter().sum::<f64>() / total;
        let pairs = apart.iter().copied().zip(weights.iter().copied());
        let stderr = ratio_error(pairs, difference, total);
        let half = student(TWO_SIDED, apart.len() as f64 - 1.0) * stderr;
        let (low, high) = (difference - half, difference + half);
        PairedDifference {
            difference,
            stderr,
            low,
            high,
            p: None,
            is_tied: low <= 0.0 && high >= 0.0,
        }
    }
}

/// Of scores in 0..=1: one example more in either direction, by as much as the runs differ where they do
/// (Bonett & Price 2012, Journal of Educational and Behavioral Statistics 37:479, whose interval it is of 0/1
/// scores).
fn bounded(apart: &[f64], p: Option<f64>) -> PairedDifference {
    let n = apart.len() as f64;
    let squares: f64 = apart.iter().map(|d| d * d).sum();
    let differing = apart.iter().filter(|d| **d != 0.0).count();
    let usual = if differing == 0 { 1.0 } else { squares / differing as f64 };
    let sum: f64 = apart.iter().sum();
    let middle = sum / (n + 2.0);
    let variance = ((squares + 2.0 * usual) / (n + 2.0) - middle * middle) / (n + 2.0);
    let stderr = variance.max(0.0).sqrt();
    let half = student(TWO_SIDED, n - 1.0) * stderr;
    let difference = sum / n;
    let low = (middle - half).clamp(-1.0, difference);
    let high = (middle + half).clamp(difference, 1.0);
    let is_tied = p.map_or(low <= 0.0 && high >= 0.0, |p| p > LEVEL);
    PairedDifference { difference, stderr, low, high, p, is_tied }
}

fn mid_p_of(apart: &[f64]) -> f64 {
    let count = |wanted: f64| apart.iter().filter(|d| **d == wanted).count() as u64;
    mcnemar_mid_p(count(1.0), count(-1.0))
}

/// The mid-p test of paired 0/1 scores (Fagerland, Lydersen & Laake 2013, BMC Medical Research Methodology
/// 13:91): two-sided, given how many examples the first run alone got right, and the second alone.
pub fn mcnemar_mid_p(first: u64, second: u64) -> f64 {
    let (fewer, all) = (first.min(second), first + second);
    // Log of the binomial probability of k out of `all` at 1/2.
    let log_choose = |k: f64| {
        let n = all as f64;
        libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0)
    };
    let probability = |k: u64| (log_choose(k as f64) - all as f64 * std::f64::consts::LN_2).exp();
    let below: f64 = (0..fewer).map(probability).sum();
    (2.0 * below + probability(fewer)).min(1.0)
}
