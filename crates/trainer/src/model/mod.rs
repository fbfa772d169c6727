//! A Hugging Face model folder: `config.json` and safetensors, or a GGUF file, become a frozen decoder.

mod bounds;
mod config;
mod expected;
mod gguf_file;
mod llama_cpp;
mod names;
mod norms;
mod source;
mod weight_files;
mod weights;

pub use config::{DecoderConfig, LayerKind, MODEL_TYPES, NormPlacement, QkNorm};
pub(crate) use llama_cpp::{architecture, module_name};
pub use names::Tables;
pub(crate) use names::{parent, weight_name};
pub use norms::{ShortToken, short_tokens};
pub use source::{BaseMemory, BaseStorage, Source};
pub use weights::{FrozenLayer, Model};
