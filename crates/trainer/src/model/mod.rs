//! A Hugging Face model folder: `config.json` and safetensors become a frozen decoder.

mod config;
mod files;
mod weights;

pub use config::DecoderConfig;
pub use weights::{FrozenLayer, Model};
