//! What single runs say of the noise between them: how far near configurations differ beyond what
//! their settings explain.
//!
//! # Notation
//! n candidates with losses y and coordinates x; `K(i, j) = s^2 (1 + m52(|x(i) - x(j)| / l))`, with the
//! Matern kernel of smoothness 5/2 (Rasmussen & Williams 2006, Gaussian Processes for Machine Learning,
//! eq. 4.17), plus the noise `phi v(i) / m(i)` on the diagonal, for m seeds. The log evidence
//! `-1/2 y' K^-1 y - 1/2 ln |K|` (eq. 2.30) is averaged over a few length scales l and signals s, so that
//! whether a difference is the settings' or chance is weighed instead of assumed.

use curves::Matrix;
use spec::{Kind, TrialConfig};

use super::candidate::Candidates;
use crate::parameters::{self, Parameter};

/// Candidates at most: the best ones, since seeds matter most there.
const MOST: usize = 40;

/// Fewer than this say nothing.
const LEAST: usize = 4;

/// The closest candidates that are looked at even where they are more than half of all.
const CLOSE: usize = 8;

/// A factor of four of a count, and one of ten of a rate, are one unit of a coordinate.
const UNIT_OF_COUNT: f64 = 4.0;
const UNIT_OF_RATE: f64 = 10.0;

const LENGTHS: [f64; 4] = [0.5, 1.0, 2.0, 4.0];

/// Signals in units of the losses' standard deviation.
const SIGNALS: [f64; 4] = [0.3, 0.7, 1.5, 3.0];

/// Log evidence of every share of `shares`, up to a constant.
pub fn evidence(found: &Candidates, spread: &[f64], shares: &[f64]) -> Vec<f64> {
    let near = near(found);
    let losses: Vec<f64> = near.iter().map(|&at| found.list[at].loss).collect();
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    let y: Vec<f64> = losses.iter().map(|loss| loss - mean).collect();
    let scale = (y.iter().map(|y| y * y).sum::<f64>() / y.len() as f64).sqrt();
    let is_spread = near.iter().all(|&at| spread[at] > 0.0);
    if near.len() < LEAST || scale <= 0.0 || !is_spread {
        return vec![0.0; shares.len()];
    }
    let distances = distances(found, &near);
    let noise: Vec<f64> =
        near.iter().map(|&at| spread[at] / found.list[at].trials.len() as f64).collect();
    let mut all = vec![f64::NEG_INFINITY; shares.len()];
    for length in LENGTHS {
        let kernel = Matrix::from_fn(near.len(), |i, j| 1.0 + matern(distances.at(i, j) / length));
        for signal in SIGNALS {
            for (total, share) in all.iter_mut().zip(shares) {
                let own = one(&kernel, (signal * scale).powi(2), &noise, *share, &y);
                *total = log_sum(*total, own.unwrap_or(f64::NEG_INFINITY));
            }
        }
    }
    all
}

/// The better half of the candidates, or a few.
fn near(found: &Candidates) -> Vec<usize> {
    let mut order: Vec<usize> = (0..found.list.len()).collect();
    order.sort_by(|&a, &b| found.list[a].loss.total_cmp(&found.list[b].loss));
    order.truncate((order.len() / 2).clamp(CLOSE, MOST));
    order
}

/// Distances of all pairs.
fn distances(found: &Candidates, near: &[usize]) -> Matrix {
    let configs: Vec<_> = near.iter().map(|&at| &found.list[at].config).collect();
    let axes: Vec<Axis> =
        parameters::settings(&configs).into_iter().map(|p| Axis::of(p, &configs)).collect();
    Matrix::from_fn(near.len(), |i, j| {
        axes.iter().map(|axis| axis.apart(i, j).powi(2)).sum::<f64>().sqrt()
    })
}

/// One parameter of the candidates.
struct Axis {
    /// `None` for names.
    numbers: Vec<Option<f64>>,
    values: Vec<String>,
    unit: f64,
}

impl Axis {
    fn of(parameter: &Parameter, configs: &[&TrialConfig]) -> Self {
        let numbers: Vec<Option<f64>> =
            configs.iter().map(|config| parameter.coordinate(config)).collect();
        let known = || numbers.iter().flatten().copied();
        let unit = match parameter.row.kind {
            Kind::Whole(_) => UNIT_OF_COUNT.ln(),
            Kind::Rate(_) => UNIT_OF_RATE.ln(),
            // What has no natural unit, such as dropout, has its range for one.
            _ => known().fold(f64::NEG_INFINITY, f64::max) - known().fold(f64::INFINITY, f64::min),
        };
        let values = configs.iter().map(|config| parameter.value(config)).collect();
        Self { numbers, values, unit }
    }

    fn apart(&self, i: usize, j: usize) -> f64 {
        match (self.numbers[i], self.numbers[j]) {
            (Some(a), Some(b)) => (a - b) / self.unit,
            _ => f64::from(self.values[i] != self.values[j]),
        }
    }
}

fn matern(distance: f64) -> f64 {
    let r = 5.0_f64.sqrt() * distance;
    (1.0 + r + r * r / 3.0) * (-r).exp()
}

/// Log evidence under one set of hyper-parameters; `None` where rounding leaves the covariance not
/// positive definite.
fn one(kernel: &Matrix, signal: f64, noise: &[f64], share: f64, y: &[f64]) -> Option<f64> {
    let covariance = Matrix::from_fn(y.len(), |i, j| {
        let own = if i == j { share * noise[i] } else { 0.0 };
        signal * kernel.at(i, j) + own
    });
    let factor = covariance.cholesky(0.0);
    let diagonal = || (0..y.len()).map(|i| factor.at(i, i));
    if diagonal().any(|pivot| pivot <= 0.0) {
        return None;
    }
    let fit: f64 = factor.forward(y).iter().map(|x| x * x).sum();
    let log_determinant: f64 = diagonal().map(|pivot| 2.0 * pivot.ln()).sum();
    Some(-0.5 * (fit + log_determinant))
}

fn log_sum(a: f64, b: f64) -> f64 {
    let highest = a.max(b);
    if highest == f64::NEG_INFINITY {
        highest
    } else {
        highest + ((a - highest).exp() + (b - highest).exp()).ln()
    }
}
