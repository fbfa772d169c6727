//! How much of a loss is the seed's.
//!
//! One trained run says nothing about the other seeds of its configuration, so the share of the seed is
//! estimated from all that is known: earlier runs that were repeated, this sweep's runs under one seed,
//! and its replicates.
//!
//! # Notation
//! Two runs differ by `x(e) = n(k, e) - n(j, e)` on example e, which has `t(e)` target tokens. With
//! `r = sum x / sum t` their *spread* per example is
//! `s2(k, j) = E / (E - 1) * sum (x - r t)^2 * E / (sum t)^2`, which is E times the squared paired
//! standard error. `v(k)` is half the median of `s2(k, j)` over the runs j with the closest losses: how
//! much two runs like k differ on an example, in the unit of a squared loss.
//!
//! # The model
//! A seed moves all examples a little in the same direction, and every one by itself. The variance
//! between seeds of the loss of k is `phi v(k)`: `phi` is the share of the differences on single examples
//! that all examples have in common (an intraclass correlation; Fisher 1925). Runs that diverge, or that
//! hardly move away from the base model, differ by more and by less on every example, so that `v(k)`
//! follows them. In 15 sets of 395 replicated runs on two bases `phi` lies between 0.003 and 0.05, while the
//! variance itself differs by a factor of more than 10,000 (`scripts/bench/seed_share.py`,
//! `results/bench/claims.txt`).
//!
//! - **Before this sweep** `phi` is scaled-inverse-chi-squared (Gelman et al. 2013, Bayesian Data
//!   Analysis, section 2.6) with [`PRIOR_FREEDOM`] degrees of freedom and scale [`PRIOR_SHARE`].
//! - **Runs under one seed** say by how much near configurations differ beyond what their settings
//!   explain: the likelihood of their losses under a smooth surrogate plus the noise `phi v(k)`
//!   (`surrogate`).
//!   Runs with nearly the same settings and the same seed differ by less than two seeds do: the first
//!   batch is the same, and so is the start. Where no seed was repeated, `v(k)` is therefore at least
//!   [`LEAST_OF_BASE`] of what it would be against the base model.
//! - **Replicates** of a candidate with m seeds add `sum (L - mean L)^2 / v(k)`, which is `phi` times
//!   a chi-square of m - 1 degrees of freedom. With many of them the measured spread decides; two seeds
//!   alone are not taken for the truth.
//!
//! The posterior of `ln phi` is found on a grid and written as a scaled-inverse-chi-square with the
//! same mean and variance of `ln phi`. So intervals have Student's quantiles, not the normal's.

use spec::SweepState;

use super::candidate::{Candidate, Candidates};
use super::share::SeedShare;
use super::surrogate;

/// Degrees of freedom of what replicated real runs say beforehand: 3.8 in the 15 sets, rounded down since
/// they are few.
const PRIOR_FREEDOM: f64 = 3.0;

/// The share to expect beforehand.
const PRIOR_SHARE: f64 = 0.008;

/// Candidates with the closest losses, whose differences are a candidate's spread.
const NEIGHBOURS: usize = 6;

/// The grid of `ln phi`: the lowest share, the ratio of two neighbours, how many.
const GRID: (f64, f64, usize) = (1e-4, 1.5, 36);

/// The least `v(k)`, as a share of the spread against the base model. In the replicated sets of eight and
/// nine configurations `v(k)` is never below 0.018 of that, so that nothing changes there. Of two nearly
/// equal configurations alone, 84 % of the 95 % intervals hold without it and all with it; of all pairs
/// 96.6 and 96.9 % (`scripts/bench/seed_share.py`, `results/bench/claims.txt`).
const LEAST_OF_BASE: f64 = 0.006;

/// More degrees of freedom are as good as endless.
const MOST_FREEDOM: f64 = 200.0;

impl Candidates {
    /// The runs that were measured on the same examples; `None` when there are none.
    pub fn of(state: &SweepState) -> Option<Self> {
        let mut found = Self::measured(state)?;
        found.seeds = SeedShare::of(&found);
        Some(found)
    }
}

impl SeedShare {
    /// The share in `found`, whose own `seeds` are not looked at.
    pub fn of(found: &Candidates) -> Self {
        let spread = spreads(found);
        let (squares, repeated) = replicates(found, &spread);
        let shares: Vec<f64> = (0..GRID.2).map(|at| GRID.0 * GRID.1.powi(at as i32)).collect();
        let from_settings = surrogate::evidence(found, &spread, &shares);
        let log_density: Vec<f64> = shares
            .iter()
            .zip(from_settings)
            .map(|(share, evidence)| {
                let freedom = PRIOR_FREEDOM + repeated as f64;
                let scaled = (PRIOR_FREEDOM * PRIOR_SHARE + squares) / share;
                evidence - 0.5 * (freedom * share.ln() + scaled)
            })
            .collect();
        let (share, freedom) = matched(&shares, &log_density);
        let spread = if repeated == 0 { at_least(found, spread) } else { spread };
        Self { share, freedom, repeated, spread }
    }
}

/// `v(k)` of every candidate. A lone one is held against the base model.
fn spreads(found: &Candidates) -> Vec<f64> {
    let list = &found.list;
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by(|&a, &b| list[a].loss.total_cmp(&list[b].loss));
    let mut of = vec![0.0; list.len()];
    for (place, &at) in order.iter().enumerate() {
        let own = list[at].one_run();
        let mut all: Vec<f64> = closest(found, &order, place)
            .map(|other| spread(found, own, list[other].one_run()))
            .collect();
        if let (true, Some(base)) = (all.is_empty(), &found.base) {
            all.push(spread(found, own, &base.nll));
        }
        of[at] = 0.5 * median(&mut all);
    }
    of
}

/// The spreads, each at least [`LEAST_OF_BASE`] of that against the base model.
fn at_least(found: &Candidates, spreads: Vec<f64>) -> Vec<f64> {
    let Some(base) = &found.base else { return spreads };
    let raised = |(candidate, own): (&Candidate, f64)| {
        own.max(LEAST_OF_BASE * 0.5 * spread(found, candidate.one_run(), &base.nll))
    };
    found.list.iter().zip(spreads).map(raised).collect()
}

/// The candidates with the closest losses to the one at `place` of `order`.
fn closest<'a>(
    found: &'a Candidates,
    order: &'a [usize],
    place: usize,
) -> impl Iterator<Item = usize> + 'a {
    let around = place.saturating_sub(NEIGHBOURS)..(place + NEIGHBOURS + 1).min(order.len());
    let loss = |at: usize| found.list[at].loss;
    let own = loss(order[place]);
    let mut others: Vec<usize> = around.filter(|p| *p != place).map(|p| order[p]).collect();
    others.sort_by(|&a, &b| (loss(a) - own).abs().total_cmp(&(loss(b) - own).abs()));
    others.into_iter().take(NEIGHBOURS)
}

/// `s2` of two runs; 0 with fewer than two examples.
fn spread(found: &Candidates, a: &[f64], b: &[f64]) -> f64 {
    let (count, tokens) = (found.targets.len() as f64, found.targets.iter().sum::<f64>());
    if count < 2.0 {
        return 0.0;
    }
    let rate = found.loss(a) - found.loss(b);
    let squares: f64 =
        a.iter().zip(b).zip(&found.targets).map(|((a, b), t)| (a - b - rate * t).powi(2)).sum();
    count / (count - 1.0) * squares * found.examples / tokens.powi(2)
}

/// Squares between seeds in units of `v(k)`, and their degrees of freedom.
fn replicates(found: &Candidates, spread: &[f64]) -> (f64, usize) {
    let (mut squares, mut freedom) = (0.0, 0);
    for (candidate, spread) in found.list.iter().zip(spread) {
        if candidate.runs.len() < 2 || *spread <= 0.0 {
            continue;
        }
        let of_run = candidate.runs.iter().map(|nll| (found.loss(nll) - candidate.loss).powi(2));
        squares += of_run.sum::<f64>() / spread;
        freedom += candidate.runs.len() - 1;
    }
    (squares, freedom)
}

/// Scale and degrees of freedom of the scaled-inverse-chi-square with the mean and the variance that
/// `ln phi` has under a density: `E ln phi = ln scale + ln(f/2) - digamma(f/2)` and
/// `Var ln phi = trigamma(f/2)`, both by their asymptotic series.
fn matched(shares: &[f64], log_density: &[f64]) -> (f64, f64) {
    let highest = log_density.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = log_density.iter().map(|l| (l - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mean_of = |f: &dyn Fn(f64) -> f64| {
        shares.iter().zip(&weights).map(|(share, w)| w * f(share.ln())).sum::<f64>() / total
    };
    let mean = mean_of(&|log| log);
    let variance = mean_of(&|log| (log - mean).powi(2));
    let freedom = (2.0 / variance.max(1e-9) + 1.0).min(MOST_FREEDOM);
    let scale = (mean - 1.0 / freedom - 1.0 / (3.0 * freedom * freedom)).exp();
    (scale, freedom)
}

fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_density_that_is_scaled_inverse_chi_squared_is_found_again() {
        let shares: Vec<f64> = (0..200).map(|n| 1e-6 * 1.1_f64.powi(n)).collect();
        for freedom in [4.0, 10.0, 40.0] {
            let density = |share: &f64| -0.5 * freedom * (share.ln() + 0.02 / share);
            let (scale, found) = matched(&shares, &shares.iter().map(density).collect::<Vec<_>>());
            assert!((found / freedom - 1.0).abs() < 0.05, "{found} for {freedom}");
            assert!((scale / 0.02 - 1.0).abs() < 0.05, "{scale} for {freedom}");
        }
    }
}
