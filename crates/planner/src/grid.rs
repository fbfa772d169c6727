//! Every combination of the listed values, once.

use spec::{SearchSpace, Sweep, SweepState, Trial};

use crate::Planner;
use crate::suggest::{Ending, next_trials};

/// Visits the grid in the order of [`SearchSpace::grid_config`].
#[derive(Debug)]
pub(crate) struct Grid {
    space: SearchSpace,
    ending: Ending,
}

impl Grid {
    pub fn new(sweep: &Sweep) -> Self {
        Self { space: sweep.space.clone(), ending: Ending::new(sweep) }
    }
}

impl Planner for Grid {
    fn suggest(&self, history: &SweepState, count: usize) -> Vec<Trial> {
        // A resolved grid is finite; without a size there is nothing to visit.
        let cells = self.space.grid_size().unwrap_or(0);
        let sequence = (0..cells).map(|position| self.space.grid_config(position));
        next_trials(sequence, self.ending, history, count)
    }

    fn total(&self) -> Option<usize> {
        self.ending.total(&self.space)
    }
}
