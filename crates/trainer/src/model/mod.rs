//! A Hugging Face model folder: `config.json` and safetensors become a frozen decoder.

mod config;
mod files;
mod weights;

pub use config::DecoderConfig;
pub(crate) use files::{map as map_file, weight_files};
pub use weights::{FrozenLayer, Model};
