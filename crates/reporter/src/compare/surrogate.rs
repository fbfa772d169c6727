//! What single runs say of the noise between them: how far near configurations differ beyond what
//! their settings explain.
//!
//! # Notation
//! n candidates with losses y and coordinates x; `K(i, j) = s^2 (1 + m52(|x(i) - x(j)| / l))`, with the
//! Matern kernel of smoothness 5/2 (Rasmussen & Williams 2006, Gaussian Processes for Machine Learning,
//! eq. 4.17), plus the noise `phi v(i) / m(i)` on the diagonal, for m seeds. The log evidence
//! `-1/2 y' K^-1 y - 1/2 ln |K|` (eq. 2.30) is averaged over a few length scales l and signals s, so that
//! whether a difference is the settings' or chance is weighed instead of assumed.

use super::candidate::Candidates;
use crate::parameters::{self, Kind, Parameter};

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
        let kernel: Vec<f64> = distances.iter().map(|d| 1.0 + matern(d / length)).collect();
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

/// Distances of all pairs, row by row, the diagonal included; only the lower half is filled.
fn distances(found: &Candidates, near: &[usize]) -> Vec<f64> {
    let configs: Vec<_> = near.iter().map(|&at| &found.list[at].config).collect();
    let varying: Vec<&Parameter> =
        parameters::varying(&configs).into_iter().filter(|p| p.name != "seed").collect();
    let mut squares = vec![0.0; near.len() * near.len()];
    for parameter in varying {
        let numbers: Vec<Option<f64>> =
            configs.iter().map(|config| coordinate(parameter, config)).collect();
        let numeric = numbers.iter().flatten();
        let low = numeric.clone().copied().fold(f64::INFINITY, f64::min);
        let high = numeric.copied().fold(f64::NEG_INFINITY, f64::max);
        // What has no natural unit, such as dropout, has its range for one.
        let unit = if matches!(parameter.kind, Kind::Real(_)) { high - low } else { 1.0 };
        for i in 0..near.len() {
            for j in 0..i {
                let apart = match (numbers[i], numbers[j]) {
                    (Some(a), Some(b)) => (a - b) / unit,
                    _ => f64::from(parameter.value(configs[i]) != parameter.value(configs[j])),
                };
                squares[i * near.len() + j] += apart * apart;
            }
        }
    }
    squares.into_iter().map(f64::sqrt).collect()
}

/// A number whose differences mean something; `None` for names.
fn coordinate(parameter: &Parameter, config: &spec::TrialConfig) -> Option<f64> {
    match parameter.kind {
        Kind::Whole(of) => Some(f64::from(of(config)).ln() / UNIT_OF_COUNT.ln()),
        Kind::Unsigned(of) => Some((of(config) as f64).max(1.0).ln() / UNIT_OF_COUNT.ln()),
        Kind::Rate(of) => Some(of(config).ln() / UNIT_OF_RATE.ln()),
        Kind::Real(of) => Some(of(config)),
        Kind::Truth(_) | Kind::Text(_) => None,
    }
    .filter(|x| x.is_finite())
}

fn matern(distance: f64) -> f64 {
    let r = 5.0_f64.sqrt() * distance;
    (1.0 + r + r * r / 3.0) * (-r).exp()
}

/// Log evidence under one set of hyper-parameters, by a Cholesky factor; `None` where rounding leaves
/// the covariance not positive definite.
fn one(kernel: &[f64], signal: f64, noise: &[f64], share: f64, y: &[f64]) -> Option<f64> {
    let n = y.len();
    let mut factor = vec![0.0; n * n];
    let mut solved = vec![0.0; n];
    let (mut fit, mut log_determinant) = (0.0, 0.0);
    for i in 0..n {
        for j in 0..=i {
            // The kernel at distance 0 is not stored for the lower half's diagonal.
            let own =
                if i == j { 2.0 * signal + share * noise[i] } else { signal * kernel[i * n + j] };
            let dot: f64 = (0..j).map(|m| factor[i * n + m] * factor[j * n + m]).sum();
            let left = own - dot;
            factor[i * n + j] = if i == j { left.sqrt() } else { left / factor[j * n + j] };
        }
        let diagonal = factor[i * n + i];
        if diagonal.is_nan() || diagonal <= 0.0 {
            return None;
        }
        let dot: f64 = (0..i).map(|m| factor[i * n + m] * solved[m]).sum();
        solved[i] = (y[i] - dot) / diagonal;
        fit += solved[i] * solved[i];
        log_determinant += 2.0 * diagonal.ln();
    }
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
