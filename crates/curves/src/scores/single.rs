//! One run alone: its interval and its noise.

use super::{Measured, Range};
use crate::student::{TWO_SIDED, ratio_error, student};

/// Examples of the largest possible variance that are added to those measured: a few alike scores do not
/// show that all are alike.
const ADDED: f64 = 1.0;

/// A mean with its two-sided 95 % interval over examples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Measured<'_> {
    /// The interval of the mean on other examples like these; of scores in 0..=1 it never leaves that range.
    ///
    /// Wilson's (1927, JASA 22:209), with the number of 0/1 scores that would be as sure as these scores
    /// (Korn & Graubard 1998, Survey Methodology 24:193): of 0/1 scores it is Wilson's own. Losses, and
    /// scores of another range, have Student's.
    pub fn interval(&self) -> Interval {
        let mean = self.mean();
        let Some((p, n)) = self.binomial() else {
            let freedom = self.examples().saturating_sub(1) as f64;
            let half = student(TWO_SIDED, freedom) * self.row_variance().sqrt();
            return Interval { mean, low: mean - half, high: mean + half };
        };
        if n == 0.0 {
            return Interval { mean, low: 0.0, high: 1.0 };
        }
        let z2 = TWO_SIDED * TWO_SIDED;
        let scale = 1.0 + z2 / n;
        let middle = (p + z2 / (2.0 * n)) / scale;
        let half = TWO_SIDED / scale * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        // At 0 and 1 rounding would leave the mean outside.
        Interval { mean, low: (middle - half).clamp(0.0, p), high: (middle + half).clamp(p, 1.0) }
    }

    /// Variance of the mean over examples, for models of noise: never 0 where there are scores in 0..=1, not
    /// even of scores that are all 0 (Agresti & Coull 1998, The American Statistician 52:119: two more of
    /// each end).
    pub fn variance(&self) -> f64 {
        let Some((p, n)) = self.binomial() else { return self.row_variance() };
        let shrunk = (p * n + 2.0) / (n + 4.0);
        shrunk * (1.0 - shrunk) / (n + 4.0)
    }

    fn row_variance(&self) -> f64 {
        let weights = self.weights();
        let pairs = self.values().iter().copied().zip(weights.iter().copied());
        ratio_error(pairs, self.mean(), weights.iter().sum()).powi(2)
    }

    /// Mean of scores in 0..=1, and how many 0/1 scores would be as sure: `n p (1 - p) / v` with the variance
    /// `v = (S + p (1 - p)) / (n + 1)`. `None` of other values.
    fn binomial(&self) -> Option<(f64, f64)> {
        let Self::Scores(scores) = self else { return None };
        let n = scores.len() as f64;
        if scores.is_empty() {
            return Some((0.5, 0.0));
        }
        // Rounding of a mean of ones must not leave the range.
        let p = self.mean().clamp(0.0, 1.0);
        match Range::of(*scores) {
            Range::Open => None,
            Range::Binary => Some((p, n)),
            Range::Fraction => {
                let most = p * (1.0 - p);
                let squares: f64 = scores.iter().map(|x| (x - p).powi(2)).sum();
                let variance = ADDED.mul_add(most, squares) / (n + ADDED);
                // Scores that differ from 0 or 1 by rounding alone are as sure as 0/1 ones.
                let as_sure = n * most / variance;
                Some((p, if as_sure.is_finite() { as_sure } else { n }))
            }
        }
    }
}
