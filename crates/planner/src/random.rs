//! Independent draws from the parameters' distributions.
//!
//! Draw `i` of a sweep is a function of the sweep's seed and of `i`: `ChaCha8` (a counter-based
//! generator) with the seed as key and `i` as stream gives one share a parameter.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spec::{Parameter, SearchSpace, Sweep, SweepState, Trial};

use crate::Planner;
use crate::draws::Draws;
use crate::suggest::{Ending, next_trials};

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
        let fresh = ChaCha8Rng::seed_from_u64(self.seed);
        let draw = |number| {
            // A fresh copy has drawn nothing yet, so that choosing the stream costs nothing.
            let mut generator = fresh.clone();
            generator.set_stream(number);
            let shares: [f64; Parameter::COUNT] = std::array::from_fn(|_| generator.random());
            self.space.sample(&shares)
        };
        next_trials(Draws::new(&self.space, history.first_draw, draw), self.ending, history, count)
    }

    fn total(&self) -> Option<usize> {
        self.ending.total(&self.space)
    }
}
