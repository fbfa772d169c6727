//! The engine: a frozen base, in one form or in several, and the slots that train on it, step by step.

use std::path::Path;

use spec::{
    BaseForm, BaseSettings, Evaluation, Event, ExampleLosses, ExecutorSettings, TestEvaluation,
    TrainSettings, Trial, TrialConfig, TrialId,
};

use crate::backend::cpu::Cpu;
use crate::backend::cuda::Cuda;
use crate::device::{self, Device};
use crate::error::Result;
use crate::memory;
use crate::model::DecoderConfig;
use crate::plan::Packing;
use data::{Dataset, PreparedData};

mod bases;
mod checkpoint;
mod evaluate;
mod health;
mod held_out;
mod losses;
mod order;
mod packed;
mod slot;

pub use checkpoint::size as checkpoint_bytes;
pub use order::steps_per_epoch;
pub use packed::{Admission, Packed, Steps};
pub use slot::schedule;

/// The rows of a sweep.
#[derive(Debug, Clone, Default)]
pub struct TrainingSets {
    /// What adapters learn from.
    pub train: Dataset,
    /// What runs are ranked by.
    pub validation: Dataset,
    /// What the base model could do already.
    pub retention: Option<Dataset>,
    /// What nothing is chosen by.
    pub test: Option<Dataset>,
}

impl From<PreparedData> for TrainingSets {
    fn from(data: PreparedData) -> Self {
        let PreparedData { train, validation, retention, test, .. } = data;
        Self { train, validation, retention, test }
    }
}

/// A trainer on whichever device the sweep asks for. Its methods are those of [`Packed`].
#[derive(Debug)]
pub struct Engine {
    on: On,
    device: String,
    note: Option<String>,
}

#[derive(Debug)]
enum On {
    Cpu(Packed<Cpu<f32>>),
    Cuda(Packed<Cuda>),
}

/// Runs the same method on whichever backend is in use.
macro_rules! on_each {
    ($engine:expr, $packed:ident => $call:expr) => {
        match $engine {
            On::Cpu($packed) => $call,
            On::Cuda($packed) => $call,
        }
    };
}

impl Engine {
    /// Loads the base model, with its weights as `base` says, onto the device of `executor`. Trials
    /// may ask for other forms of it, which are loaded when the first one does.
    pub fn load(
        model_dir: &Path,
        base: &BaseSettings,
        data: impl Into<TrainingSets>,
        train: &TrainSettings,
        executor: &ExecutorSettings,
        packing: Packing,
    ) -> Result<Self> {
        let data = data.into();
        let (device, mut note) = device::select(executor.device, train.dtype)?;
        let name = device.name();
        let on = match device {
            Device::Cpu => {
                // Beyond this the system would end the process instead of giving an error.
                let room = memory::available(executor.memory_limit);
                let room = room.map_or(usize::MAX, |bytes| bytes as usize);
                On::Cpu(Packed::load(Cpu::with_limit(room), model_dir, base, data, train, packing)?)
            }
            Device::Cuda { index, numbers } => {
                let backend = Cuda::new(index, numbers, usize::MAX)?;
                note = note.or_else(|| backend.note());
                On::Cuda(Packed::load(backend, model_dir, base, data, train, packing)?)
            }
        };
        Ok(Self { on, device: name, note })
    }

    /// Where it computes: `cpu` or `cuda:0`.
    pub fn device(&self) -> String {
        self.device.clone()
    }

    /// Why it is not the device one might expect, if so.
    pub fn device_note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The base model's shape.
    pub fn config(&self) -> &DecoderConfig {
        on_each!(&self.on, p => p.config())
    }

    /// See [`Packed::packing`].
    pub fn packing(&self) -> Packing {
        on_each!(&self.on, p => p.packing())
    }

    /// How many trials may be in training at a time.
    pub fn capacity(&self) -> usize {
        on_each!(&self.on, p => p.capacity())
    }

    /// See [`Packed::evaluate_base`].
    pub fn evaluate_base(&mut self, form: Option<BaseForm>) -> Result<Evaluation> {
        on_each!(&mut self.on, p => p.evaluate_base(form))
    }

    /// See [`Packed::steps`].
    pub fn steps(&self, trial: &TrialConfig) -> Steps {
        on_each!(&self.on, p => p.steps(trial))
    }

    /// See [`Packed::base_example_losses`].
    pub fn base_example_losses(&self, form: Option<BaseForm>) -> Option<ExampleLosses> {
        on_each!(&self.on, p => p.base_example_losses(form))
    }

    /// See [`Packed::example_losses`].
    pub fn example_losses(&self, trial: TrialId) -> Option<ExampleLosses> {
        on_each!(&self.on, p => p.example_losses(trial))
    }

    /// See [`Packed::evaluate_test`].
    pub fn evaluate_test(
        &mut self,
        adapter: Option<&Path>,
        form: Option<BaseForm>,
    ) -> Result<Option<TestEvaluation>> {
        on_each!(&mut self.on, p => p.evaluate_test(adapter, form))
    }

    /// See [`Packed::admit`].
    pub fn admit(&mut self, trial: &Trial, checkpoint: Option<&Path>) -> Result<Admission> {
        on_each!(&mut self.on, p => p.admit(trial, checkpoint))
    }

    /// See [`Packed::step`].
    pub fn step(&mut self) -> Result<Vec<Event>> {
        on_each!(&mut self.on, p => p.step())
    }

    /// See [`Packed::hold`].
    pub fn hold(&mut self, trial: TrialId, held: bool) {
        on_each!(&mut self.on, p => p.hold(trial, held));
    }

    /// See [`Packed::save_checkpoint`].
    pub fn save_checkpoint(&self, trial: TrialId, path: &Path) -> Result<u32> {
        on_each!(&self.on, p => p.save_checkpoint(trial, path))
    }

    /// See [`Packed::checkpoint_bytes`].
    pub fn checkpoint_bytes(&self, trial: TrialId) -> Option<u64> {
        on_each!(&self.on, p => p.checkpoint_bytes(trial))
    }

    /// See [`Packed::save_best`].
    pub fn save_best(&self, trial: TrialId, dir: &Path) -> Result<bool> {
        on_each!(&self.on, p => p.save_best(trial, dir))
    }

    /// See [`Packed::save_last`].
    pub fn save_last(&self, trial: TrialId, dir: &Path) -> Result<()> {
        on_each!(&self.on, p => p.save_last(trial, dir))
    }

    /// See [`Packed::release`].
    pub fn release(&mut self, trial: TrialId) {
        on_each!(&mut self.on, p => p.release(trial));
    }
}
