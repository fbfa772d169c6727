//! The Gaussian process given what was measured, on several paths of what is still to come.
//!
//! Pending trials are fantasised: each path draws its own outcome for each of them (Snoek, Larochelle
//! & Adams 2012, section 3.2). The covariance is the same on every path, only the means differ.
//!
//! Notation: n points, m queries, S paths.

use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::{Mat, Par, Side};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::features::Point;
use super::fit::JITTER;
use super::kernel::Kernel;

/// Outcomes drawn for every pending trial.
const PATHS: usize = 12;

/// The process given its points.
#[derive(Debug, Clone)]
pub(crate) struct Posterior<'a> {
    kernel: &'a Kernel,
    points: Vec<Point>,
    /// Losses, n x S.
    y: Mat<f64>,
    /// The Cholesky factor of the covariance, n x n.
    factor: Mat<f64>,
    /// `K^-1 y`, n x S.
    alpha: Mat<f64>,
}

/// The loss at m queries: its mean on every path, and its variance on all.
#[derive(Debug, Clone)]
pub(crate) struct Prediction {
    /// m x S.
    pub mean: Mat<f64>,
    /// m.
    pub variance: Vec<f64>,
}

impl Prediction {
    /// The mean over the paths at one query.
    pub fn average(&self, query: usize) -> f64 {
        let paths = self.mean.ncols();
        (0..paths).map(|s| self.mean[(query, s)]).sum::<f64>() / paths as f64
    }
}

impl<'a> Posterior<'a> {
    /// Given `losses` at `points`, with `paths` equal paths.
    pub fn new(kernel: &'a Kernel, points: &[Point], losses: &[f64], paths: usize) -> Self {
        let y = Mat::from_fn(points.len(), paths, |i, _| losses[i]);
        let mut posterior = Self {
            kernel,
            points: points.to_vec(),
            y,
            factor: Mat::zeros(0, 0),
            alpha: Mat::zeros(0, paths),
        };
        posterior.solve();
        posterior
    }

    /// Paths that pending trials can be drawn on.
    pub fn with_paths(kernel: &'a Kernel, points: &[Point], losses: &[f64]) -> Self {
        Self::new(kernel, points, losses, PATHS)
    }

    pub fn points(&self) -> &[Point] {
        &self.points
    }

    fn solve(&mut self) {
        let n = self.points.len();
        let own = self.kernel.hyper.effect + self.kernel.hyper.noise;
        let mut jitter = JITTER;
        self.factor = loop {
            let k = Mat::from_fn(n, n, |i, j| match i.cmp(&j) {
                std::cmp::Ordering::Less => 0.0,
                std::cmp::Ordering::Equal => {
                    self.kernel.between(&self.points[i], &self.points[i]) + own + jitter
                }
                std::cmp::Ordering::Greater => {
                    self.kernel.between_trials(&self.points[i], &self.points[j])
                }
            });
            match k.llt(Side::Lower) {
                Ok(factor) => break factor.L().to_owned(),
                // Rounding made it indefinite: enough on the diagonal always helps.
                Err(_) => jitter *= 10.0,
            }
        };
        self.alpha = self.y.clone();
        solve_lower_triangular_in_place(self.factor.as_ref(), self.alpha.as_mut(), Par::Seq);
        solve_upper_triangular_in_place(self.factor.transpose(), self.alpha.as_mut(), Par::Seq);
    }

    /// The expected loss at `queries`, without what is particular to one trial.
    pub fn predict(&self, queries: &[Point]) -> Prediction {
        self.predict_by(queries, |p, q| self.kernel.between(p, q), 0.0)
    }

    /// The loss that the queries' own trials will have.
    pub fn predict_trials(&self, queries: &[Point]) -> Prediction {
        let effect = self.kernel.hyper.effect;
        self.predict_by(queries, |p, q| self.kernel.between_trials(p, q), effect)
    }

    fn predict_by(
        &self,
        queries: &[Point],
        covariance: impl Fn(&Point, &Point) -> f64,
        own: f64,
    ) -> Prediction {
        let (n, m) = (self.points.len(), queries.len());
        let mut cross = Mat::from_fn(n, m, |i, j| covariance(&self.points[i], &queries[j]));
        let mean = cross.transpose() * &self.alpha;
        solve_lower_triangular_in_place(self.factor.as_ref(), cross.as_mut(), Par::Seq);
        let variance = (0..m)
            .map(|j| {
                let explained: f64 = cross.col(j).iter().map(|v| v * v).sum();
                let before = self.kernel.between(&queries[j], &queries[j]) + own;
                (before - explained).max(1e-12)
            })
            .collect();
        Prediction { mean, variance }
    }

    /// Adds the outcome of a pending trial, drawn anew on each path.
    pub fn fantasise(&mut self, point: Point, seed: u64) {
        let prediction = self.predict_trials(std::slice::from_ref(&point));
        let deviation = (prediction.variance[0] + self.kernel.hyper.noise).sqrt();
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(u64::from(point.trial));
        let (n, paths) = (self.points.len(), self.y.ncols());
        let drawn: Vec<f64> = (0..paths)
            .map(|s| prediction.mean[(0, s)] + deviation * standard_normal(&mut generator))
            .collect();
        self.y = Mat::from_fn(n + 1, paths, |i, s| if i < n { self.y[(i, s)] } else { drawn[s] });
        self.points.push(point);
        self.solve();
    }
}

/// A standard normal number (Box & Muller 1958).
fn standard_normal(generator: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - generator.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * generator.random::<f64>()).cos()
}
