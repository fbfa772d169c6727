//! File formats and the numbers in them: safetensors and GGUF files become [`Stored`] matrices, which
//! are decoded where they are used. Nothing here knows a model or a backend.

mod blocks;
mod gguf;
mod number_format;
mod quantise;
mod stored;
mod tensor_files;
mod writer;

pub use blocks::{NF4_BLOCK, NF4_BLOCK_BYTES, NF4_LEVELS};
pub(crate) use gguf::{ALIGNMENT, Gguf, MAGIC};
pub use number_format::Format;
pub use quantise::quantise;
pub use stored::{Bytes, RowOrder, Stored};
pub use tensor_files::weight_files;
pub(crate) use tensor_files::{TensorFiles, map_file, names_in_file, pickle_refusal, pickled_file};
pub(crate) use writer::write as write_tensors;
