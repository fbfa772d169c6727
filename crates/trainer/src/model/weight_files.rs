//! The tensors of weight files by the names that transformers gives them, whatever the files' format.

use std::ops::Range;
use std::path::{Path, PathBuf};

use spec::BaseSettings;

use super::config::DecoderConfig;
use super::gguf_file::GgufFile;
use super::llama_cpp::gguf_name;
use super::names::{EMBEDDING, HEAD, Tables};
use crate::error::Result;
use crate::format::{Format, Stored, TensorFiles};

/// The tensors of weight files, by the names that transformers gives them.
#[derive(Debug)]
pub enum Files {
    /// A file or several of the model's folder.
    Safetensors(TensorFiles),
    /// A file that stands in for them.
    Gguf(GgufFile),
}

impl Files {
    /// Opens the files of a model of this configuration.
    pub fn open(model_dir: &Path, base: &BaseSettings, config: &DecoderConfig) -> Result<Self> {
        Ok(match &base.weights {
            Some(path) => Self::Gguf(GgufFile::open(path, config)?),
            None => Self::Safetensors(TensorFiles::open(model_dir)?),
        })
    }

    /// Whether there is a tensor that transformers names so.
    pub fn has(&self, name: &str) -> bool {
        !self.stored_names(name).is_empty()
    }

    /// The names under which a tensor is stored.
    pub fn stored_names(&self, name: &str) -> Vec<String> {
        match self {
            Self::Safetensors(files) => files.stored_names(name),
            Self::Gguf(file) => gguf_name(name).filter(|own| file.has(own)).into_iter().collect(),
        }
    }

    /// A tensor's name in the files, for messages.
    pub fn own_name(&self, name: &str) -> String {
        let usual = || match self {
            Self::Safetensors(_) => name.to_owned(),
            Self::Gguf(_) => gguf_name(name).unwrap_or_else(|| name.to_owned()),
        };
        self.stored_names(name).into_iter().next().unwrap_or_else(usual)
    }

    /// The names of all tensors, as they are stored.
    pub fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Safetensors(files) => Box::new(files.names()),
            Self::Gguf(file) => Box::new(file.names()),
        }
    }

    /// Shape and format of a tensor, where there is one; the error says why it cannot be read.
    pub fn header(&self, name: &str) -> Option<(&[usize], std::result::Result<Format, String>)> {
        match self {
            Self::Safetensors(files) => files.header(name),
            Self::Gguf(file) => file.header(name),
        }
    }

    /// Whether a tensor ends within its file.
    pub fn is_whole(&self, name: &str, shape: &[usize], format: Format) -> bool {
        match self {
            // Opening them has made sure.
            Self::Safetensors(_) => true,
            Self::Gguf(file) => file.is_whole(name, shape, format),
        }
    }

    /// The file, or the folder of several.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Safetensors(files) => files.path(),
            Self::Gguf(file) => file.path(),
        }
    }

    /// Some rows of a tensor of this shape; its bytes stay in the file.
    pub fn stored(&self, name: &str, shape: &[usize], rows: Range<usize>) -> Result<Stored> {
        match self {
            Self::Safetensors(files) => files.stored(name, shape, rows),
            Self::Gguf(file) => file.stored(name, shape, rows),
        }
    }

    /// Whether two matrices of this shape hold the same values. Some rows at a time, so that two
    /// different ones are distinguished by the first of them.
    pub fn are_equal(&self, names: [&str; 2], [rows, cols]: [usize; 2]) -> Result<bool> {
        const VALUES: usize = 1 << 18;
        let step = (VALUES / cols.max(1)).max(1);
        for start in (0..rows).step_by(step) {
            let part = start..(start + step).min(rows);
            let [a, b] = names.map(|name| self.stored(name, &[rows, cols], part.clone()));
            let (a, b) = (a?, b?);
            if a.format() == b.format() && a.raw() == b.raw() {
                continue;
            }
            let [a, b] = [a, b].map(|stored| {
                let mut values = vec![0.0_f32; part.len() * cols];
                stored.decode(0..part.len(), 0..cols, &mut values);
                values
            });
            if a != b {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Tables {
    /// What transformers makes of the configuration and of which of the two the files hold.
    /// `is_same` compares their values.
    pub fn find(config: &DecoderConfig, files: &Files, is_same: bool) -> Self {
        let (embedding, head) = (files.has(EMBEDDING), files.has(HEAD));
        match (config.tie_word_embeddings, embedding, head) {
            (true, false, true) => Self { embedding: HEAD, head: None },
            (true, true, true) if !is_same => Self { embedding: EMBEDDING, head: Some(HEAD) },
            (true, ..) => Self { embedding: EMBEDDING, head: None },
            (false, ..) => Self { embedding: EMBEDDING, head: Some(HEAD) },
        }
    }
}
