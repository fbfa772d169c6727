//! A Hugging Face model folder: `config.json` and safetensors become a frozen decoder.

mod config;
mod files;
mod rope;
mod weights;

pub use config::{DecoderConfig, LayerKind, MODEL_TYPES, NormPlacement, QkNorm};
pub(crate) use files::{map as map_file, weight_files};
pub use rope::Rope;
pub use weights::{FrozenLayer, Model};
