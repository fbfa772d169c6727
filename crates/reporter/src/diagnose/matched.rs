//! What a parameter does where everything else is the same.
//!
//! The best run of each value of a parameter differs from the others in more than that value, so that their
//! losses say nothing of the parameter alone. Here two values are compared in pairs of configurations that
//! agree in all other parameters (`lora_alpha` where it is no multiple of the rank; the seed apart; of
//! the learning rate the nearest within a factor of [`RATE_TOLERANCE`]), and only where it matters:
//! in pairs of which one has reached at least [`NEAR_SHARE`] of the best configuration's improvement over the base model.
//!
//! With d the mean difference over the pairs, the interval is that of `compare::pooled`, which includes
//! other seeds. Where the journal has no losses of single examples, the error of d is that of unpaired
//! losses and seeds that move a loss by [`SEED_SHARE`] of the best improvement, as near the best of
//! `results/bench/real_grid.csv`. Runs that were stopped early are left out: they were trained for less.
//!
//! n configurations of v values have up to `n v / 2` pairs. Where that is more than [`MOST_PAIRS`], the pairs
//! are those of as many configurations as stay below it, evenly spread over the order in which they were
//! proposed: which they are does not depend on their losses.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use spec::{Outcome, TrialConfig, TrialId, TrialState};

use super::facts::{VerdictInput, is_stopped_early};
use crate::compare::{Z95, pooled, student};
use crate::number::{change, loss};
use crate::parameters::{self, PARAMETERS};
use crate::text::{Lang, say};

/// Learning rates within this factor count as the same where there is none that is equal.
const RATE_TOLERANCE: f64 = 1.5;

/// Pairs in which neither run reached this share of the best improvement say nothing of good runs.
const NEAR_SHARE: f64 = 0.9;

/// Pairs that are looked at, about.
const MOST_PAIRS: usize = 500_000;

/// Standard deviation between seeds as a share of the best improvement (results/bench/claims.txt), and how many
/// degrees of freedom that has.
const SEED_SHARE: f64 = 0.012;
const SEED_FREEDOM: f64 = 5.0;

/// Values of one parameter, and what is known of every two of them.
pub struct Matched {
    /// All values that have been evaluated, with their best run: its loss and its gap.
    pub best: BTreeMap<u32, (TrialId, f64, Option<f64>)>,
    /// `(a, b)` with a < b: the loss at b minus the loss at a.
    effects: BTreeMap<(u32, u32), Effect>,
}

/// A difference of two values at the same other settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    pub difference: f64,
    pub low: f64,
    pub high: f64,
}

/// A configuration as it is compared.
struct Point<'a> {
    config: &'a TrialConfig,
    trial: TrialId,
    loss: f64,
    stderr: f64,
    gap: Option<f64>,
    /// Its place among the candidates, where losses of single examples are known.
    candidate: Option<usize>,
}

impl Matched {
    /// `None` where fewer than two values were evaluated.
    pub fn of(
        input: VerdictInput<'_>,
        name: &'static str,
        value: fn(&TrialConfig) -> u32,
    ) -> Option<Self> {
        let points = points(input);
        let mut best: BTreeMap<u32, (TrialId, f64, Option<f64>)> = BTreeMap::new();
        for point in &points {
            let entry = (point.trial, point.loss, point.gap);
            let known = best.entry(value(point.config)).or_insert(entry);
            if point.loss < known.1 {
                *known = entry;
            }
        }
        if best.len() < 2 {
            return None;
        }
        let mut contexts: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
        let others = others(&points, name);
        for (at, point) in points.iter().enumerate().step_by(step(points.len(), best.len())) {
            contexts.entry(others(point.config)).or_default().push(at);
        }
        let near = Near::of(input, &points);
        let mut pairs: BTreeMap<(u32, u32), Vec<(usize, usize)>> = BTreeMap::new();
        for members in contexts.values() {
            for (a, b) in matches(&points, members, value) {
                let key = (value(points[a].config), value(points[b].config));
                if near.has_one(&points[a], &points[b]) {
                    pairs.entry(key).or_default().push((a, b));
                }
            }
        }
        let effect = |pairs: &[(usize, usize)]| effect(input, &points, pairs, near.improvement);
        let effects =
            pairs.into_iter().filter_map(|(key, pairs)| Some((key, effect(&pairs)?))).collect();
        Some(Self { best, effects })
    }

    /// Whether `a` is better than `b` beyond chance at the same other settings; `None` where no runs
    /// differ in these two alone.
    pub fn is_better(&self, a: u32, b: u32) -> Option<bool> {
        let effect = self.effects.get(&(a.min(b), a.max(b)))?;
        Some(if a < b { effect.low > 0.0 } else { effect.high < 0.0 })
    }

    /// Values that no other is known to beat, among those that were compared with another at all.
    pub fn unbeaten(&self) -> BTreeSet<u32> {
        let compared = |v: &u32| self.effects.keys().any(|(a, b)| a == v || b == v);
        let beaten =
            |v: &u32| self.best.keys().any(|other| self.is_better(*other, *v) == Some(true));
        self.best.keys().filter(|v| compared(v) && !beaten(v)).copied().collect()
    }

    /// It beats its neighbour beyond chance, and no other value is known to be as good.
    pub fn wins(&self, value: u32) -> bool {
        let others = || self.best.keys().filter(|other| **other != value);
        let wins = |other: &u32| self.is_better(value, *other);
        let next = others().min_by_key(|other| other.abs_diff(value));
        next.is_some_and(|next| wins(next) == Some(true))
            && others().all(|o| wins(o) != Some(false))
    }

    /// The differences of neighbours, as far as they are known.
    pub fn in_words(&self, lang: Lang) -> String {
        const MOST: usize = 4;
        let values: Vec<u32> = self.best.keys().copied().collect();
        let known = values.windows(2).filter_map(|pair| {
            let effect = self.effects.get(&(pair[0], pair[1]))?;
            let (from, to) = (pair[0].to_string(), pair[1].to_string());
            let ends = (change(effect.low), change(effect.high));
            Some(say!(lang, MatchedEffect, to, from, change(effect.difference), ends.0, ends.1))
        });
        known.take(MOST).collect::<Vec<_>>().join("; ")
    }

    pub fn trials(&self) -> Vec<TrialId> {
        self.best.values().map(|(id, ..)| *id).collect()
    }
}

/// The ended configurations; those with losses of single examples where there are any.
fn points(input: VerdictInput<'_>) -> Vec<Point<'_>> {
    let ended = |id: TrialId| input.state.trials.get(&id).filter(|trial| is_whole(trial));
    if let Some(found) = input.found {
        let known = found.list.iter().enumerate().filter_map(|(at, candidate)| {
            ended(candidate.trial)?;
            Some(Point {
                config: &candidate.config,
                trial: candidate.trial,
                loss: candidate.loss,
                stderr: candidate.stderr,
                gap: Some(candidate.gap),
                candidate: Some(at),
            })
        });
        return known.collect();
    }
    let trials = input.state.trials.values().filter(|trial| is_whole(trial));
    let measured = trials.filter_map(|trial| {
        let best = trial.best()?;
        Some(Point {
            config: &trial.trial.config,
            trial: trial.trial.id,
            loss: best.eval_loss,
            stderr: best.eval_loss_stderr,
            gap: best.gap(),
            candidate: None,
        })
    });
    measured.collect()
}

/// It ended as it was meant to, or by losing itself.
fn is_whole(trial: &TrialState) -> bool {
    let is_usable = !matches!(trial.outcome(), None | Some(Outcome::Failed { .. }));
    is_usable && !is_stopped_early(trial)
}

/// The values of all parameters but `name`, the seed, the rate, and alpha where it follows the rank.
fn others(points: &[Point<'_>], name: &'static str) -> impl Fn(&TrialConfig) -> Vec<String> {
    let configs: Vec<&TrialConfig> = points.iter().map(|point| point.config).collect();
    let varying: Vec<_> = parameters::varying(&configs)
        .into_iter()
        .map(|p| p.name)
        .filter(|other| ![name, "seed", "learning_rate"].contains(other))
        .collect();
    move |config| {
        let kept = PARAMETERS.iter().filter(|p| varying.contains(&p.name));
        kept.map(|parameter| parameter.value(config)).collect()
    }
}

/// Of `configurations` in a row every so many are paired, for there to be about [`MOST_PAIRS`] pairs of
/// `values` values.
fn step(configurations: usize, values: usize) -> usize {
    let pairs = |step: usize| {
        let kept = configurations.div_ceil(step);
        kept * kept.min(values) / 2
    };
    (1..=configurations.max(1)).find(|step| pairs(*step) <= MOST_PAIRS).unwrap_or(1)
}

/// Pairs of members of one context: every one with the nearest rate of each higher value.
fn matches(
    points: &[Point<'_>],
    members: &[usize],
    value: fn(&TrialConfig) -> u32,
) -> Vec<(usize, usize)> {
    let rate = |at: usize| points[at].config.learning_rate.ln();
    let mut by_value: BTreeMap<u32, Vec<(f64, usize)>> = BTreeMap::new();
    for &at in members {
        by_value.entry(value(points[at].config)).or_default().push((rate(at), at));
    }
    for of_value in by_value.values_mut() {
        of_value.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    }
    let mut pairs = Vec::new();
    for &a in members {
        let own = value(points[a].config);
        let higher = by_value.range((Bound::Excluded(own), Bound::Unbounded));
        for of_value in higher.map(|(_, of_value)| of_value) {
            let nearest =
                nearest(of_value, rate(a)).filter(|(apart, _)| *apart <= RATE_TOLERANCE.ln());
            pairs.extend(nearest.map(|(_, b)| (a, b)));
        }
    }
    pairs
}

/// How far the nearest of ascending rates is, and whose it is: of several the first by number.
fn nearest(ascending: &[(f64, usize)], rate: f64) -> Option<(f64, usize)> {
    let above = ascending.partition_point(|other| other.0.total_cmp(&rate).is_lt());
    // Of equal rates below, the first by number comes first.
    let below = above.checked_sub(1).map(|last| {
        let equal = |other: &(f64, usize)| other.0.total_cmp(&ascending[last].0).is_lt();
        ascending[ascending.partition_point(equal)]
    });
    let both = ascending.get(above).copied().into_iter().chain(below);
    both.map(|(other, at)| ((other - rate).abs(), at))
        .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
}

/// What is near the best.
struct Near {
    /// How much the best configuration improved on the base model.
    improvement: Option<f64>,
    /// The highest loss that is near.
    limit: f64,
}

impl Near {
    fn of(input: VerdictInput<'_>, points: &[Point<'_>]) -> Self {
        let lowest = points.iter().map(|point| point.loss).fold(f64::INFINITY, f64::min);
        let base = input.state.base.as_ref().map_or(f64::INFINITY, |base| base.eval_loss);
        let improvement = Some(base - lowest).filter(|gained| *gained > 0.0 && gained.is_finite());
        let limit =
            improvement.map_or(f64::INFINITY, |gained| lowest + (1.0 - NEAR_SHARE) * gained);
        Self { improvement, limit }
    }

    fn has_one(&self, a: &Point<'_>, b: &Point<'_>) -> bool {
        a.loss.min(b.loss) <= self.limit
    }
}

/// The mean difference of pairs near the best; `None` where nobody told how sure losses are.
fn effect(
    input: VerdictInput<'_>,
    points: &[Point<'_>],
    pairs: &[(usize, usize)],
    improvement: Option<f64>,
) -> Option<Effect> {
    let candidates: Option<Vec<(usize, usize)>> =
        pairs.iter().map(|(a, b)| Some((points[*b].candidate?, points[*a].candidate?))).collect();
    if let (Some(found), Some(candidates)) = (input.found, candidates) {
        let apart = pooled(found, &candidates);
        return Some(Effect { difference: apart.difference, low: apart.low, high: apart.high });
    }
    by_means(points, pairs, improvement?)
}

/// From losses alone; `None` where nobody told how sure they are. Without that, and without the base's loss,
/// by which the seeds' share is estimated, one number of each run says nothing of the next run.
fn by_means(points: &[Point<'_>], pairs: &[(usize, usize)], improvement: f64) -> Option<Effect> {
    let count = pairs.len() as f64;
    let mean =
        |f: &dyn Fn(usize, usize) -> f64| pairs.iter().map(|(a, b)| f(*a, *b)).sum::<f64>() / count;
    let difference = mean(&|a, b| points[b].loss - points[a].loss);
    // All losses are of the same rows, so that their errors do not average out.
    let rows = mean(&|a, b| points[a].stderr.hypot(points[b].stderr)).powi(2);
    if rows <= 0.0 {
        return None;
    }
    let seeds = 2.0 * (SEED_SHARE * improvement).powi(2) / count;
    let half = student(Z95, SEED_FREEDOM) * (rows + seeds).sqrt();
    Some(Effect { difference, low: difference - half, high: difference + half })
}

/// The losses of the best runs by value, of many a few along the range.
pub fn best_in_words(matched: &Matched, lang: Lang) -> String {
    const MOST: usize = 6;
    let step = (matched.best.len() - 1).div_ceil(MOST - 1).max(1);
    let words = matched.best.iter().step_by(step).map(|(value, (_, best, gap))| match gap {
        Some(gap) => say!(lang, ByValue, value.to_string(), loss(*best), change(*gap)),
        None => format!("{value}: {}", lang.number(&loss(*best))),
    });
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Beside the plain search through all, of which it takes the place.
        #[test]
        fn the_nearest_rate_is_that_of_a_search_through_all(
            rates in prop::collection::vec(prop::sample::select(&[1e-5, 3e-5, 1e-4, 1.5e-4, 1e-3][..]), 1..12),
            rate in prop::sample::select(&[1e-6, 2e-5, 1e-4, 1.2e-4, 1.0][..]),
        ) {
            let rate = f64::ln(rate);
            let apart = |at: usize| (f64::ln(rates[at]) - rate).abs();
            let plain = (0..rates.len()).min_by(|&a, &b| apart(a).total_cmp(&apart(b)));
            let mut ascending: Vec<(f64, usize)> =
                rates.iter().enumerate().map(|(at, rate)| (f64::ln(*rate), at)).collect();
            ascending.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            prop_assert_eq!(nearest(&ascending, rate).map(|(_, at)| at), plain);
        }
    }

    #[test]
    fn pairs_are_all_there_are_as_long_as_they_are_not_too_many() {
        assert_eq!((step(0, 0), step(1, 1), step(20_000, 8)), (1, 1, 1));
        for (configurations, values) in [(20_000, 512), (20_000, 20_000), (1_000_000, 3)] {
            let kept = configurations / step(configurations, values);
            assert!(kept * kept.min(values) / 2 <= MOST_PAIRS, "{kept} of {configurations}");
            assert!(kept >= 500, "{kept} of {configurations}");
        }
    }
}
