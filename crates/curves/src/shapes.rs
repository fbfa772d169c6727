//! How much curves bend and wobble, pooled over the runs of a sweep.
//!
//! A run of ten evaluations says little of its own wobble; the runs beside it say more. The prior is
//! a weight for each of a few shapes. A sweep's own is estimated by the EM algorithm for mixing
//! weights (Laird 1978, JASA 73, 805-811: nonparametric maximum likelihood of a mixing
//! distribution), beginning from, and held by, the weights of [`Shapes::general`], which count as
//! `HELD` runs. Wobble grows with the learning rate, so that a run counts for another by
//! `exp(-d² / 2)` where their rates differ by a factor of `NEAR^d`.
//!
//! Each learning rate has weights of its own, so that a sweep of n runs with n rates would take n² steps.
//! Where more than [`MOST_RATES`] rates are asked for, those within a factor of `NEAR^(1 / STEPS)` share
//! the weights of the rate in their middle: `d` is then wrong by 1/64 at most, and the share of a run by
//! 3 %. There are no more such groups than [`MOST_RATES`] in 11 decades of rates; beyond that they become wider.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::posterior::{Fit, Relative, Shape};

const BENDS: [f64; 5] = [0.03, 0.1, 0.3, 1.0, 3.0];
const WOBBLES: [f64; 5] = [0.001, 0.003, 0.01, 0.03, 0.06];

/// So many runs the general weights count for.
const HELD: f64 = 4.0;

/// Learning rates apart by this factor are one standard deviation of the weights apart.
const NEAR: f64 = 4.0;

/// Passes of the EM algorithm; it is stopped early, which keeps the weights smooth.
const PASSES: usize = 3;

/// Learning rates that have weights of their own.
pub const MOST_RATES: usize = 600;

/// Groups of learning rates within a factor of [`NEAR`], where there are more of them.
const STEPS: f64 = 32.0;

/// Shapes with their prior weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Shapes(Vec<(Shape, f64)>);

/// The evidence of each shape for one whole run.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    log_rate: f64,
    /// Over that of the likeliest shape.
    of_shapes: Vec<f64>,
}

impl Evidence {
    /// Of a run's curve at a learning rate.
    pub fn of(curve: &Relative, learning_rate: f64) -> Self {
        let fits: Vec<f64> = grid().map(|shape| Fit::of(curve, shape).log_evidence).collect();
        Self { log_rate: learning_rate.ln(), of_shapes: over_highest(&fits) }
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
        let likely = shares(&prior, &over_highest(&evidence)).into_iter().zip(fits);
        let likely: Vec<(f64, Fit)> = likely.filter(|(share, _)| *share >= LEAST).collect();
        let total: f64 = likely.iter().map(|(share, _)| share).sum();
        likely.into_iter().map(|(share, fit)| (share / total, fit)).collect()
    }
}

/// Densities over the highest of them.
fn over_highest(log_densities: &[f64]) -> Vec<f64> {
    let highest = log_densities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    log_densities.iter().map(|log| (log - highest).exp()).collect()
}

/// Weights times densities, normalised.
fn shares(weights: &[f64], densities: &[f64]) -> Vec<f64> {
    let products: Vec<f64> = weights.iter().zip(densities).map(|(w, d)| w * d).collect();
    let total: f64 = products.iter().sum();
    products.into_iter().map(|product| product / total).collect()
}

/// The shapes for each learning rate of a sweep.
#[derive(Debug, Clone)]
pub struct ShapesByRate {
    groups: Groups,
    shapes: BTreeMap<i64, Shapes>,
}

impl ShapesByRate {
    /// For runs at any of `rates`, from those of a sweep.
    pub fn of(runs: &[Evidence], rates: &[f64]) -> Self {
        let groups = Groups::of(rates);
        let mut middles: BTreeMap<i64, f64> = BTreeMap::new();
        for rate in rates {
            let (group, middle) = groups.of_rate(*rate);
            middles.entry(group).or_insert(middle);
        }
        let pooled = |(group, rate): (i64, f64)| (group, Shapes::pooled(runs, rate));
        let shapes = middles.into_par_iter().map(pooled).collect();
        Self { groups, shapes }
    }

    /// Those of a learning rate; the general ones where it was not asked for.
    pub fn at(&self, learning_rate: f64) -> std::borrow::Cow<'_, Shapes> {
        use std::borrow::Cow;
        let known = self.shapes.get(&self.groups.of_rate(learning_rate).0);
        known.map_or_else(|| Cow::Owned(Shapes::general()), Cow::Borrowed)
    }

    /// How many were computed.
    pub fn count(&self) -> usize {
        self.shapes.len()
    }
}

/// Learning rates that share their shapes.
#[derive(Debug, Clone, Copy)]
enum Groups {
    /// Each has its own.
    Single,
    /// Those whose logarithms are of one multiple of this.
    Width(f64),
}

impl Groups {
    fn of(rates: &[f64]) -> Self {
        let mut distinct: Vec<f64> = rates.to_vec();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        if distinct.len() <= MOST_RATES {
            return Self::Single;
        }
        let logs = || distinct.iter().map(|rate| rate.ln()).filter(|log| log.is_finite());
        let low = logs().fold(f64::INFINITY, f64::min);
        let high = logs().fold(f64::NEG_INFINITY, f64::max);
        // Both ends may share a group with nothing between.
        let widest = (high - low) / (MOST_RATES - 2) as f64;
        Self::Width(widest.max(NEAR.ln() / STEPS))
    }

    /// The group of a rate, and the rate that the group's shapes are of.
    fn of_rate(self, rate: f64) -> (i64, f64) {
        match self {
            Self::Single => (rate.to_bits().cast_signed(), rate),
            Self::Width(width) => {
                let group = (rate.ln() / width).round();
                (group as i64, (group * width).exp())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(rates: &[f64]) -> Vec<Evidence> {
        let of_run = |(at, rate): (usize, &f64)| {
            let losses: Vec<f64> =
                (0..4).map(|i| 1.0 + 0.01 * ((at * 7 + i * 3) % 5) as f64).collect();
            let times = (1..=4).map(|step| Some(f64::from(step).ln())).collect();
            let noise = crate::Matrix::from_fn(4, |i, j| if i == j { 1e-5 } else { 0.0 });
            Evidence::of(&Relative { losses, times, noise }, *rate)
        };
        rates.iter().enumerate().map(of_run).collect()
    }

    fn spread(count: usize) -> Vec<f64> {
        (0..count).map(|n| 1e-6 * 10_f64.powf(5.0 * n as f64 / count as f64)).collect()
    }

    #[test]
    fn each_of_a_few_learning_rates_has_shapes_of_its_own() {
        let rates = spread(MOST_RATES);
        let runs = runs(&rates[..50]);
        let by_rate = ShapesByRate::of(&runs, &rates);
        assert_eq!(by_rate.count(), MOST_RATES);
        assert_eq!(*by_rate.at(rates[7]), Shapes::pooled(&runs, rates[7]));
    }

    #[test]
    fn shapes_are_computed_for_no_more_rates_than_are_told_apart() {
        for (rates, most) in [(spread(5_000), 300), (spread(20_000), 300)] {
            let by_rate = ShapesByRate::of(&runs(&rates[..10]), &rates);
            assert!(by_rate.count() < most, "{}", by_rate.count());
        }
        let extreme: Vec<f64> =
            (0..5_000).map(|n| 10_f64.powf(-300.0 + 0.12 * f64::from(n))).collect();
        assert!(ShapesByRate::of(&runs(&extreme[..10]), &extreme).count() <= MOST_RATES);
    }

    #[test]
    fn shared_shapes_hardly_differ_from_a_rates_own() {
        let rates = spread(5_000);
        let runs: Vec<Evidence> = runs(&rates).into_iter().step_by(25).collect();
        let by_rate = ShapesByRate::of(&runs, &rates);
        for rate in rates.iter().step_by(371) {
            let (shared, own) = (by_rate.at(*rate), Shapes::pooled(&runs, *rate));
            for ((_, shared), (_, own)) in shared.0.iter().zip(&own.0) {
                assert!((shared - own).abs() < 0.01, "{shared} for {own} at {rate}");
            }
        }
    }

    #[test]
    fn rates_that_are_no_numbers_have_shapes_too() {
        let mut rates = spread(2_000);
        rates.extend([0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE]);
        let by_rate = ShapesByRate::of(&runs(&rates[..10]), &rates);
        for rate in rates {
            assert_eq!(by_rate.at(rate).0.len(), Shapes::general().0.len());
        }
    }
}
