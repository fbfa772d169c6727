//! The noise that the choice of validation examples puts into the losses of a curve, and how much of
//! it the evaluations share.
//!
//! Notation: groups g = 1..G of validation examples, `t_g` target tokens of a group, `T` their sum,
//! `y_ig` its summed loss at evaluation i, `L_i = Σ_g y_ig / T`. With the rests
//! `r_ig = y_ig - L_i t_g`, the covariance of two losses is
//!
//! ```text
//! S_ij = G / (G - 1) × Σ_g r_ig r_jg / T²
//! ```
//!
//! the ratio estimator's (Cochran 1977, Sampling Techniques, eq. 6.13) for pairs, which the
//! delete-a-group jackknife (Kott 2001, Journal of Official Statistics 17) agrees with to first
//! order. It has G - 1 degrees of freedom. The same examples are evaluated every time, so that most
//! of the noise is common and cancels in a difference.

use spec::{Evaluation, ExampleLosses, SweepState};

use crate::matrix::{Matrix, dot};

/// Covariance of the losses of a curve's evaluations.
#[derive(Debug, Clone, PartialEq)]
pub struct Noise {
    /// The covariance, in the order of the evaluations.
    pub covariance: Matrix,
    /// Degrees of freedom of its estimate; `None` where they are not known.
    pub freedom: Option<usize>,
}

/// Target tokens of each group of validation examples, where a trainer told them.
pub fn group_targets(state: &SweepState) -> Option<Vec<f64>> {
    let of_trials = state.trials.values().filter_map(|trial| trial.examples.as_ref());
    let examples = state.base_examples.iter().chain(of_trials).next()?;
    Some(ExampleLosses::group(examples.targets.iter().map(|t| f64::from(*t))))
}

impl Noise {
    /// Of the evaluations of one curve. Where the losses of groups are not known, the noise that
    /// the evaluations share is taken from the standard errors of their paired differences.
    pub fn of(curve: &[&Evaluation], targets: Option<&[f64]>) -> Self {
        let is_known = |targets: &&[f64]| {
            targets.len() > 1 && curve.iter().all(|e| e.group_nll.len() == targets.len())
        };
        match targets.filter(is_known) {
            Some(targets) => Self::of_groups(curve, targets),
            None => Self::of_errors(curve),
        }
    }

    fn of_groups(curve: &[&Evaluation], targets: &[f64]) -> Self {
        let total: f64 = targets.iter().sum();
        let rests: Vec<Vec<f64>> = curve.iter().map(|e| rests(&e.group_nll, targets)).collect();
        let groups = targets.len() as f64;
        let scale = groups / (groups - 1.0) / (total * total);
        let size = curve.len();
        let covariance = Matrix::from_fn(size, |i, j| scale * dot(&rests[i], &rests[j]));
        Self { covariance, freedom: Some(targets.len() - 1) }
    }

    /// An evaluation's own share of the noise is half the variance of its paired difference from
    /// the best one before it, as if both had as much; the first ones, which have none before them,
    /// take the largest share of the others. The rest of the smallest variance is common.
    fn of_errors(curve: &[&Evaluation]) -> Self {
        let variance = |e: &Evaluation| e.eval_loss_stderr * e.eval_loss_stderr;
        let paired = |e: &Evaluation| e.rise_stderr.map(|error| error * error / 2.0);
        let largest = curve
            .iter()
            .filter_map(|e| paired(e))
            .fold(None, |largest, x| Some(largest.map_or(x, |largest: f64| largest.max(x))));
        let own = |e: &Evaluation| {
            paired(e).or(largest).map_or_else(|| variance(e), |own| own.min(variance(e)))
        };
        let shared = curve.iter().map(|e| variance(e) - own(e)).fold(f64::INFINITY, f64::min);
        let covariance = Matrix::from_fn(curve.len(), |i, j| {
            let own = if i == j { own(curve[i]) } else { 0.0 };
            shared + own
        });
        Self { covariance, freedom: None }
    }

    /// Of the first evaluations.
    #[must_use]
    pub fn of_first(&self, count: usize) -> Self {
        Self { covariance: self.covariance.leading(count), freedom: self.freedom }
    }

    /// Standard error of the difference of two evaluations' losses.
    pub fn error_of_difference(&self, a: usize, b: usize) -> f64 {
        self.covariance.variance_of_difference(a, b).sqrt()
    }
}

fn rests(nll: &[f32], targets: &[f64]) -> Vec<f64> {
    let sum: f64 = nll.iter().map(|y| f64::from(*y)).sum();
    let mean = sum / targets.iter().sum::<f64>();
    nll.iter().zip(targets).map(|(y, t)| f64::from(*y) - mean * t).collect()
}
