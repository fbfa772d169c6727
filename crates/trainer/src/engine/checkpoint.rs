//! A slot's state as a file: adapter, moments, place in the data, best evaluation.
//!
//! Safetensors with the scalars as JSON under `slot` in its metadata. The state is that of the
//! last completed optimizer step: a batch begun since is begun again.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use spec::{Evaluation, TrainSettings, Trial};

use super::scoring::Written;
use super::slot::{Best, Lowest, Slot};
use crate::backend::Backend;
use crate::error::{Result, TrainerError};
use crate::format::write_tensors;
use crate::schedule::Schedule;

const KEY: &str = "slot";

#[derive(Serialize, Deserialize)]
struct Scalars {
    trial: Trial,
    total_steps: u32,
    step: u32,
    tokens: u64,
    seconds: f64,
    recent_losses: Vec<f64>,
    best: Option<Evaluation>,
    /// The lowest validation loss, where that is not the best evaluation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lowest: Option<f64>,
    /// What was answered at the best evaluation and at the last one, where answers are scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best_written: Option<Written>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_written: Option<Written>,
}

/// Bytes of the scalars and of the tensors' names, at most but for long lists in a trial's settings.
const HEADER_BYTES: u64 = 16 << 10;

/// The bytes of a checkpoint of an adapter with `values` values, once it was evaluated on
/// `validation_examples` examples: parameters, two moments and the best parameters, and each
/// example's loss.
pub fn size(values: usize, validation_examples: usize) -> u64 {
    let floats = 4 * values as u64 * size_of::<f32>() as u64;
    // The losses of the best and of the lowest evaluation.
    floats + 2 * validation_examples as u64 * size_of::<f64>() as u64 + HEADER_BYTES
}

/// Writes the slot's state.
pub fn save<B: Backend>(backend: &B, slot: &Slot<B>, path: &Path) -> Result<()> {
    let best = slot.best.as_ref();
    let is_best =
        |lowest: &&Lowest| best.is_some_and(|best| best.evaluation.eval_loss <= lowest.eval_loss);
    let lowest = slot.lowest.as_ref().filter(|lowest| !is_best(lowest));
    let scalars = Scalars {
        trial: slot.trial.clone(),
        total_steps: slot.schedule.total_steps,
        step: slot.step,
        tokens: slot.tokens_of_completed_steps(),
        seconds: slot.seconds,
        recent_losses: slot.health.recent(),
        best: best.map(|b| b.evaluation.clone()),
        lowest: lowest.map(|lowest| lowest.eval_loss),
        best_written: best.and_then(|best| best.written.clone()),
        last_written: slot.last_written.clone(),
    };
    let states = [
        ("params", backend.values(&slot.params)?),
        ("first_moment", backend.values(&slot.first_moment)?),
        ("second_moment", backend.values(&slot.second_moment)?),
    ];
    let mut tensors: Vec<(&str, Dtype, usize, &[u8])> = states
        .iter()
        .map(|(name, values)| (*name, Dtype::F32, values.len(), bytemuck::cast_slice(values)))
        .collect();
    if let Some(best) = &slot.best {
        let (values, nll) = (&best.values, &best.nll);
        tensors.push(("best_params", Dtype::F32, values.len(), bytemuck::cast_slice(values)));
        tensors.push(("best_validation_nll", Dtype::F64, nll.len(), bytemuck::cast_slice(nll)));
    }
    if let Some(Lowest { nll, .. }) = lowest {
        tensors.push(("lowest_validation_nll", Dtype::F64, nll.len(), bytemuck::cast_slice(nll)));
    }
    let damaged = |message: String| TrainerError::Checkpoint { path: path.to_path_buf(), message };
    let views = tensors
        .iter()
        .map(|(name, dtype, len, bytes)| Ok((*name, TensorView::new(*dtype, vec![*len], bytes)?)))
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| damaged(e.to_string()))?;
    let json = serde_json::to_string(&scalars).map_err(|e| damaged(e.to_string()))?;
    let metadata = HashMap::from([(KEY.to_owned(), json)]);
    write_tensors(views, Some(metadata), path).map_err(|error| match error {
        // A full disk must be seen as one.
        safetensors::SafeTensorError::IoError(source) => TrainerError::io("write", path)(source),
        other => damaged(other.to_string()),
    })
}

/// Whether a slot's trial goes through the saved state: it is the trial's own, or lies on the
/// steps that it shares with the trial that was saved.
fn belongs<B: Backend>(saved: &Scalars, slot: &Slot<B>, settings: &TrainSettings) -> bool {
    if saved.trial == slot.trial {
        return saved.total_steps == slot.schedule.total_steps;
    }
    let (theirs, ours) = (&saved.trial.config, &slot.trial.config);
    let their_schedule = Schedule::of_trial(theirs, saved.total_steps, settings);
    let is_shared =
        |schedule: &Schedule| schedule.open_ended_steps().is_some_and(|n| saved.step <= n);
    ours.trajectory(settings).is_some_and(|ours| theirs.trajectory(settings) == Some(ours))
        && saved.total_steps / theirs.epochs.max(1) == slot.steps_per_epoch
        && is_shared(&their_schedule)
        && is_shared(&slot.schedule)
}

/// What no slot can have had, in a file that a stranger may have written.
fn impossible(saved: &Scalars) -> Option<&'static str> {
    /// More tokens than anything can be trained on.
    const MOST_TOKENS: u64 = 1 << 53;
    let is_time = |seconds: f64| seconds.is_finite() && seconds >= 0.0;
    let best = saved.best.as_ref();
    if saved.step > saved.total_steps || best.is_some_and(|best| best.step > saved.step) {
        Some("it is beyond its trial's last step")
    } else if saved.tokens > MOST_TOKENS {
        Some("it counts more tokens than there can be")
    } else if !is_time(saved.seconds) {
        Some("its seconds are no time")
    } else {
        None
    }
}

/// Puts a saved state into a fresh slot of the same trial, or of one that shares its steps.
pub fn restore<B: Backend>(
    backend: &B,
    slot: &mut Slot<B>,
    settings: &TrainSettings,
    path: &Path,
) -> Result<()> {
    let bytes = std::fs::read(path).map_err(TrainerError::io("read", path))?;
    let damaged = |message: String| TrainerError::Checkpoint { path: path.to_path_buf(), message };
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|e| damaged(format!("is damaged: {e}")))?;
    let tensors =
        SafeTensors::deserialize(&bytes).map_err(|e| damaged(format!("is damaged: {e}")))?;
    let json = header.metadata().as_ref().and_then(|m| m.get(KEY));
    let json = json.ok_or_else(|| damaged("is no checkpoint of lorasweep".to_owned()))?;
    let scalars: Scalars =
        serde_json::from_str(json).map_err(|e| damaged(format!("is damaged: {e}")))?;
    if !belongs(&scalars, slot, settings) {
        return Err(damaged(format!(
            "belongs to another trial or other data ({} steps; this one has {})",
            scalars.total_steps, slot.schedule.total_steps
        )));
    }
    if let Some(what) = impossible(&scalars) {
        return Err(damaged(format!("is damaged: {what}")));
    }
    let len = slot.layout.len;
    let floats = |name: &str| -> Result<Vec<f32>> {
        let view = tensors.tensor(name).map_err(|e| damaged(format!("`{name}`: {e}")))?;
        if view.dtype() != Dtype::F32 || view.shape() != [len] {
            return Err(damaged(format!("`{name}` has the shape {:?}, not [{len}]", view.shape())));
        }
        let (values, _) = view.data().as_chunks::<4>();
        Ok(values.iter().map(|b| f32::from_le_bytes(*b)).collect())
    };
    slot.params = backend.tensor(&floats("params")?, 1, len)?;
    slot.first_moment = backend.tensor(&floats("first_moment")?, 1, len)?;
    slot.second_moment = backend.tensor(&floats("second_moment")?, 1, len)?;
    let losses = |name: &str| -> Result<Vec<f64>> {
        let view = tensors.tensor(name).map_err(|e| damaged(format!("`{name}`: {e}")))?;
        if view.dtype() != Dtype::F64 || view.shape().len() != 1 {
            return Err(damaged(format!("`{name}` is no list of losses in f64")));
        }
        let (values, _) = view.data().as_chunks::<8>();
        Ok(values.iter().map(|b| f64::from_le_bytes(*b)).collect())
    };
    slot.best = match scalars.best {
        None => None,
        Some(evaluation) => {
            let (values, nll) = (floats("best_params")?, losses("best_validation_nll")?);
            Some(Best { evaluation, values, nll, written: scalars.best_written })
        }
    };
    slot.last_written = scalars.last_written;
    slot.lowest = match (scalars.lowest, &slot.best) {
        (Some(eval_loss), _) => Some(Lowest { eval_loss, nll: losses("lowest_validation_nll")? }),
        (None, Some(Best { evaluation, nll, .. })) => {
            Some(Lowest { eval_loss: evaluation.eval_loss, nll: nll.clone() })
        }
        (None, None) => None,
    };
    slot.health.restore(scalars.recent_losses);
    (slot.step, slot.tokens, slot.seconds) = (scalars.step, scalars.tokens, scalars.seconds);
    Ok(())
}
