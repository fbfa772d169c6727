//! Which trial next, and which trial to give up: pure functions of a sweep and its history.
//!
//! Place on the flow line:
//! `sweeps/x.yaml -> SweepFile -> Sweep -> **planner** -> **Trial** -> worker -> trainer ->
//! Event -> store -> **SweepState** -> reporter`.
//!
//! No input or output happens here, and nothing is remembered between calls: a planner or a pruner
//! can be made anew at any time from the sweep alone.

#![forbid(unsafe_code)]

mod bayes;
mod draws;
mod grid;
mod prune;
mod random;
mod rank_ladder;
mod replicates;
mod searched;
mod sobol;
mod suggest;

use std::sync::Arc;

use spec::{Method, Sweep, SweepState, Trial, TrialConfig};

pub use bayes::{Earlier, Expectation, Incumbent, expectation, expectations, incumbent};
pub use prune::{Decision, Promotion, Pruner, pruner_for};
pub use replicates::ids as replicate_ids;
pub use searched::first_draw;

/// Guides to what this crate does, by name, in Markdown; `lorasweep guide` shows them.
pub const GUIDES: &[(&str, &str)] = &[("methods", include_str!("../guides/methods.md"))];

/// Proposes trials.
pub trait Planner: Send + Sync {
    /// Up to `count` new trials, given everything that happened so far; none when the search is
    /// exhausted, the sweep's `run_cap` is reached, or a trial has reached the metric's target.
    /// Fewer, or none for now, when the next one depends on trials that still run: whoever asks asks
    /// again when one of them has ended.
    ///
    /// The answer depends on the sweep and on `history` alone, never on earlier calls. No
    /// configuration is proposed that `history` or the answer itself already has. Numbers go on
    /// from the highest in `history`.
    fn suggest(&self, history: &SweepState, count: usize) -> Vec<Trial>;

    /// Why no further trial is proposed although there could be more, in words and numbers; `None`
    /// while there will be more, and when the reason is the space's end or the `run_cap`.
    fn conclusion(&self, history: &SweepState) -> Option<String> {
        let _ = history;
        None
    }

    /// Whether what is proposed depends on what was measured, so that nobody can tell beforehand
    /// which trials there will be.
    fn is_adaptive(&self) -> bool {
        false
    }

    /// How many trials there will be in all (for an adaptive planner: at most), unless the target
    /// ends the sweep before; `None` when there is no end to them.
    fn total(&self) -> Option<usize>;
}

/// Trials spread over the whole space of a sweep, to estimate from what its trials will need.
pub fn sample(sweep: &Sweep, count: usize) -> Vec<Trial> {
    sobol::Sobol::uncapped(sweep).suggest(&SweepState::default(), count)
}

/// Whether a configuration can be trained at all, as far as that is known beforehand.
pub type Fits = Arc<dyn Fn(&TrialConfig) -> bool + Send + Sync>;

/// What there is to know beside a sweep and its history.
#[derive(Default, Clone)]
pub struct Knowledge {
    /// Earlier sweeps to learn from (`warm_start`).
    pub earlier: Vec<Earlier>,
    /// Whether a trial fits on its device, from its predicted memory; absent where nobody can tell.
    pub fits: Option<Fits>,
}

/// The planner of a sweep that knows more than the sweep; only `bayes` makes use of it.
pub fn knowing(sweep: &Sweep, knowledge: Knowledge) -> Box<dyn Planner> {
    match sweep.method {
        Method::Bayes => finished(Box::new(bayes::Bayes::knowing(sweep, knowledge)), sweep),
        _ => for_sweep(sweep),
    }
}

/// The planner of a sweep's `method`.
pub fn for_sweep(sweep: &Sweep) -> Box<dyn Planner> {
    let search: Box<dyn Planner> = match sweep.method {
        Method::Grid => Box::new(grid::Grid::new(sweep)),
        Method::Random => Box::new(random::Random::new(sweep)),
        Method::Sobol => Box::new(sobol::Sobol::new(sweep)),
        Method::Bayes => Box::new(bayes::Bayes::new(sweep)),
        Method::RankLadder => Box::new(rank_ladder::RankLadder::new(sweep)),
    };
    finished(search, sweep)
}

/// With what comes after the search.
fn finished(search: Box<dyn Planner>, sweep: &Sweep) -> Box<dyn Planner> {
    let search: Box<dyn Planner> = Box::new(searched::Searched(search));
    match sweep.replicates {
        Some(wanted) => Box::new(replicates::Replicated::new(search, wanted, &sweep.train)),
        None => search,
    }
}
