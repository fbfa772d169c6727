//! What all layers of a step ask for alike, made once: tables that would otherwise be copied to the
//! device for every layer.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Tensor, TensorId};

use super::groups::{Grouping, GroupingKey};
use crate::backend::Places;
use crate::error::Result;
use crate::rope::Rope;

/// Values by what they were made of.
type Cached<K, V> = Mutex<Vec<(K, V)>>;

/// The tables of the step at hand.
#[derive(Debug, Default)]
pub struct StepCache {
    angles: Mutex<Vec<Angles>>,
    /// By tokens of a sequence and the window.
    masks: Cached<(usize, Option<usize>), Tensor>,
    groupings: Cached<GroupingKey, Arc<Grouping>>,
    /// By the vectors that are stacked. A vector is never written in place: what has its id has its
    /// values.
    stacks: Cached<Vec<TensorId>, Tensor>,
}

/// Cosines and sines `[N, P/2]` of the rows' positions.
#[derive(Debug)]
struct Angles {
    positions: Vec<u32>,
    sequences: Vec<Range<usize>>,
    rope: Rope,
    cos: Tensor,
    sin: Tensor,
}

/// Masks kept: a step has few different lengths of sequences, and a model two windows.
const MASKS: usize = 32;

/// Groupings kept: a step has one of its sequences and few of its paths.
const GROUPINGS: usize = 16;
/// Stacks kept: evaluation alone never forgets them, and a layer has few groups.
const STACKS: usize = 16;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The value of a key, made where it is not there yet; of more than `most` the oldest is let go.
fn cached<K: PartialEq, V: Clone>(
    values: &Cached<K, V>,
    most: usize,
    key: K,
    make: impl FnOnce(&K) -> Result<V>,
) -> Result<V> {
    let mut values = locked(values);
    if let Some((_, value)) = values.iter().find(|(of, _)| *of == key) {
        return Ok(value.clone());
    }
    let value = make(&key)?;
    if values.len() == most {
        values.remove(0);
    }
    values.push((key, value.clone()));
    Ok(value)
}

impl StepCache {
    /// Cosines and sines of a rope at the rows' positions, `[N, P/2]` each.
    pub fn angles(
        &self,
        places: Places<'_>,
        rope: &Rope,
        dtype: DType,
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        let Places { positions, sequences } = places;
        let mut cached = locked(&self.angles);
        let fits =
            |a: &Angles| a.positions == positions && a.sequences == sequences && a.rope == *rope;
        if let Some(a) = cached.iter().find(|a| fits(a)) {
            return Ok((a.cos.clone(), a.sin.clone()));
        }
        let mut angles = Vec::new();
        for rows in sequences {
            let frequencies = rope.frequencies(rows.len());
            for p in &positions[rows.clone()] {
                angles.extend(frequencies.iter().map(|f| f64::from(*p) * f));
            }
        }
        let table = |f: fn(f64) -> f64| -> Result<Tensor> {
            let values: Vec<f64> = angles.iter().map(|a| rope.amplitude() * f(*a)).collect();
            let shape = (positions.len(), angles.len() / positions.len().max(1));
            // Rounded on the host: not every device has f64.
            let t = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?;
            Ok(t.to_device(device)?)
        };
        let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
        // Those of an earlier step are of no more use.
        cached.retain(|a| a.positions == positions && a.sequences == sequences);
        cached.push(Angles {
            positions: positions.to_vec(),
            sequences: sequences.to_vec(),
            rope: rope.clone(),
            cos: cos.clone(),
            sin: sin.clone(),
        });
        Ok((cos, sin))
    }

    /// `[T, T]`: 0 where a query sees a key, minus infinity where it does not.
    pub fn mask(
        &self,
        tokens: usize,
        window: Option<usize>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        cached(&self.masks, MASKS, (tokens, window), |_| {
            let sees = |i: usize, j: usize| j <= i && window.is_none_or(|w| i - j < w);
            let value = |i, j| if sees(i, j) { 0.0 } else { f32::NEG_INFINITY };
            let row = |i| (0..tokens).map(move |j| value(i, j));
            let values: Vec<f32> = (0..tokens).flat_map(row).collect();
            Ok(Tensor::from_vec(values, (tokens, tokens), device)?.to_dtype(dtype)?)
        })
    }

    /// The groups of a layer's paths, or of a step's sequences.
    pub fn grouping(
        &self,
        key: GroupingKey,
        dtype: DType,
        device: &Device,
    ) -> Result<Arc<Grouping>> {
        cached(&self.groupings, GROUPINGS, key, |key| {
            Ok(Arc::new(Grouping::new(key, dtype, device)?))
        })
    }

    /// The vectors of several slots as `[G, P]`, converted once an optimizer step: every layer
    /// reads its matrices from it.
    pub fn stacked(&self, params: &[&Tensor], dtype: DType) -> Result<Tensor> {
        let ids = params.iter().map(|p| p.id()).collect();
        cached(&self.stacks, STACKS, ids, |_| Ok(Tensor::cat(params, 0)?.to_dtype(dtype)?))
    }

    /// Lets go of stacked vectors: an optimizer step has replaced one of them.
    pub fn forget_stacked(&self) {
        locked(&self.stacks).clear();
    }
}
