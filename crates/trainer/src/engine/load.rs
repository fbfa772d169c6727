//! An engine on whichever device the sweep asks for.

use std::path::Path;

use spec::{BaseSettings, ExecutorSettings, TrainSettings, Trainer};

use super::packed::Packed;
use super::scoring::Scoring;
use super::sets::TrainingSets;
use crate::backend::cpu::Cpu;
use crate::backend::cuda::Cuda;
use crate::device::{self, Device};
use crate::error::Result;
use crate::memory;
use crate::plan::Packing;

/// A trainer that is ready.
pub struct Loaded {
    /// It.
    pub trainer: Box<dyn Trainer>,
    /// Why it does not compute where one might expect, if so.
    pub device_note: Option<String>,
}

/// Loads the base model, with its weights as `base` says, onto the device of `executor`. Trials may
/// ask for other forms of it, which are loaded when the first one does. Where there is `scoring`, answers
/// are written and scored at evaluations.
pub fn load(
    model_dir: &Path,
    base: &BaseSettings,
    data: impl Into<TrainingSets>,
    train: &TrainSettings,
    executor: &ExecutorSettings,
    packing: Packing,
    scoring: Option<Scoring>,
) -> Result<Loaded> {
    let data = data.into();
    let (device, mut device_note) = device::select(executor.device, train.dtype)?;
    let trainer: Box<dyn Trainer> = match device {
        Device::Cpu => {
            // Beyond this the system would end the process instead of giving an error.
            let room = memory::available(executor.memory_limit);
            let room = room.map_or(usize::MAX, |bytes| bytes as usize);
            let backend = Cpu::<f32>::with_limit(room);
            let engine = Packed::load(backend, model_dir, base, data, train, packing)?;
            Box::new(engine.with_scoring(scoring))
        }
        Device::Cuda { index, numbers } => {
            let backend = Cuda::new(index, numbers, usize::MAX)?;
            device_note = device_note.or_else(|| backend.note());
            let engine = Packed::load(backend, model_dir, base, data, train, packing)?;
            Box::new(engine.with_scoring(scoring))
        }
    };
    Ok(Loaded { trainer, device_note })
}
