//! Where the weights of a base model come from, in which formats, and what they take.

use std::path::Path;
use std::sync::Arc;

use spec::{BaseSettings, Quantization};

use super::config::{DecoderConfig, NormPlacement};
use super::expected::{expected, mistakes, unexpected};
use super::names::{EMBEDDING, HEAD, Tables, linears};
use super::weight_files::Files;
use crate::backend::cpu::{self, KEEP_FROM, keeps_format};
use crate::error::{Result, TrainerError};
use crate::format::{Format, Stored, quantise};

/// Bytes of an f32.
const F32: u64 = 4;

/// The weights of a base model, with the quantisation that is asked for: files that hold every tensor
/// of it in a shape and format that can be loaded.
#[derive(Debug, Clone)]
pub struct Source {
    files: Arc<Files>,
    config: DecoderConfig,
    tables: Tables,
    warnings: Vec<String>,
    quantization: Option<Quantization>,
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
    /// Opens the weight files and holds their headers to the configuration; the error says
    /// everything that loading them would. Values are read in one case: where a configuration ties
    /// the output head to the embeddings and the files hold both.
    pub fn open(model_dir: &Path, base: &BaseSettings) -> Result<Self> {
        let mut config = DecoderConfig::read(model_dir)?;
        let files = Files::open(model_dir, base, &config)?;
        let (tables, warning) = find_tables(&config, &files)?;
        let expected = expected(&config, tables);
        let mistakes = mistakes(&config, &files, &expected);
        if !mistakes.is_empty() {
            return Err(TrainerError::weights(&files.path(), mistakes.join("\n  and ")));
        }
        let unexpected = unexpected(&config, &files, &expected);
        config.tie_word_embeddings = tables.head.is_none();
        let warnings = warning.into_iter().chain(unexpected).collect();
        let files = Arc::new(files);
        Self { files, config, tables, warnings, quantization: None }.in_form(base.quantization)
    }

    /// The same files with another quantisation.
    pub fn in_form(&self, quantization: Option<Quantization>) -> Result<Self> {
        if let Some(format) = quantization.map(Format::of_quantization) {
            let layers = 0..self.config.num_hidden_layers;
            for joined in layers.flat_map(|layer| linears(&self.config, layer)) {
                for (name, _) in &joined.parts {
                    fits(&format!("{name}.weight"), format, joined.inputs)?;
                }
            }
        }
        Ok(Self { quantization, ..self.clone() })
    }

    /// The model's shape; the head is tied to the embeddings exactly if the files say so.
    pub const fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Embedding and head in the files.
    pub const fn tables(&self) -> Tables {
        self.tables
    }

    /// What a person should know of these files before trusting what is trained on them.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A table of rows, in the format of its file.
    pub fn table(&self, name: &str, rows: usize, cols: usize) -> Result<Stored> {
        self.files.stored(name, &[rows, cols], 0..rows)
    }

    /// The weight of a linear layer, quantised if that is asked for.
    pub fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<Stored> {
        let stored = self.table(name, outputs, inputs)?;
        match self.quantization {
            Some(quantization) => quantise(name, &stored, quantization),
            None => Ok(stored),
        }
    }

    /// A vector as one row.
    pub fn vector(&self, name: &str, len: usize) -> Result<Stored> {
        self.files.stored(name, &[len], 0..1)
    }

    /// The format that a tensor is frozen in.
    fn format(&self, name: &str, is_linear: bool) -> Result<Format> {
        match self.quantization {
            Some(quantization) if is_linear => Ok(Format::of_quantization(quantization)),
            _ => {
                let missing = || {
                    TrainerError::weights(
                        &self.files.path(),
                        format!("there is no tensor `{name}`"),
                    )
                };
                let (_, format) = self.files.header(name).ok_or_else(missing)?;
                format.map_err(|reason| {
                    TrainerError::weights(&self.files.path(), format!("`{name}` {reason}"))
                })
            }
        }
    }

    /// What the frozen matrices will take.
    pub fn memory(&self, on: BaseStorage) -> Result<BaseMemory> {
        BaseMemory::of(&self.config, self.tables.head.is_none(), on, |name, is_linear| {
            let name = if name == EMBEDDING { self.tables.embedding } else { name };
            self.format(name, is_linear)
        })
    }

    /// The formats of the blocks' linear layers and of the tables, each once.
    pub fn formats(&self) -> Result<(Vec<Format>, Vec<Format>)> {
        let (mut of_linears, mut of_tables) = (Vec::new(), Vec::new());
        for tensor in expected(&self.config, self.tables) {
            if tensor.is_linear {
                of_linears.push(self.format(&tensor.name, true)?);
            } else if tensor.shape.len() > 1 {
                of_tables.push(self.format(&tensor.name, false)?);
            }
        }
        let once = |mut formats: Vec<Format>| {
            formats.sort_unstable();
            formats.dedup();
            formats
        };
        Ok((once(of_linears), once(of_tables)))
    }
}

/// Which tensors are embedding and head, and what is unexpected about them.
fn find_tables(config: &DecoderConfig, files: &Files) -> Result<(Tables, Option<String>)> {
    let shape = [config.vocab_size, config.hidden_size];
    let is_readable = |name: &str| {
        files.header(name).is_some_and(|(found, format)| {
            let Ok(format) = format else { return false };
            found == shape
                && shape[1].is_multiple_of(format.block())
                && files.is_whole(name, &shape, format)
        })
    };
    let both = [EMBEDDING, HEAD];
    // What cannot be read is a mistake in either case.
    let is_same = !config.tie_word_embeddings
        || !both.into_iter().all(is_readable)
        || files.are_equal(both, shape)?;
    let tables = Tables::find(config, files, is_same);
    let warning = (config.tie_word_embeddings && tables.head.is_some()).then(|| {
        let [embedding, head] = both.map(|name| files.own_name(name));
        format!(
            "config.json says tie_word_embeddings: true, but `{head}` differs from `{embedding}`: \
             the output head is `{head}`, as in transformers 5. Write `tie_word_embeddings: false` \
             into config.json: programs that go by it alone make another model of these files"
        )
    });
    Ok((tables, warning))
}

/// Where a base model is kept, and in what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseStorage {
    /// On the CPU: large matrices in the format of their file, others in f32.
    Cpu,
    /// On a GPU: quantised linear layers as they are, everything else in the activations' format.
    Gpu {
        /// Bytes of a value of that format.
        value_bytes: u64,
    },
}

impl BaseStorage {
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
        on: BaseStorage,
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
    fn add(&mut self, on: BaseStorage, parts: &[(Format, usize, usize)], is_linear: bool) {
        let values = parts.iter().map(|(_, rows, cols)| (rows * cols) as u64).sum::<u64>();
        let stored =
            parts.iter().map(|(format, rows, cols)| (rows * format.row_bytes(*cols)) as u64);
        let cols = parts.first().map_or(0, |(_, _, cols)| *cols);
        let (bytes, decoded) = match on {
            BaseStorage::Cpu => {
                let sizes = parts.iter().map(|(format, rows, cols)| (*format, rows * cols));
                if keeps_format(sizes, KEEP_FROM) {
                    let threads = rayon::current_num_threads();
                    (stored.sum(), (threads * cpu::decoded_values(cols) * size_of::<f32>()) as u64)
                } else {
                    (F32 * values, 0)
                }
            }
            BaseStorage::Gpu { .. }
                if is_linear && parts.iter().all(|(format, ..)| format.is_coded()) =>
            {
                // The codes' values and their products with the scales, before they are rounded.
                (stored.sum(), 2 * F32 * values)
            }
            BaseStorage::Gpu { value_bytes } => (value_bytes * values, 0),
        };
        self.bytes += bytes;
        self.decoded = self.decoded.max(decoded);
    }
}

/// Whether rows of this many values are whole blocks of a format.
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
