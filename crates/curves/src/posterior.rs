//! The smooth curve behind noisy evaluations.
//!
//! Notation: `y_i` is the loss of evaluation i over the lowest loss of the curve, `u_i` the logarithm of
//! its optimizer step, S the covariance of the sampling noise of the `y_i`.
//!
//! ```text
//! y_i = f(u_i) + w_i + e_i
//! ```
//!
//! f is a smoothing spline: a level and a slope of which nothing is known beforehand, plus `bend`
//! times an integrated Wiener process (Wahba 1978, JRSS B 40, 364-372), whose covariance from the
//! first step on is `a² (3b - a) / 6` for distances a <= b. Time is logarithmic because a curve of
//! losses bends early: what takes two epochs at the start takes twenty later. w is the wobble of
//! training, independent from one evaluation to the next with standard deviation `wobble`; it is in
//! the weights, so that further validation rows do not take it away. e is noise with covariance S. The
//! base model's evaluation, from which every curve falls steeply, is no part of the spline: its
//! level is its own.
//!
//! Given `bend` and `wobble`, f at the evaluations is normal; its mean, its covariance and the
//! density of the data follow from the covariance of y alone. The same holds for f + w, the losses
//! that ever more validation rows would give.

use crate::matrix::{Matrix, dot};

/// Variance, in squares of the lowest loss, of what nothing is known of.
const DIFFUSE: f64 = 30.0;

/// Added to variances, so that a covariance of evaluations without noise has a factor.
const LEAST_VARIANCE: f64 = 1e-10;

/// How much a curve may bend and how much it wobbles, in units of its lowest loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Of the integrated Wiener process, for a unit of logarithmic time.
    pub bend: f64,
    /// Standard deviation of the wobble.
    pub wobble: f64,
}

/// A curve in units of its lowest loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Relative {
    /// Losses over the lowest.
    pub losses: Vec<f64>,
    /// Logarithms of the steps; `None` for the base model.
    pub times: Vec<Option<f64>>,
    /// Covariance of the noise.
    pub noise: Matrix,
}

/// Which curve is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// f: without the wobble of training.
    Smooth,
    /// f + w: the losses without the noise of the validation rows.
    Actual,
}

/// What the data say for one shape.
#[derive(Debug)]
pub struct Fit {
    prior: Matrix,
    wobble: Vec<f64>,
    factor: Matrix,
    scaled: Vec<f64>,
    /// Logarithm of the density of the data, up to a constant of the curve.
    pub log_evidence: f64,
}

/// A normal distribution over curves.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// Expected values at the evaluations.
    pub mean: Vec<f64>,
    /// Their covariance.
    pub covariance: Matrix,
}

impl Fit {
    /// Of the curve, for one shape.
    pub fn of(curve: &Relative, shape: Shape) -> Self {
        let size = curve.losses.len();
        let prior = prior(&curve.times, shape.bend);
        let wobble: Vec<f64> = (0..size)
            .map(|i| curve.times[i].map_or(0.0, |_| shape.wobble * shape.wobble))
            .collect();
        let data = Matrix::from_fn(size, |i, j| {
            let own = if i == j { wobble[i] + LEAST_VARIANCE } else { 0.0 };
            prior.at(i, j) + curve.noise.at(i, j) + own
        });
        let factor = data.cholesky(LEAST_VARIANCE);
        // The level is 1 in these units, give or take what is diffuse.
        let apart: Vec<f64> = curve.losses.iter().map(|y| y - 1.0).collect();
        let scaled = factor.forward(&apart);
        let log_determinant: f64 = (0..size).map(|i| factor.at(i, i).ln()).sum();
        let log_evidence = -0.5 * dot(&scaled, &scaled) - log_determinant;
        Self { prior, wobble, factor, scaled, log_evidence }
    }

    /// What is known of a part.
    pub fn posterior(&self, part: Part) -> Posterior {
        let size = self.wobble.len();
        let own = |i: usize, j: usize| match part {
            Part::Actual if i == j => self.wobble[i],
            _ => 0.0,
        };
        let wanted = Matrix::from_fn(size, |i, j| self.prior.at(i, j) + own(i, j));
        let columns: Vec<Vec<f64>> =
            (0..size).map(|i| self.factor.forward(wanted.row(i))).collect();
        let mean = columns.iter().map(|column| 1.0 + dot(column, &self.scaled)).collect();
        let covariance =
            Matrix::from_fn(size, |i, j| wanted.at(i, j) - dot(&columns[i], &columns[j]));
        Posterior { mean, covariance }
    }
}

fn prior(times: &[Option<f64>], bend: f64) -> Matrix {
    let known = || times.iter().flatten().copied();
    let (first, last) =
        (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    Matrix::from_fn(times.len(), |i, j| match (times[i], times[j]) {
        (Some(u), Some(v)) => {
            let (a, b) = (u.min(v) - first, u.max(v) - first);
            let spline = a * a * (3.0 * b - a) / 6.0;
            DIFFUSE * (1.0 + (u - last) * (v - last)) + bend * bend * spline
        }
        (None, None) => DIFFUSE,
        _ => 0.0,
    })
}
