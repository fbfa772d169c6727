//! Which runs cannot be told from the best one, which of those to take, and what to expect of it.
//!
//! # Notation
//! E validation examples; run k has the summed loss `n(k, e)` on example e, which has `t(e)` target
//! tokens, so that its loss is `L(k) = sum n / sum t`. Runs that differ in nothing but their seed
//! are one *candidate*, whose `n` is the mean over its s(k) seeds.
//!
//! # What a difference is made of
//! A difference of two losses is one of these runs on these rows. Two questions are asked of it:
//! - **On rows like these, with these seeds:** all runs were judged on the same examples, so they are
//!   compared example by example. A replicate draws E examples with replacement, the same for every
//!   candidate (paired bootstrap; Efron & Tibshirani 1993, chapter 16), and gives the differences
//!   `d*(k) = L*(k) - L*(best)`, with the standard deviation `se(k)`.
//! - **Expected with other seeds:** another seed of a configuration has another loss, by the variance
//!   `phi v(k) / s(k)` (`seeds`, which says where phi comes from and how sure it is). So every replicate
//!   also moves each candidate by a normal deviate with that variance, after phi itself was drawn from its
//!   posterior. A claim about configurations needs this one; `stderr`, `low`, `high` and `is_tied`
//!   are of it, and `is_tied_on_rows` alone is of the first.
//!
//! Many candidates stand against one, so the intervals hold for all of them at once: with `c` the 95 %
//! quantile, over replicates, of the largest `(d(k) - d*(k)) / se(k)`, the interval is
//! `d(k) -+ c se(k)` (the maximum-t method; Westfall & Young 1993). A candidate is *tied* with the best
//! when the interval reaches down to 0. So the candidate that is truly best is among the tied ones 95
//! times in 100 (multiple comparisons with the best; Hsu 1984, Annals of Statistics 12:1136), however
//! many are compared. Two runs alone have Student's interval, with the degrees of freedom of the sum of
//! both variances (Satterthwaite 1946).
//!
//! # The choice
//! Against thousands, a run far behind may be tied as well: that it is worse has not been shown, but
//! is likely. So simplicity decides among those that even a comparison with the best alone does not
//! tell from it (95 %, one-sided): of these the lowest rank; of those, the ones whose gap is within one
//! standard error of the smallest; of those, the least retention loss, and then the lowest validation
//! loss. That comparison includes the seeds where they were repeated. Where they were not, it is over rows
//! alone: what is exported is a trained run, and that another seed of a simpler configuration might have
//! been as good does not make the simpler run so.
//!
//! # What to expect
//! The lowest of many noisy losses is too low. So the choice is repeated on four fifths of the
//! examples and measured on the fifth that it was not chosen by, over all fifths and many
//! divisions (Varma & Simon 2006, BMC Bioinformatics 7:91). What that lies above the lowest loss is
//! the *optimism*, and is added: what was trained is expected there on new rows. Its seed was chosen
//! for its luck as well, so that the same configuration under another seed is expected higher, by the
//! luck of the winner among the candidates' losses moved by their seeds; that interval has both errors.

mod bootstrap;
mod candidate;
mod choice;
mod optimism;
mod pooled;
mod repeat;
mod score;
mod seeds;
mod share;
mod surrogate;

use std::collections::BTreeMap;

use curves::{DETECTABLE, student};
use serde::Serialize;
use spec::{SweepState, TrialId};

pub use choice::{Choice, Reason};
pub use optimism::Expected;
pub use repeat::Repeat;
pub use share::SeedSpread;

use bootstrap::Intervals;
use candidate::Candidate;
pub(crate) use candidate::Candidates;
pub(crate) use curves::student::student;
pub(crate) use pooled::pooled;
pub(crate) use score::score_interval;

/// Standard normal quantile of a two-sided 95 % interval.
pub(crate) use curves::student::TWO_SIDED as Z95;

/// How the runs of a sweep compare.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Number of validation examples.
    pub examples: usize,
    /// Number of configurations compared (repeated seeds count once).
    pub candidates: usize,
    /// How much the loss differs between seeds, measured or estimated.
    pub seeds: SeedSpread,
    /// The configuration with the lowest loss, by its run with the lowest one.
    pub best: TrialId,
    /// The configuration after it.
    pub runner_up: Option<RunnerUp>,
    /// The critical value c.
    pub critical: f64,
    /// Every compared run (their rows in the ranking say the same), and the base model as trial 0, against the best.
    #[serde(skip)]
    pub against_best: BTreeMap<TrialId, Against>,
    /// Runs that cannot be told from the best, that one among them, by validation loss: another seed or
    /// other rows may put them first.
    pub tied: Vec<TrialId>,
    /// Those of them that cannot be told from the best with these seeds either.
    pub tied_on_rows: Vec<TrialId>,
    /// What repeating the closest under more seeds would decide, where seeds alone tie them.
    pub repeat: Option<Repeat>,
    /// Not even the base model can be told from the best run.
    pub is_base_tied: bool,
    /// The run to take.
    pub choice: Choice,
    /// How much too low the lowest loss is, as the winner of its comparison; at least 0.
    pub optimism: Option<f64>,
    /// The choice's validation loss, or whatever runs are compared by (the mean over its seeds), and the
    /// optimism: what to expect of it on new rows like these.
    pub expected_loss: Option<f64>,
    /// What to expect on new rows of the choice's configuration under another seed.
    pub expected: Option<Expected>,
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
    /// Its validation loss minus the best's; where runs are compared by what is to be high, the best's
    /// value minus its own.
    pub difference: f64,
    /// Standard error of that, of rows and seeds.
    pub stderr: f64,
    /// Standard error of that over rows alone: with these seeds.
    pub stderr_on_rows: f64,
    /// Lower end of the simultaneous 95 % interval.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
    /// It cannot be told from the best: with other seeds or on other rows it may be better.
    pub is_tied: bool,
    /// It cannot be told from the best with these seeds either, whatever other seeds do.
    pub is_tied_on_rows: bool,
}

/// A run with its sweep.
pub(crate) type Run<'a> = (&'a SweepState, TrialId);

/// The loss of run `a` minus that of run `b`, with the 95 % interval of this one comparison under other
/// seeds; `None` when they were not measured on the same examples or one has not ended. Runs of sweeps
/// that compare by different metrics are compared by their losses.
pub(crate) fn pair(a: Run<'_>, b: Run<'_>) -> Option<Against> {
    if a.0.objective != b.0.objective {
        let (first, second) = (a.0.by_loss(), b.0.by_loss());
        return pair((&first, a.1), (&second, b.1));
    }
    let (mut found, own) = (Candidates::of(a.0)?, losses(a)?);
    let here = found.at(a.1)?;
    let other = losses(b)?;
    if std::ptr::eq(a.0, b.0) {
        let there = found.at(b.1)?;
        return Some(bootstrap::pair(&found, (here, &own), (there, &other)));
    }
    // Of two sweeps each knows the share of its own seeds.
    let theirs = Candidates::of(b.0)?;
    let are_same = found.targets == theirs.targets;
    let there = theirs.at(b.1).filter(|_| are_same)?;
    found.seeds.spread.push(theirs.seeds.of_run(there) / found.seeds.share);
    found.seeds.freedom = found.seeds.freedom.min(theirs.seeds.freedom);
    let there = found.seeds.spread.len() - 1;
    Some(bootstrap::pair(&found, (here, &own), (there, &other)))
}

fn losses((state, trial): Run<'_>) -> Option<Vec<f64>> {
    let examples = state.trials.get(&trial)?.example_costs()?;
    Some(examples.nll.iter().map(|x| f64::from(*x)).collect())
}

/// Compares the runs whose losses are known example by example; `None` when there are none.
pub fn compare(state: &SweepState) -> Option<Comparison> {
    Candidates::of(state).as_ref().map(compare_found)
}

/// As [`compare`], for candidates that are already known.
pub(crate) fn compare_found(found: &Candidates) -> Comparison {
    let best = found.best();
    let intervals = Intervals::new(found, best);
    let mut against_best = BTreeMap::new();
    for (candidate, interval) in found.list.iter().zip(&intervals.of) {
        against_best.extend(candidate.trials.iter().map(|trial| (*trial, *interval)));
    }
    let base = found
        .base
        .as_ref()
        .map(|base| bootstrap::against_untrained(found, &base.nll, best, intervals.critical));
    against_best.extend(base.map(|base| (TrialId::BASE, base)));

    let those = |is: &dyn Fn(usize) -> bool| -> Vec<&Candidate> {
        (0..found.list.len()).filter(|&at| is(at)).map(|at| &found.list[at]).collect()
    };
    let tied = those(&|at| intervals.of[at].is_tied);
    let close = those(&|at| intervals.is_close[at]);
    let choice = choice::choose(&close, tied.len(), &found.list[best]);
    let chosen = found.list.iter().position(|c| c.trials.contains(&choice.trial));
    let optimism = optimism::of(found);
    let expected = optimism.zip(chosen);
    Comparison {
        examples: found.targets.len(),
        candidates: found.list.len(),
        seeds: found.seeds.in_short(best),
        best: found.list[best].trial,
        runner_up: runner_up(found, best),
        critical: intervals.critical,
        is_base_tied: base.is_some_and(|base| base.is_tied),
        examples_needed: examples_needed(found, &intervals, best),
        expected_loss: expected
            .map(|(optimism, chosen)| found.list[chosen].loss + optimism)
            .map(|cost| found.objective.expected_value(cost)),
        expected: expected.map(|(optimism, chosen)| {
            Expected::of(found, chosen, optimism).in_values(&found.objective)
        }),
        repeat: repeat::of(found, &intervals, best),
        tied: by_difference(&tied, &against_best),
        tied_on_rows: by_difference(&those(&|at| intervals.of[at].is_tied_on_rows), &against_best),
        against_best,
        choice,
        optimism,
    }
}

fn by_difference(
    candidates: &[&Candidate],
    against_best: &BTreeMap<TrialId, Against>,
) -> Vec<TrialId> {
    let mut names: Vec<TrialId> = candidates.iter().map(|candidate| candidate.trial).collect();
    names.sort_by(|a, b| {
        let loss = |id: &TrialId| against_best.get(id).map_or(f64::INFINITY, |a| a.difference);
        loss(a).total_cmp(&loss(b)).then(a.cmp(b))
    });
    names
}

fn runner_up(found: &Candidates, best: usize) -> Option<RunnerUp> {
    let others = found.list.iter().enumerate().filter(|(at, _)| *at != best);
    let next = others.map(|(_, other)| other).min_by(|a, b| a.loss.total_cmp(&b.loss))?;
    Some(RunnerUp { trial: next.trial, behind: next.loss - found.list[best].loss })
}

/// From the smallest difference that is not exactly 0: its standard error over examples falls with the
/// root of their number.
fn examples_needed(found: &Candidates, intervals: &Intervals, best: usize) -> Option<u64> {
    let others = intervals.of.iter().enumerate().filter(|(at, _)| *at != best);
    let (at, next) = others
        .filter(|(_, against)| against.difference > 0.0)
        .min_by(|a, b| a.1.difference.total_cmp(&b.1.difference))?;
    curves::examples_needed(next.difference, intervals.examples[at], found.targets.len())
}
