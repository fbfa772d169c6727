//! What an adapter can hold against what the training rows hold.
//!
//! The rows hold as many bits as the base model's loss on them says; an adapter holds about two
//! bits a parameter (Allen-Zhu & Li 2024, arXiv:2404.05405).

use spec::SweepState;

const BITS_PER_PARAMETER: f64 = 2.0;
/// So many times what the rows hold is more than adapters of any lower rank could lack: the two
/// bits are an average over models and data, not a bound.
const FAR_BEYOND: f64 = 4.0;

/// Bits of the training rows and of an adapter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// What the rows hold for the base model.
    pub rows: f64,
    /// What the adapter can hold.
    pub adapter: f64,
}

impl Capacity {
    /// Of adapters of a rank, on the modules that a run of this rank trained, or else the first run;
    /// `None` where the data or the model are not known.
    pub fn of(state: &SweepState, rank: u32) -> Option<Self> {
        let facts = state.facts.as_ref()?;
        let loss = state.base.as_ref()?.train_loss?;
        let of_rank = state.trials.values().find(|t| t.trial.config.rank == rank);
        let trial = of_rank.or_else(|| state.trials.values().next())?;
        let modules = &trial.trial.config.target_modules;
        let per_rank: u64 = modules.iter().filter_map(|m| facts.parameters_per_rank.get(m)).sum();
        let rows = loss / std::f64::consts::LN_2 * facts.train_targets as f64;
        let adapter = BITS_PER_PARAMETER * f64::from(rank) * per_rank as f64;
        (per_rank > 0).then_some(Self { rows, adapter })
    }

    /// How many times the adapter could hold the rows.
    pub fn times(&self) -> f64 {
        self.adapter / self.rows
    }

    /// Capacity is not what a lower rank lacks.
    pub fn is_far_beyond(&self) -> bool {
        self.times() >= FAR_BEYOND
    }
}
