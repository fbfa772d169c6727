//! LoRA training on one frozen base model: the only crate that knows candle.
//!
//! Place on the flow line: `Pack -> worker -> **trainer::engine -> Event** -> store`.
//!
//! - [`model`]: a Hugging Face folder becomes a [`model::DecoderConfig`] and frozen weights.
//! - [`backend`]: the operations a decoder is made of, forward and backward, on slices (CPU), in
//!   CUDA kernels, or on candle tensors (an oracle in tests).
//! - [`decoder`]: the packed forward and backward pass, written once for every backend.
//! - [`generate`]: answers, many sequences of many adapters at a time.
//! - [`engine`]: slots that share the base, steps, evaluations, checkpoints.
//!
//! `DESIGN.md` in this crate's folder says why it is cut this way.

pub mod adapter;
pub mod backend;
pub mod comparison;
pub mod control_groups;
pub mod decoder;
mod device;
pub mod dropout;
pub mod engine;
mod error;
pub mod format;
pub mod generate;
pub mod gguf;
pub mod logits_file;
pub mod memory;
pub mod merge;
pub mod model;
pub mod peft;
pub mod plan;
pub mod real;
pub mod rope;
pub mod schedule;
pub mod self_check;

pub use device::{Device, select as select_device, visible_gpus};
pub use error::TrainerError;

/// Guides to what this crate does, by name, in Markdown; `lorasweep guide` shows them.
pub const GUIDES: &[(&str, &str)] = &[
    ("models", include_str!("../guides/models.md")),
    ("gpus", include_str!("../guides/gpus.md")),
    ("training", include_str!("../guides/training.md")),
];

// Values go to files and come from them as the bytes they are in memory.
#[cfg(target_endian = "big")]
compile_error!("safetensors files are little-endian; this machine is not supported");
