//! A merged model against its base with the adapter at run time: log probabilities of targets.
//!
//! Both are computed in f32 on the CPU. They differ by the rounding of the merged weights to the
//! base's number format, and where the base was quantised in training, by that.

use std::path::Path;

use data::Dataset;
use spec::BaseSettings;

use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::decoder::{ActiveAdapter, Decoder, Rows};
use crate::error::Result;
use crate::format::weight_files;
use crate::model::Model;
use crate::peft;

/// More tokens add nothing.
const MOST_TOKENS: usize = 4096;
/// Bytes of weights times tokens: about a minute for each of the two models on a few cores.
const MOST_WORK: u64 = 8 << 40;

/// How far two models are apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Rows that were compared.
    pub rows: usize,
    /// Targets of these rows.
    pub targets: usize,
    /// The largest absolute difference of a target's log probability, in nats.
    pub max_difference: f64,
    /// The mean of these differences.
    pub mean_difference: f64,
    /// Mean loss of the base with the adapter, in nats per target.
    pub adapter_loss: f64,
    /// Mean loss of the merged model.
    pub merged_loss: f64,
}

/// Compares the model in `merged` with the one in `model_dir`, whose weights are held as `base`
/// says, under `adapter`, on some rows; `None` without rows.
pub fn compare(
    model_dir: &Path,
    base: &BaseSettings,
    adapter: &Path,
    merged: &Path,
    rows: &Dataset,
) -> Result<Option<Comparison>> {
    let mut bytes = 0;
    for file in weight_files(merged)? {
        bytes += file.metadata().map_or(0, |found| found.len());
    }
    let chosen = chosen(rows, usize::try_from(MOST_WORK / bytes.max(1)).unwrap_or(usize::MAX));
    if chosen.is_empty() {
        return Ok(None);
    }
    let mut packed = Rows::default();
    for index in &chosen {
        let example = &rows.examples[*index];
        packed.push(&example.input_ids, &example.loss_mask, 1.0);
    }
    // One model at a time: each may fill the memory.
    let apart = losses(model_dir, base, Some(adapter), &packed)?;
    let whole = losses(merged, &BaseSettings::default(), None, &packed)?;
    Ok(Some(Comparison::of(chosen.len(), &apart, &whole)))
}

fn losses(
    model_dir: &Path,
    base: &BaseSettings,
    adapter: Option<&Path>,
    rows: &Rows,
) -> Result<Vec<f32>> {
    let backend = Cpu::<f32>::new();
    let decoder = Decoder { model: Model::load(&backend, model_dir, base)?, backend };
    let Some(adapter) = adapter else { return decoder.losses(rows, &[]) };
    let loaded = peft::load(adapter, &decoder.model.config)?;
    let params = decoder.backend.tensor(&loaded.values, 1, loaded.layout.len)?;
    let active = ActiveAdapter {
        layout: &loaded.layout,
        params: &params,
        rows: 0..rows.len(),
        dropout: None,
    };
    decoder.losses(rows, &[active])
}

impl Comparison {
    fn of(rows: usize, adapter: &[f32], merged: &[f32]) -> Self {
        let mean = |sum: f64| sum / adapter.len().max(1) as f64;
        let total = |losses: &[f32]| mean(losses.iter().map(|loss| f64::from(*loss)).sum());
        let (mut largest, mut sum) = (0.0_f64, 0.0);
        for (a, b) in adapter.iter().zip(merged) {
            let difference = (f64::from(*a) - f64::from(*b)).abs();
            // `max` would pass over what is not a number.
            largest = if difference.is_nan() { f64::INFINITY } else { largest.max(difference) };
            sum += difference;
        }
        Self {
            rows,
            targets: adapter.len(),
            max_difference: largest,
            mean_difference: mean(sum),
            adapter_loss: total(adapter),
            merged_loss: total(merged),
        }
    }
}

/// Rows spread evenly over the set, ascending, of at most this many tokens; at least one, where
/// there is any.
fn chosen(rows: &Dataset, most_tokens: usize) -> Vec<usize> {
    let most = most_tokens.min(MOST_TOKENS);
    let count = rows.examples.len();
    let mean = rows.tokens().div_ceil(count.max(1)).max(1);
    let wanted = (most / mean).clamp(1, count.max(1));
    let spread = (0..wanted).map(|index| index * count / wanted).filter(|index| *index < count);
    let mut tokens = 0;
    let mut chosen = Vec::new();
    for index in spread {
        tokens += rows.examples[index].input_ids.len();
        if tokens > most && !chosen.is_empty() {
            break;
        }
        chosen.push(index);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use data::Example;

    use super::*;

    fn rows(lengths: &[usize]) -> Dataset {
        let example = |n: &usize| Example { input_ids: vec![0; *n], loss_mask: vec![true; *n] };
        Dataset { examples: lengths.iter().map(example).collect() }
    }

    #[test]
    fn rows_are_spread_over_the_set_within_the_limit() {
        assert_eq!(chosen(&rows(&[10; 10]), 40), [0, 2, 5, 7]);
        assert_eq!(chosen(&rows(&[10; 3]), 1000), [0, 1, 2]);
        assert_eq!(chosen(&rows(&[50, 1, 1, 1]), 20), [0], "the first one whatever its length");
        assert!(chosen(&rows(&[]), 100).is_empty());
    }

    #[test]
    fn the_largest_and_the_mean_difference_are_absolute() {
        let found = Comparison::of(1, &[1.0, 2.0], &[1.5, 1.0]);
        let expected = Comparison {
            rows: 1,
            targets: 2,
            max_difference: 1.0,
            mean_difference: 0.75,
            adapter_loss: 1.5,
            merged_loss: 1.25,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_loss_that_is_not_a_number_is_no_small_difference() {
        assert_eq!(Comparison::of(1, &[1.0, 1.0], &[f32::NAN, 1.0]).max_difference, f64::INFINITY);
    }
}
