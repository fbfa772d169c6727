//! How much curves bend and wobble, pooled over the runs of a sweep.
//!
//! A run of ten evaluations says little of its own wobble; the runs beside it say more. The prior is
//! a weight for each of a few shapes. A sweep's own is estimated by the EM algorithm for mixing
//! weights (Laird 1978, JASA 73, 805-811: nonparametric maximum likelihood of a mixing
//! distribution), beginning from, and held by, the weights of [`Shapes::general`], which count as
//! `HELD` runs. Wobble grows with the learning rate, so that a run counts for another by
//! `exp(-d² / 2)` where their rates differ by a factor of `NEAR^d`.

use crate::posterior::{Fit, Relative, Shape};

const BENDS: [f64; 5] = [0.03, 0.1, 0.3, 1.0, 3.0];
const WOBBLES: [f64; 5] = [0.001, 0.003, 0.01, 0.03, 0.06];

/// So many runs the general weights count for.
const HELD: f64 = 4.0;

/// Learning rates apart by this factor are one standard deviation of the weights apart.
const NEAR: f64 = 4.0;

/// Passes of the EM algorithm; it is stopped early, which keeps the weights smooth.
const PASSES: usize = 3;

/// Shapes with their prior weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Shapes(Vec<(Shape, f64)>);

/// The log evidence of each shape for one whole run.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    log_rate: f64,
    of_shapes: Vec<f64>,
}

impl Evidence {
    /// Of a run's curve at a learning rate.
    pub fn of(curve: &Relative, learning_rate: f64) -> Self {
        let fits = grid().map(|shape| Fit::of(curve, shape).log_evidence);
        Self { log_rate: learning_rate.ln(), of_shapes: fits.collect() }
    }
}

fn grid() -> impl Iterator<Item = Shape> {
    BENDS.iter().flat_map(|&bend| WOBBLES.iter().map(move |&wobble| Shape { bend, wobble }))
}

impl Shapes {
    /// Without a sweep: every shape is as likely as another.
    pub fn general() -> Self {
        let weight = 1.0 / (BENDS.len() * WOBBLES.len()) as f64;
        Self(grid().map(|shape| (shape, weight)).collect())
    }

    /// For runs at a learning rate, from those of a sweep.
    pub fn pooled(runs: &[Evidence], learning_rate: f64) -> Self {
        let general = Self::general();
        let near: Vec<(f64, &Evidence)> = runs
            .iter()
            .map(|run| {
                let apart = (run.log_rate - learning_rate.ln()) / NEAR.ln();
                ((-0.5 * apart * apart).exp(), run)
            })
            .filter(|(weight, _)| *weight > 1e-3)
            .collect();
        let mut weights: Vec<f64> = general.0.iter().map(|(_, weight)| *weight).collect();
        for _ in 0..PASSES {
            let mut sums: Vec<f64> = general.0.iter().map(|(_, weight)| HELD * weight).collect();
            for (nearness, run) in &near {
                let shares = shares(&weights, &run.of_shapes);
                sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += nearness * share);
            }
            let total: f64 = sums.iter().sum();
            weights = sums.into_iter().map(|sum| sum / total).collect();
        }
        Self(general.0.into_iter().map(|(shape, _)| shape).zip(weights).collect())
    }

    /// The shapes that a curve leaves likely, with their weights and fits.
    pub(crate) fn given(&self, curve: &Relative) -> Vec<(f64, Fit)> {
        /// What is less likely decides nothing.
        const LEAST: f64 = 2e-3;
        let fits: Vec<Fit> = self.0.iter().map(|(shape, _)| Fit::of(curve, *shape)).collect();
        let prior: Vec<f64> = self.0.iter().map(|(_, weight)| *weight).collect();
        let evidence: Vec<f64> = fits.iter().map(|fit| fit.log_evidence).collect();
        let likely = shares(&prior, &evidence).into_iter().zip(fits);
        let likely: Vec<(f64, Fit)> = likely.filter(|(share, _)| *share >= LEAST).collect();
        let total: f64 = likely.iter().map(|(share, _)| share).sum();
        likely.into_iter().map(|(share, fit)| (share / total, fit)).collect()
    }
}

/// Weights times densities, normalised.
fn shares(weights: &[f64], log_densities: &[f64]) -> Vec<f64> {
    let highest = log_densities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let products: Vec<f64> =
        weights.iter().zip(log_densities).map(|(w, log)| w * (log - highest).exp()).collect();
    let total: f64 = products.iter().sum();
    products.into_iter().map(|product| product / total).collect()
}
