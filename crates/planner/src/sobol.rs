//! A scrambled Sobol sequence: draws that leave no gaps.
//!
//! Burley 2020, "Practical hash-based Owen scrambling" (JCGT 9(4)); the sweep's seed is the
//! scrambling's. Axes are drawn through their distributions, as random search does.

use spec::{Parameter, SearchSpace, Sweep, SweepState, Trial, TrialConfig};

use crate::Planner;
use crate::draws::Draws;
use crate::suggest::{Ending, next_trials};

/// Points of one scrambled sequence; after these another one begins.
const SEQUENCE: u64 = 1 << 16;

/// Draws without repetition, evenly spread.
#[derive(Debug)]
pub(crate) struct Sobol {
    space: SearchSpace,
    seed: u64,
    ending: Ending,
}

impl Sobol {
    pub fn new(sweep: &Sweep) -> Self {
        Self { space: sweep.space.clone(), seed: sweep.seed, ending: Ending::new(sweep) }
    }

    /// Draws until the space is exhausted.
    pub fn uncapped(sweep: &Sweep) -> Self {
        Self { ending: Ending::NEVER, ..Self::new(sweep) }
    }
}

impl Planner for Sobol {
    fn suggest(&self, history: &SweepState, count: usize) -> Vec<Trial> {
        let point = |index| self.space.sample(&shares(self.seed, index));
        next_trials(Draws::new(&self.space, history.first_draw, point), self.ending, history, count)
    }

    fn total(&self) -> Option<usize> {
        self.ending.total(&self.space)
    }
}

/// Point `index` of the sequence that `seed` scrambles, in the open unit cube.
pub(crate) fn shares(seed: u64, index: u64) -> [f64; Parameter::COUNT] {
    let scramble = (seed ^ (seed >> 32)) as u32 ^ ((index / SEQUENCE) as u32).wrapping_mul(0x9e37);
    let within = (index % SEQUENCE) as u32;
    std::array::from_fn(|axis| {
        f64::from(sobol_burley::sample(within, axis as u32, scramble))
            + f64::from(f32::EPSILON) / 4.0
    })
}

/// The configuration at a point of the sequence.
pub(crate) fn config(space: &SearchSpace, seed: u64, index: u64) -> TrialConfig {
    space.sample(&shares(seed, index))
}
