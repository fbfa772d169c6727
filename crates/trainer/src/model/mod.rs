//! A Hugging Face model folder: `config.json` and safetensors become a frozen decoder.

mod bounds;
mod config;
mod files;
mod format;
mod rope;
mod stored;
mod weights;

pub use config::{DecoderConfig, LayerKind, MODEL_TYPES, NormPlacement, QkNorm};
pub(crate) use files::{map as map_file, pickle_refusal, pickled_file, weight_files};
pub use format::Format;
pub use rope::Rope;
pub use stored::{Bytes, Stored};
pub use weights::{FrozenLayer, Model};
