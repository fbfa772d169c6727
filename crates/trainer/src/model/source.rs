//! Where the weights of a base model come from, in which formats, and what they take.

use std::path::Path;

use spec::{BaseSettings, Quantization};

use super::config::{DecoderConfig, NormPlacement};
use super::files::TensorFiles;
use super::format::Format;
use super::gguf_file::GgufFile;
use super::quantise::{format_of, quantise};
use super::stored::Stored;
use super::weights::{EMBEDDING, HEAD, linears};
use crate::backend::cpu::{self, KEEP_FROM, keeps_format};
use crate::error::{Result, TrainerError};

/// Bytes of an f32.
const F32: u64 = 4;

/// The weights of a base model, with the quantisation that is asked for.
#[derive(Debug)]
pub struct Source {
    files: Files,
    quantization: Option<Quantization>,
}

#[derive(Debug)]
enum Files {
    Safetensors(TensorFiles),
    Gguf(GgufFile),
}

/// What the frozen matrices of a base model take on a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BaseMemory {
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bytes of decoded values that products need beside them.
    pub decoded: u64,
    /// How many models they are of.
    pub models: u64,
}

impl Source {
    /// Opens the weight files; reads their headers alone.
    pub fn open(model_dir: &Path, base: &BaseSettings, config: &DecoderConfig) -> Result<Self> {
        let files = match &base.weights {
            Some(path) => Files::Gguf(GgufFile::open(path, config)?),
            None => Files::Safetensors(TensorFiles::open(model_dir)?),
        };
        Ok(Self { files, quantization: base.quantization })
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        match &self.files {
            Files::Safetensors(files) => files.has(name),
            Files::Gguf(file) => file.has(name),
        }
    }

    /// A table of rows, in the format of its file.
    pub fn table(&self, name: &str, rows: usize, cols: usize) -> Result<Stored> {
        self.stored(name, &[rows, cols])
    }

    /// The weight of a linear layer, quantised if that is asked for.
    pub fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<Stored> {
        let stored = self.stored(name, &[outputs, inputs])?;
        match self.quantization {
            Some(quantization) => {
                fits(name, format_of(quantization), inputs)?;
                quantise(name, &stored, quantization)
            }
            None => Ok(stored),
        }
    }

    /// A vector as one row.
    pub fn vector(&self, name: &str, len: usize) -> Result<Stored> {
        self.stored(name, &[len])
    }

    fn stored(&self, name: &str, shape: &[usize]) -> Result<Stored> {
        match &self.files {
            Files::Safetensors(files) => files.stored(name, shape),
            Files::Gguf(file) => file.stored(name, shape),
        }
    }

    /// The format that a matrix is frozen in.
    fn format(&self, name: &str, is_linear: bool) -> Result<Format> {
        match (self.quantization, &self.files) {
            (Some(quantization), _) if is_linear => Ok(format_of(quantization)),
            (_, Files::Safetensors(files)) => files.format(name),
            (_, Files::Gguf(file)) => file.format(name),
        }
    }

    /// What the frozen matrices will take.
    pub fn memory(&self, config: &DecoderConfig, on: BaseOn) -> Result<BaseMemory> {
        let is_tied = !self.has_head(config);
        BaseMemory::of(config, is_tied, on, |name, is_linear| self.format(name, is_linear))
    }

    /// Whether the output head is a matrix of its own.
    pub fn has_head(&self, config: &DecoderConfig) -> bool {
        !config.tie_word_embeddings && self.has(HEAD)
    }

    /// The formats of the blocks' linear layers and of the tables, each once.
    pub fn formats(&self, config: &DecoderConfig) -> Result<(Vec<Format>, Vec<Format>)> {
        let (mut of_linears, mut of_tables) = (Vec::new(), vec![self.format(EMBEDDING, false)?]);
        for joined in (0..config.num_hidden_layers).flat_map(|layer| linears(config, layer)) {
            for (name, _) in joined.parts {
                of_linears.push(self.format(&format!("{name}.weight"), true)?);
            }
        }
        if self.has_head(config) {
            of_tables.push(self.format(HEAD, false)?);
        }
        let once = |mut formats: Vec<Format>| {
            formats.sort_unstable();
            formats.dedup();
            formats
        };
        Ok((once(of_linears), once(of_tables)))
    }
}

/// Where a base model is kept, and in what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseOn {
    /// On the CPU: large matrices in the format of their file, others in f32.
    Cpu,
    /// On a GPU: quantised linear layers as they are, everything else in the activations' format.
    Gpu {
        /// Bytes of a value of that format.
        value_bytes: u64,
    },
}

impl BaseOn {
    /// Bytes of a value of activations.
    pub const fn value_bytes(&self) -> u64 {
        match self {
            Self::Cpu => 4,
            Self::Gpu { value_bytes } => *value_bytes,
        }
    }
}

impl BaseMemory {
    /// What a model takes whose matrices are stored as `format` says, by their names; `true` stands
    /// for a linear layer of a block.
    pub fn of(
        config: &DecoderConfig,
        is_tied: bool,
        on: BaseOn,
        format: impl Fn(&str, bool) -> Result<Format>,
    ) -> Result<Self> {
        let mut all = Self { models: 1, ..Self::default() };
        let (v, d) = (config.vocab_size, config.hidden_size);
        let tables = if is_tied { &[EMBEDDING][..] } else { &[EMBEDDING, HEAD] };
        for name in tables {
            all.add(on, &[(format(name, false)?, v, d)], false);
        }
        for joined in (0..config.num_hidden_layers).flat_map(|layer| linears(config, layer)) {
            let parts = joined.parts.iter().map(|(name, outputs)| {
                let name = format!("{name}.weight");
                let format = format(&name, true)?;
                fits(&name, format, joined.inputs)?;
                Ok((format, *outputs, joined.inputs))
            });
            all.add(on, &parts.collect::<Result<Vec<_>>>()?, true);
        }
        let norms = if config.norms == NormPlacement::Around { 4 } else { 2 };
        all.bytes += ((norms * config.num_hidden_layers + 1) * d * size_of::<f32>()) as u64;
        Ok(all)
    }

    /// Both kept at once; they compute in turn.
    #[must_use]
    pub fn beside(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            decoded: self.decoded.max(other.decoded),
            models: self.models + other.models,
        }
    }

    /// Adds matrices that are joined, each with its format, rows and columns.
    fn add(&mut self, on: BaseOn, parts: &[(Format, usize, usize)], is_linear: bool) {
        let values = parts.iter().map(|(_, rows, cols)| (rows * cols) as u64).sum::<u64>();
        let stored =
            parts.iter().map(|(format, rows, cols)| (rows * format.row_bytes(*cols)) as u64);
        let cols = parts.first().map_or(0, |(_, _, cols)| *cols);
        let (bytes, decoded) = match on {
            BaseOn::Cpu => {
                let sizes = parts.iter().map(|(format, rows, cols)| (*format, rows * cols));
                if keeps_format(sizes, KEEP_FROM) {
                    let threads = rayon::current_num_threads();
                    (stored.sum(), (threads * cpu::decoded_values(cols) * size_of::<f32>()) as u64)
                } else {
                    (F32 * values, 0)
                }
            }
            BaseOn::Gpu { .. }
                if is_linear && parts.iter().all(|(format, ..)| format.is_coded()) =>
            {
                // The codes' values and their products with the scales, before they are rounded.
                (stored.sum(), 2 * F32 * values)
            }
            BaseOn::Gpu { value_bytes } => (value_bytes * values, 0),
        };
        self.bytes += bytes;
        self.decoded = self.decoded.max(decoded);
    }
}

/// Whether rows of so many values are whole blocks of a format.
fn fits(name: &str, format: Format, inputs: usize) -> Result<()> {
    let block = format.block();
    if inputs.is_multiple_of(block) {
        return Ok(());
    }
    Err(TrainerError::Quantization(format!(
        "quantization {format} holds blocks of {block} values, but a row of `{name}` has {inputs}: \
         take one with smaller blocks ({} 64, q8_0 32, int8 any)",
        Format::Nf4
    )))
}
