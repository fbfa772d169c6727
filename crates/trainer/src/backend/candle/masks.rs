//! Masks of the attention, which steps have in common.

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};

use crate::error::Result;

/// Masks kept: a step has few different lengths of sequences, and a model two windows.
const KEPT: usize = 32;

/// Tokens of a sequence, and the window.
type Key = (usize, Option<usize>);

/// The masks of the latest steps.
#[derive(Debug, Default)]
pub struct Masks(Mutex<Vec<(Key, Tensor)>>);

impl Masks {
    /// `[T, T]`: 0 where a query sees a key, minus infinity where it does not.
    pub fn mask(
        &self,
        tokens: usize,
        window: Option<usize>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let mut masks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, mask)) = masks.iter().find(|(key, _)| *key == (tokens, window)) {
            return Ok(mask.clone());
        }
        let sees = |i: usize, j: usize| j <= i && window.is_none_or(|w| i - j < w);
        let value = |i, j| if sees(i, j) { 0.0 } else { f32::NEG_INFINITY };
        let row = |i| (0..tokens).map(move |j| value(i, j));
        let values: Vec<f32> = (0..tokens).flat_map(row).collect();
        let mask = Tensor::from_vec(values, (tokens, tokens), device)?.to_dtype(dtype)?;
        if masks.len() == KEPT {
            masks.remove(0);
        }
        masks.push(((tokens, window), mask.clone()));
        Ok(mask)
    }
}
