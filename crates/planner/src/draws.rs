//! From a function that draws configurations to the sequence of the different ones.

use std::collections::HashSet;

use spec::{ConfigKey, SearchSpace, TrialConfig};

/// So many draws in a row that were there before end the drawing.
const MOST_REPEATED_DRAWS: usize = 1000;

/// The sequence of different configurations that `draw` gives. When the draws repeat themselves in
/// a finite space, what is left follows in the order of the grid, so that all of it comes.
pub(crate) struct Draws<'a, D> {
    space: &'a SearchSpace,
    /// The configuration of a draw, by its number from 0.
    draw: D,
    /// The number of the next draw.
    drawn: u64,
    seen: HashSet<ConfigKey>,
    /// Where the walk over what is left stands, in grid cells.
    rest: u128,
    cells: u128,
    distinct: Option<u128>,
}

impl<'a, D: Fn(u64) -> TrialConfig> Draws<'a, D> {
    /// The first draw is the one with the number `first`.
    pub fn new(space: &'a SearchSpace, first: u64, draw: D) -> Self {
        Self {
            space,
            draw,
            drawn: first,
            seen: HashSet::new(),
            rest: 0,
            cells: space.grid_size().unwrap_or(0),
            distinct: space.distinct_size(),
        }
    }
}

impl<D: Fn(u64) -> TrialConfig> Iterator for Draws<'_, D> {
    type Item = TrialConfig;

    fn next(&mut self) -> Option<TrialConfig> {
        if self.distinct == Some(self.seen.len() as u128) {
            return None;
        }
        for _ in 0..MOST_REPEATED_DRAWS {
            let config = (self.draw)(self.drawn);
            self.drawn += 1;
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
