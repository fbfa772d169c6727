//! The covariance of losses at two points.
//!
//! `k(p, q) = [same problem] c^2 + b s^2 m52(r) + t^2 [same trial]`, where b is 1 within a problem and
//! `related` between two (an intrinsic coregionalisation model), with measurement noise `e^2` on top of a point's
//! own variance. `m52` is the Matern kernel of smoothness 5/2
//! (Rasmussen & Williams 2006, eq. 4.17) of the scaled distance
//! `r^2 = sum_d ((p_d - q_d) / l_d)^2`, a nominal coordinate counting as 0 or 1 apart.
//!
//! Notation: D coordinates, c level, l length scales, s signal, t the trial's random effect, e noise.

use super::features::{Coordinate, Point};

const SQRT_5: f64 = 2.236_067_977_499_79;

/// Variance of the level: losses have mean 0 and deviation 1.
pub(super) const LEVEL: f64 = 1.0;

/// How alike the losses of two problems (other data, another base) may be about their levels, the
/// likeliest first: what was measured decides.
pub(super) const RELATED: [f64; 3] = [0.9, 0.5, 0.0];

/// What the covariance depends on besides the points.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hyper {
    /// Length scales, D.
    pub lengths: Vec<f64>,
    /// Variance of the signal.
    pub signal: f64,
    /// Variance of the trial's random effect.
    pub effect: f64,
    /// Variance of the noise of one evaluation.
    pub noise: f64,
    /// Correlation of the signals of two problems.
    pub related: f64,
}

/// Median and standard deviation of the logarithm of each hyper-parameter before the data.
const LENGTH_DEVIATION: f64 = 0.3;
const SIGNAL: (f64, f64) = (0.6, 0.8);
const EFFECT: (f64, f64) = (0.004, 0.7);
const NOISE: (f64, f64) = (0.001, 1.2);

impl Hyper {
    /// From `u`, D + 3 numbers that are standard normal before the data, and how alike problems are.
    pub fn from_normal(u: &[f64], related: f64, coordinates: &[Coordinate]) -> Self {
        let d = coordinates.len();
        let value = |(median, deviation): (f64, f64), u: f64| median * (deviation * u).exp();
        Self {
            lengths: coordinates
                .iter()
                .zip(u)
                .map(|(c, u)| value((c.length, LENGTH_DEVIATION), *u))
                .collect(),
            signal: value(SIGNAL, u[d]),
            effect: value(EFFECT, u[d + 1]),
            noise: value(NOISE, u[d + 2]),
            related,
        }
    }

    /// The derivative of the logarithm of each hyper-parameter by its `u`.
    pub fn deviations(dimensions: usize) -> Vec<f64> {
        let mut deviations = vec![LENGTH_DEVIATION; dimensions];
        deviations.extend([SIGNAL.1, EFFECT.1, NOISE.1]);
        deviations
    }
}

/// The kernel with everything it needs.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    pub hyper: Hyper,
    nominal: Vec<bool>,
}

impl Kernel {
    pub fn new(hyper: Hyper, coordinates: &[Coordinate]) -> Self {
        Self { hyper, nominal: coordinates.iter().map(|c| c.nominal).collect() }
    }

    /// Covariance of the loss itself at two points, without what is particular to a trial.
    pub fn between(&self, p: &Point, q: &Point) -> f64 {
        let mut r2 = 0.0;
        for (d, nominal) in self.nominal.iter().enumerate() {
            r2 += squared_difference(*nominal, p.x[d], q.x[d]) / self.hyper.lengths[d].powi(2);
        }
        let (level, alike) = between_problems(p, q, self.hyper.related);
        level + alike * self.hyper.signal * matern(r2).0
    }

    /// The same with the random effect that evaluations of one trial share.
    pub fn between_trials(&self, p: &Point, q: &Point) -> f64 {
        let is_same = p.trial == q.trial && p.problem == q.problem;
        let effect = if is_same { self.hyper.effect } else { 0.0 };
        self.between(p, q) + effect
    }
}

/// The variance of the level that two points share, and how much of the signal they have in common.
pub(super) fn between_problems(p: &Point, q: &Point, related: f64) -> (f64, f64) {
    if p.problem == q.problem { (LEVEL, 1.0) } else { (0.0, related) }
}

/// Squared distance along one coordinate before its length scale.
pub(crate) fn squared_difference(nominal: bool, a: f64, b: f64) -> f64 {
    if nominal { f64::from(u8::from(a != b)) } else { (a - b).powi(2) }
}

/// `m52(r)` and `-2 dm52/d(r^2)`, from the squared distance.
pub(crate) fn matern(r2: f64) -> (f64, f64) {
    let r = SQRT_5 * r2.sqrt();
    let e = (-r).exp();
    ((1.0 + r + r * r / 3.0) * e, 5.0 / 3.0 * (1.0 + r) * e)
}
