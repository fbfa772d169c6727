//! A Hugging Face model folder: `config.json` and safetensors become a frozen decoder.

mod bounds;
mod config;
mod expected;
mod files;
mod format;
mod gguf_file;
mod norms;
mod quantise;
mod rope;
mod source;
mod stored;
mod weights;

pub use config::{DecoderConfig, LayerKind, MODEL_TYPES, NormPlacement, QkNorm};
pub use expected::Tables;
pub use files::weight_files;
pub(crate) use files::{format_of, map as map_file, names_in_file, pickle_refusal, pickled_file};
pub use format::Format;
pub(crate) use format::{NF4_BLOCK, NF4_BLOCK_BYTES, NF4_LEVELS};
pub use norms::{ShortToken, short_tokens};
pub use quantise::quantise;
pub use rope::Rope;
pub use source::{BaseMemory, BaseOn, Source};
pub use stored::{Bytes, RowOrder, Stored};
pub use weights::{FrozenLayer, Model};
