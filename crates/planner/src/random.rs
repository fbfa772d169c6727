//! Independent draws from the parameters' distributions.
//!
//! Draw `i` of a sweep is a function of the sweep's seed and of `i`: `ChaCha8` (a counter-based
//! generator) with the seed as key and `i` as stream gives one share a parameter.

use std::collections::HashSet;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spec::{ConfigKey, Parameter, SearchSpace, Sweep, SweepState, Trial, TrialConfig};

use crate::Planner;
use crate::suggest::{Ending, next_trials};

/// So many draws in a row that were there before end the drawing.
const MOST_REPEATED_DRAWS: usize = 1000;

/// Draws without repetition.
#[derive(Debug)]
pub(crate) struct Random {
    space: SearchSpace,
    seed: u64,
    ending: Ending,
}

impl Random {
    pub fn new(sweep: &Sweep) -> Self {
        Self { space: sweep.space.clone(), seed: sweep.seed, ending: Ending::new(sweep) }
    }
}

impl Planner for Random {
    fn suggest(&self, history: &SweepState, count: usize) -> Vec<Trial> {
        next_trials(Draws::new(&self.space, self.seed), self.ending, history, count)
    }

    fn total(&self) -> Option<usize> {
        self.ending.total(&self.space)
    }
}

/// The sequence of different configurations that a seed draws. When the draws repeat themselves in
/// a finite space, what is left follows in the order of the grid, so that all of it comes.
struct Draws<'a> {
    space: &'a SearchSpace,
    /// The generator before its first number.
    fresh: ChaCha8Rng,
    /// Draws so far.
    drawn: u64,
    seen: HashSet<ConfigKey>,
    /// Where the walk over what is left stands, in grid cells.
    rest: u128,
    cells: u128,
    distinct: Option<u128>,
}

impl<'a> Draws<'a> {
    fn new(space: &'a SearchSpace, seed: u64) -> Self {
        Self {
            space,
            fresh: ChaCha8Rng::seed_from_u64(seed),
            drawn: 0,
            seen: HashSet::new(),
            rest: 0,
            cells: space.grid_size().unwrap_or(0),
            distinct: space.distinct_size(),
        }
    }

    fn draw(&mut self) -> TrialConfig {
        // A fresh copy has drawn nothing yet, so that choosing the stream costs nothing.
        let mut generator = self.fresh.clone();
        generator.set_stream(self.drawn);
        self.drawn += 1;
        let shares: [f64; Parameter::COUNT] = std::array::from_fn(|_| generator.random());
        self.space.sample(&shares)
    }
}

impl Iterator for Draws<'_> {
    type Item = TrialConfig;

    fn next(&mut self) -> Option<TrialConfig> {
        if self.distinct == Some(self.seen.len() as u128) {
            return None;
        }
        for _ in 0..MOST_REPEATED_DRAWS {
            let config = self.draw();
            if self.seen.insert(config.key()) {
                return Some(config);
            }
        }
        while self.rest < self.cells {
            let config = self.space.grid_config(self.rest);
            self.rest += 1;
            if self.seen.insert(config.key()) {
                return Some(config);
            }
        }
        None
    }
}
