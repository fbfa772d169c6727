//! A Hugging Face model folder: `config.json` and safetensors become a frozen decoder.

mod bounds;
mod config;
mod files;
mod weights;

pub use config::DecoderConfig;
pub(crate) use files::{map as map_file, pickle_refusal, pickled_file, weight_files};
pub use weights::{FrozenLayer, Model};
