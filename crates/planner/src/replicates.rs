//! The best trials once more, under other seeds, when a search is over.
//!
//! A replicate is an ordinary trial: what makes it one is a seed that is derived from another
//! trial's of the same configuration, so that the journal alone tells which trials are replicates.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use spec::{
    ConfigKey, Replicates, SweepState, TrainSettings, Trial, TrialConfig, TrialId, TrialState,
};

use crate::Planner;

/// So many seeds of a configuration are recognised as derived ones.
const MOST_SEEDS: u32 = 64;

/// A search that is followed by replicates of its best trials.
pub struct Replicated {
    search: Box<dyn Planner>,
    wanted: Replicates,
    train: TrainSettings,
}

impl Replicated {
    pub fn new(search: Box<dyn Planner>, wanted: Replicates, train: &TrainSettings) -> Self {
        let seeds = wanted.seeds.min(MOST_SEEDS);
        Self { search, wanted: Replicates { seeds, ..wanted }, train: train.clone() }
    }

    /// The best of the trials that ended, at most one of those that share their steps.
    fn best<'a>(&self, searched: &'a SweepState) -> Vec<&'a TrialState> {
        let measured = |trial: &&TrialState| trial.best().is_some();
        let mut trials: Vec<_> = searched.trials.values().filter(measured).collect();
        let cost = |trial: &TrialState| trial.best_cost().unwrap_or(f64::INFINITY);
        trials.sort_by(|a, b| cost(a).total_cmp(&cost(b)).then(a.trial.id.cmp(&b.trial.id)));
        let mut seen = HashSet::new();
        let mut is_new = |trial: &&TrialState| {
            let config = &trial.trial.config;
            seen.insert(config.trajectory(&self.train).unwrap_or_else(|| config.key()))
        };
        trials.into_iter().filter(&mut is_new).take(self.wanted.top as usize).collect()
    }
}

impl Planner for Replicated {
    fn suggest(&self, history: &SweepState, count: usize) -> Vec<Trial> {
        let trials = self.search.suggest(history, count);
        let within = history.within_space();
        let searched = without(&within);
        let last = history.trials.keys().next_back().copied().unwrap_or(TrialId::BASE);
        let is_over = searched.trials.values().all(|trial| trial.outcome().is_some());
        if !trials.is_empty() || !is_over {
            return trials;
        }
        let mut known: HashSet<ConfigKey> =
            history.trials.values().map(|trial| trial.trial.config.key()).collect();
        // Seed after seed, so that a sweep that is ended early has as many of each.
        let best = self.best(&searched);
        (1..=self.wanted.seeds)
            .flat_map(|nth| best.iter().map(move |trial| replicate(&trial.trial.config, nth)))
            .filter(|config| known.insert(config.key()))
            .take(count)
            .zip(last.0 + 1..)
            .map(|(config, id)| Trial { id: TrialId(id), config })
            .collect()
    }

    fn conclusion(&self, history: &SweepState) -> Option<String> {
        self.search.conclusion(history)
    }

    /// Which are the best is not known beforehand, but the search alone decides on its own trials.
    fn is_adaptive(&self) -> bool {
        self.search.is_adaptive()
    }

    fn total(&self) -> Option<usize> {
        let searched = self.search.total()?;
        Some(searched + searched.min(self.wanted.top as usize) * self.wanted.seeds as usize)
    }
}

/// The trials that run another one again under a seed of their own.
pub fn ids(history: &SweepState) -> BTreeSet<TrialId> {
    let mut seeds: HashMap<ConfigKey, Vec<(TrialId, u64)>> = HashMap::new();
    for trial in history.trials.values() {
        let config = &trial.trial.config;
        seeds.entry(seedless(config)).or_default().push((trial.trial.id, config.seed));
    }
    let mut replicates = BTreeSet::new();
    for runs in seeds.values().filter(|runs| runs.len() > 1) {
        let derived: HashSet<u64> = runs
            .iter()
            .flat_map(|(_, seed)| (1..=MOST_SEEDS).map(|nth| derived_seed(*seed, nth)))
            .collect();
        replicates.extend(runs.iter().filter(|(_, seed)| derived.contains(seed)).map(|run| run.0));
    }
    replicates
}

/// The history without them.
pub fn without(history: &SweepState) -> Cow<'_, SweepState> {
    let replicates = ids(history);
    if replicates.is_empty() {
        return Cow::Borrowed(history);
    }
    let mut searched = history.clone();
    searched.trials.retain(|id, _| !replicates.contains(id));
    Cow::Owned(searched)
}

fn seedless(config: &TrialConfig) -> ConfigKey {
    TrialConfig { seed: 0, ..config.clone() }.key()
}

fn replicate(config: &TrialConfig, nth: u32) -> TrialConfig {
    TrialConfig { seed: derived_seed(config.seed, nth), ..config.clone() }
}

/// A number that nobody writes into a sweep file as a seed: `splitmix64` (Steele, Lea & Flood 2014)
/// of the seed and the replicate's number, below 2^53 so that JSON keeps it exactly.
const fn derived_seed(seed: u64, nth: u32) -> u64 {
    let mut z = seed.wrapping_add((nth as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) >> 11
}
