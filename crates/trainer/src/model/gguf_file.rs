//! A GGUF file as the weights of a base model: names and the order of rows are those of llama.cpp's
//! converter.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::config::DecoderConfig;
use super::llama_cpp::{architecture, gguf_name};
use crate::error::{Result, TrainerError};
use crate::format::{Format, Gguf, RowOrder, Stored};

/// The architectures that are read: others store some weights in another form.
const MODEL_TYPES: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];

/// The tensors of a GGUF file.
#[derive(Debug)]
pub struct GgufFile {
    file: Gguf,
    /// Rows of a head of q and k that are stored in llama.cpp's order.
    head: Option<usize>,
}

impl GgufFile {
    /// Opens a file and reads its header; it must be of the same architecture as the configuration.
    pub fn open(path: &Path, config: &DecoderConfig) -> Result<Self> {
        let file = Gguf::open(path)?;
        check(&file, config).map_err(|message| TrainerError::weights(path, message))?;
        let is_llama = file.architecture.as_deref() == Some("llama");
        Ok(Self { file, head: is_llama.then_some(config.attention.head_dim) })
    }

    /// The names of all tensors, as they are stored.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.file.names()
    }

    /// Whether there is a tensor of this name, as it is stored.
    pub fn has(&self, own: &str) -> bool {
        self.file.has(own)
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.file.path().to_path_buf()
    }

    /// Shape and number format of a tensor that Hugging Face names so, where there is one; the error
    /// says why it cannot be read.
    pub fn header(&self, name: &str) -> Option<(&[usize], std::result::Result<Format, String>)> {
        self.file.header(&gguf_name(name)?)
    }

    /// Whether a tensor of this shape and format ends within the file.
    pub fn is_whole(&self, name: &str, shape: &[usize], format: Format) -> bool {
        gguf_name(name).is_some_and(|own| self.file.is_whole(&own, shape, format))
    }

    /// Some rows of a tensor of this shape; its bytes stay in the file.
    pub fn stored(&self, name: &str, shape: &[usize], part: Range<usize>) -> Result<Stored> {
        let own = gguf_name(name).unwrap_or_else(|| name.to_owned());
        let stored = self.file.stored(&own, shape, part)?;
        Ok(match self.head.filter(|_| is_rotated(name)) {
            Some(head) if shape.len() > 1 => stored.in_order(RowOrder::Neighbours(head)),
            Some(head) => stored.reordered(RowOrder::Neighbours(head)),
            None => stored,
        })
    }
}

fn is_rotated(name: &str) -> bool {
    name.contains(".self_attn.q_proj.") || name.contains(".self_attn.k_proj.")
}

/// Why a file is not that of a model of this configuration, if it is not.
fn check(file: &Gguf, config: &DecoderConfig) -> std::result::Result<(), String> {
    if let Some(kind) = file.kind.as_deref().filter(|kind| *kind != "model") {
        return Err(format!("holds a GGUF file of type `{kind}`, not a model"));
    }
    if file.parts > 1 {
        return Err(format!(
            "is one of {} parts of a model: join them with `llama-gguf-split --merge`",
            file.parts
        ));
    }
    let own = &config.model_type;
    if !MODEL_TYPES.contains(&own.as_str()) {
        let known = MODEL_TYPES.join(", ");
        return Err(format!(
            "GGUF files are read for {known}; for a {own} model use its safetensors files, with \
             `quantization: nf4` if they are too large"
        ));
    }
    match file.architecture.as_deref() {
        Some(found) if found == architecture(config) => Ok(()),
        found => Err(format!(
            "is a model of the architecture `{}`, but config.json is that of a {own} model",
            found.unwrap_or("unknown")
        )),
    }
}
