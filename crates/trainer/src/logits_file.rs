//! Logits of an exported adapter on some of its examples, for others to compare with.
//!
//! `scripts/check_peft.py` holds transformers + peft to them.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use spec::BaseSettings;

use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::decoder::{ActiveAdapter, Decoder, Rows};
use crate::error::{Result, TrainerError};
use crate::model::Model;
use crate::peft;
use data::Dataset;

/// Logits take vocabulary x tokens x 4 bytes: no more than this is written.
const MOST_BYTES: usize = 32 << 20;
/// More examples would add nothing.
const MOST_EXAMPLES: usize = 4;

/// Writes `logits.<i>`, f32 `[T, V]`, for a few of the shortest examples into the safetensors
/// file `path`, computed in f32 on the CPU. Returns how many; without any, no file is written.
pub fn write(
    path: &Path,
    model_dir: &Path,
    base: &BaseSettings,
    adapter: &Path,
    examples: &Dataset,
) -> Result<usize> {
    let backend = Cpu::<f32>::new();
    let decoder = Decoder { model: Model::load(&backend, model_dir, base)?, backend };
    let vocabulary = decoder.model.config.vocab_size;
    let loaded = peft::load(adapter, &decoder.model.config)?;
    let params = decoder.backend.tensor(&loaded.values, 1, loaded.layout.len)?;
    let mut tensors = Vec::new();
    for index in chosen(examples, vocabulary) {
        let example = &examples.examples[index];
        let mut rows = Rows::default();
        rows.push(&example.input_ids, &example.loss_mask, 1.0);
        let active = ActiveAdapter {
            layout: &loaded.layout,
            params: &params,
            rows: 0..rows.len(),
            dropout: None,
        };
        let all: Vec<usize> = (0..rows.len()).collect();
        let logits = decoder.logits(&rows, &[active], &all)?;
        let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.push((format!("logits.{index}"), rows.len(), bytes));
    }
    if tensors.is_empty() {
        return Ok(0);
    }
    let failed = |error: safetensors::SafeTensorError| TrainerError::Checkpoint {
        path: path.to_path_buf(),
        message: error.to_string(),
    };
    let views = tensors
        .iter()
        .map(|(name, rows, bytes)| {
            Ok((name, TensorView::new(Dtype::F32, vec![*rows, vocabulary], bytes)?))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(failed)?;
    let bytes = safetensors::serialize(views, None).map_err(failed)?;
    std::fs::write(path, bytes).map_err(TrainerError::io("write", path))?;
    Ok(tensors.len())
}

/// The shortest examples whose logits fit the limit, ascending.
fn chosen(examples: &Dataset, vocabulary: usize) -> Vec<usize> {
    let len = |index: &usize| examples.examples[*index].input_ids.len();
    let mut order: Vec<usize> = (0..examples.examples.len()).collect();
    order.sort_by_key(len);
    let mut bytes = 0;
    let fits = |index: &usize| {
        bytes += len(index) * vocabulary * size_of::<f32>();
        bytes <= MOST_BYTES
    };
    let mut chosen: Vec<usize> = order.into_iter().take(MOST_EXAMPLES).take_while(fits).collect();
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::Example;

    fn examples(lengths: &[usize]) -> Dataset {
        let example = |n: &usize| Example { input_ids: vec![0; *n], loss_mask: vec![true; *n] };
        Dataset { examples: lengths.iter().map(example).collect() }
    }

    #[test]
    fn the_shortest_examples_are_chosen_in_their_order() {
        assert_eq!(chosen(&examples(&[9, 3, 8, 2, 7, 1]), 10), [1, 3, 4, 5]);
    }

    #[test]
    fn logits_that_would_fill_the_disk_are_left_out() {
        assert_eq!(chosen(&examples(&[1000, 20]), 128 * 1024), [1]);
        assert!(chosen(&examples(&[1000]), 128 * 1024).is_empty());
    }
}
