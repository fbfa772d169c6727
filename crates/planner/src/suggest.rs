//! From an endless or finite sequence of configurations to the next trials.
//!
//! A planner is a sequence of configurations that depends on the sweep alone. The next trials are
//! the first ones of the sequence that the history does not have, so that there is no cursor to
//! keep: a proposal that was lost on the way comes again, and nothing comes twice.

use std::collections::HashSet;

use spec::{ConfigKey, SearchSpace, Sweep, SweepState, Trial, TrialConfig, TrialId};

/// When a sweep proposes no further trials, whatever its method.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    run_cap: Option<u32>,
    target: Option<f64>,
}

impl Ending {
    /// No end but the space's.
    pub const NEVER: Self = Self { run_cap: None, target: None };

    pub fn new(sweep: &Sweep) -> Self {
        Self { run_cap: sweep.run_cap, target: sweep.metric.target }
    }

    /// How many trials may still be proposed.
    pub fn room(self, history: &SweepState) -> usize {
        let reached = self.target.is_some_and(|target| {
            // What is searched has costs in the place of the metric.
            let bar = history.objective.cost_of(target);
            history.trials.values().filter_map(|t| t.best()).any(|e| e.eval_loss <= bar)
        });
        match self.run_cap {
            _ if reached => 0,
            Some(cap) => {
                let proposed = history.trials.values().filter(|trial| !trial.is_added).count();
                (cap as usize).saturating_sub(proposed)
            }
            None => usize::MAX,
        }
    }

    /// Number of trials in all when the sequence has as many configurations as the space.
    pub fn total(self, space: &SearchSpace) -> Option<usize> {
        let different = space.distinct_size().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        match (self.run_cap.map(|cap| cap as usize), different) {
            (Some(cap), Some(different)) => Some(cap.min(different)),
            (one, other) => one.or(other),
        }
    }
}

/// The first configurations of `sequence` that are not in `history`, numbered.
pub(crate) fn next_trials(
    sequence: impl Iterator<Item = TrialConfig>,
    ending: Ending,
    history: &SweepState,
    count: usize,
) -> Vec<Trial> {
    let count = count.min(ending.room(history));
    if count == 0 {
        return Vec::new();
    }
    let mut known: HashSet<ConfigKey> =
        history.trials.values().map(|t| t.trial.config.key()).collect();
    let last = history.trials.keys().next_back().copied().unwrap_or(TrialId::BASE);
    sequence
        .filter(|config| known.insert(config.key()))
        .take(count)
        .zip(last.0 + 1..)
        .map(|(config, id)| Trial { id: TrialId(id), config })
        .collect()
}
