//! Which runs cannot be told from the best one, which of those to take, and what to expect of it.
//!
//! # Notation
//! E validation examples; run k has the summed loss `n(k, e)` on example e, which has `t(e)` target
//! tokens, so that its loss is `L(k) = sum n / sum t`. Runs that differ in nothing but their seed
//! are one *candidate*, whose `n` is the mean over its s(k) seeds.
//!
//! # The comparison
//! All runs were judged on the same examples, so they are compared example by example: a replicate
//! draws E examples with replacement, the same for every candidate (paired bootstrap; Efron &
//! Tibshirani 1993, chapter 16), and gives the differences `d*(k) = L*(k) - L*(best)`. Where seeds
//! were repeated, each replicate also moves every candidate by a normal deviate with the pooled
//! variance between seeds, divided by s(k).
//!
//! Many candidates stand against one, so the intervals hold for all of them at once: with `se(k)`
//! the standard deviation of `d*(k)` and `c` the 95 % quantile, over replicates, of the largest
//! `(d(k) - d*(k)) / se(k)`, the interval is `d(k) -+ c se(k)` (the maximum-t method; Westfall &
//! Young 1993). A candidate is *tied* with the best when the interval reaches down to 0. So the
//! candidate that is truly best is among the tied ones 95 times in 100 (multiple comparisons with
//! the best; Hsu 1984, Annals of Statistics 12:1136), however many are compared.
//!
//! # The choice
//! Against thousands, a run far behind may be tied as well: that it is worse has not been shown, but
//! is likely. So simplicity decides among those that even a comparison with the best alone does not
//! tell from it (`d(k) <= 1.645 se(k)`, 95 % one-sided): of these the lowest rank; of those, the ones whose gap is within one standard
//! error of the smallest; of those, the least retention loss, and then the lowest validation loss.
//!
//! # What to expect
//! The lowest of many noisy losses is too low. So the choice is repeated on four fifths of the
//! examples and measured on the fifth that it was not chosen by, over all fifths and many
//! divisions (Varma & Simon 2006, BMC Bioinformatics 7:91). What that lies above the lowest loss is
//! the *optimism*, and is added.

mod bootstrap;
mod candidate;
mod choice;
mod optimism;

use std::collections::BTreeMap;

use serde::Serialize;
use spec::{ExampleLosses, SweepState, TrialId};

pub use choice::{Choice, Reason};

use bootstrap::Intervals;
use candidate::{Candidate, Candidates};

/// Standard normal quantile of a two-sided 95 % interval.
pub(crate) const Z95: f64 = 1.959_964;

/// Two-sided 95 % and a power of 80 %: the sum of the two normal quantiles.
const DETECTABLE: f64 = 2.801_585;

/// How the runs of a sweep compare.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Number of validation examples.
    pub examples: usize,
    /// Number of configurations compared (repeated seeds count once).
    pub candidates: usize,
    /// Standard deviation of the validation loss between seeds, where seeds were repeated.
    pub seed_deviation: Option<f64>,
    /// The configuration with the lowest loss, by its run with the lowest one.
    pub best: TrialId,
    /// The configuration after it.
    pub runner_up: Option<RunnerUp>,
    /// The critical value c.
    pub critical: f64,
    /// Every compared run (their rows in the ranking say the same), and the base model as trial 0, against the best.
    #[serde(skip)]
    pub against_best: BTreeMap<TrialId, Against>,
    /// Runs that cannot be told from the best, that one among them, by validation loss.
    pub tied: Vec<TrialId>,
    /// Not even the base model can be told from the best run.
    pub is_base_tied: bool,
    /// The run to take.
    pub choice: Choice,
    /// How much too low the lowest loss is, as the winner of its comparison; at least 0.
    pub optimism: Option<f64>,
    /// The choice's validation loss and the optimism: what to expect on new rows like these.
    pub expected_loss: Option<f64>,
    /// Validation examples it would take to tell the best from the next (95 %, power 80 %).
    pub examples_needed: Option<u64>,
}

/// The configuration after the best one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RunnerUp {
    /// Its run with the lowest loss.
    pub trial: TrialId,
    /// Its loss (the mean over its seeds) above the best configuration's.
    pub behind: f64,
}

/// One run beside the best.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Against {
    /// Its validation loss minus the best's.
    pub difference: f64,
    /// Standard error of that.
    pub stderr: f64,
    /// Lower end of the simultaneous 95 % interval.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
    /// It cannot be told from the best.
    pub is_tied: bool,
}

/// Two runs on the same examples: `a`'s loss minus `b`'s, with a 95 % interval of this one
/// comparison; `None` when the examples are not the same.
pub fn against(a: &ExampleLosses, b: &ExampleLosses) -> Option<Against> {
    let are_same = a.targets == b.targets && a.nll.len() == b.nll.len();
    let tokens: f64 = a.targets.iter().map(|t| f64::from(*t)).sum();
    if !are_same || tokens <= 0.0 {
        return None;
    }
    let sum = |x: &ExampleLosses| x.nll.iter().map(|x| f64::from(*x)).sum::<f64>();
    let difference = (sum(a) - sum(b)) / tokens;
    let pairs = a.nll.iter().zip(&b.nll).zip(&a.targets);
    let pairs = pairs.map(|((a, b), t)| (f64::from(*a) - f64::from(*b), f64::from(*t)));
    let stderr = bootstrap::ratio_error(pairs, difference, tokens);
    Some(bootstrap::interval(difference, stderr, Z95))
}

/// Compares the runs whose losses are known example by example; `None` when there are none.
pub fn compare(state: &SweepState) -> Option<Comparison> {
    let found = Candidates::of(state)?;
    let best = found.best();
    let intervals = Intervals::new(&found, best);
    let mut against_best = BTreeMap::new();
    for (candidate, interval) in found.list.iter().zip(&intervals.of) {
        against_best.extend(candidate.trials.iter().map(|trial| (*trial, *interval)));
    }
    let base = found.base.as_ref().map(|base| intervals.against(&found, base, best));
    against_best.extend(base.map(|base| (TrialId::BASE, base)));

    let tied: Vec<&Candidate> = intervals
        .of
        .iter()
        .zip(&found.list)
        .filter_map(|(interval, candidate)| interval.is_tied.then_some(candidate))
        .collect();
    let close: Vec<&Candidate> = intervals
        .of
        .iter()
        .zip(&found.list)
        .filter(|(interval, _)| interval.difference <= bootstrap::SINGLE * interval.stderr)
        .map(|(_, candidate)| candidate)
        .collect();
    let choice = choice::choose(&close, tied.len(), &found.list[best]);
    let optimism = optimism::of(&found);
    let chosen = found.list.iter().find(|candidate| candidate.trials.contains(&choice.trial));
    let mut names: Vec<TrialId> = tied.iter().map(|candidate| candidate.trial).collect();
    names.sort_by(|a, b| {
        let loss = |id: &TrialId| against_best.get(id).map_or(f64::INFINITY, |a| a.difference);
        loss(a).total_cmp(&loss(b)).then(a.cmp(b))
    });
    Some(Comparison {
        examples: found.targets.len(),
        candidates: found.list.len(),
        seed_deviation: found.seed_variance.map(f64::sqrt),
        best: found.list[best].trial,
        runner_up: runner_up(&found, best),
        critical: intervals.critical,
        is_base_tied: base.is_some_and(|base| base.is_tied),
        examples_needed: examples_needed(&found, &intervals, best),
        expected_loss: optimism.zip(chosen).map(|(optimism, chosen)| chosen.loss + optimism),
        against_best,
        tied: names,
        choice,
        optimism,
    })
}

fn runner_up(found: &Candidates, best: usize) -> Option<RunnerUp> {
    let others = found.list.iter().enumerate().filter(|(at, _)| *at != best);
    let next = others.map(|(_, other)| other).min_by(|a, b| a.loss.total_cmp(&b.loss))?;
    Some(RunnerUp { trial: next.trial, behind: next.loss - found.list[best].loss })
}

/// From the smallest difference that is not exactly 0: its standard error falls with the root of
/// the number of examples.
fn examples_needed(found: &Candidates, intervals: &Intervals, best: usize) -> Option<u64> {
    let others = intervals.of.iter().enumerate().filter(|(at, _)| *at != best);
    let next = others.map(|(_, against)| against).filter(|a| a.difference > 0.0);
    let next = next.min_by(|a, b| a.difference.total_cmp(&b.difference))?;
    let factor = (DETECTABLE * next.stderr / next.difference).powi(2);
    let needed = (found.targets.len() as f64 * factor).ceil();
    (needed.is_finite() && needed < 1e12).then_some(needed as u64)
}
