//! Losses of single examples, as the journal keeps them.

use serde::{Deserialize, Serialize};

/// Losses of the validation examples at one evaluation, in the order of the set. Runs of one sweep
/// are compared example by example, which a mean alone does not allow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ExampleLosses {
    /// Summed negative log-likelihood of each example's target tokens, in nats.
    pub nll: Vec<f32>,
    /// Number of target tokens of each example; as long as `nll`.
    pub targets: Vec<u32>,
}

impl ExampleLosses {
    /// Examples kept apart; those beyond are added to earlier ones in turn, which keeps a journal
    /// small and leaves the spread of means as it is.
    pub const MOST: usize = 2048;

    /// Groups that examples are summed in where the losses of every evaluation are kept: example i
    /// is in group i modulo this, so that up to so many examples are a group each. It divides
    /// [`Self::MOST`], so that the examples kept apart can be grouped later.
    pub const GROUPS: usize = 256;

    /// Sums the values of single examples (or of [`Self::MOST`] sums of them) by group.
    pub fn group(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut sums: Vec<f64> = Vec::new();
        for (at, value) in values.into_iter().enumerate() {
            match sums.get_mut(at % Self::GROUPS) {
                Some(sum) => *sum += value,
                None => sums.push(value),
            }
        }
        sums
    }

    /// Collects pairs of summed loss and number of target tokens.
    pub fn collect(examples: impl IntoIterator<Item = (f64, usize)>) -> Self {
        let mut sums: Vec<(f64, u32)> = Vec::new();
        for (at, (nll, targets)) in examples.into_iter().enumerate() {
            if at < Self::MOST {
                sums.push((nll, targets as u32));
            } else {
                let sum = &mut sums[at % Self::MOST];
                *sum = (sum.0 + nll, sum.1.saturating_add(targets as u32));
            }
        }
        Self {
            nll: sums.iter().map(|(nll, _)| *nll as f32).collect(),
            targets: sums.iter().map(|(_, targets)| *targets).collect(),
        }
    }
}
