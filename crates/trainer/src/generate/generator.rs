//! A base model with adapters, loaded to write answers.

use std::path::Path;

use spec::BaseSettings;

use super::{GenerateOptions, Generated, OnProgress, PlacedAdapter, Prompt};
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::decoder::Decoder;
use crate::error::{Result, TrainerError};
use crate::memory;
use crate::model::Model;
use crate::peft;

/// The place of an adapter that was added.
pub type AdapterId = usize;

/// A base model on the CPU, and the adapters that write on it. Other devices do not generate yet.
#[derive(Debug)]
pub struct Generator {
    decoder: Decoder<Cpu<f32>>,
    adapters: Vec<PlacedAdapter<Cpu<f32>>>,
}

impl Generator {
    /// Loads a base model with its weights as `base` says; it takes at most `memory_limit` bytes, where
    /// there is a limit, and what is free.
    pub fn load(model_dir: &Path, base: &BaseSettings, memory_limit: Option<u64>) -> Result<Self> {
        let room = memory::available(memory_limit).map_or(usize::MAX, |bytes| bytes as usize);
        let backend = Cpu::with_limit(room);
        let model = Model::load(&backend, model_dir, base)?;
        Ok(Self { decoder: Decoder { backend, model }, adapters: Vec::new() })
    }

    /// Adds the adapter of a PEFT folder.
    pub fn add_adapter(&mut self, dir: &Path) -> Result<AdapterId> {
        let loaded = peft::load(dir, &self.decoder.model.config)?;
        let params = self.decoder.backend.tensor(&loaded.values, 1, loaded.layout.len)?;
        self.adapters.push(PlacedAdapter { layout: loaded.layout, params });
        Ok(self.adapters.len() - 1)
    }

    /// See [`Decoder::generate`]. A token that the model does not have is refused.
    pub fn generate(
        &self,
        prompts: &[Prompt],
        options: &GenerateOptions,
        on_progress: OnProgress<'_>,
    ) -> Result<Vec<Generated>> {
        let vocabulary = self.decoder.model.config.vocab_size;
        for prompt in prompts {
            if prompt.tokens.is_empty() {
                return Err(TrainerError::Prompt("has no tokens".to_owned()));
            }
            if let Some(token) = prompt.tokens.iter().find(|id| **id as usize >= vocabulary) {
                return Err(TrainerError::Prompt(format!(
                    "has the token {token}, but the model has {vocabulary} embeddings: tokenizer and \
                     model do not belong together"
                )));
            }
        }
        self.decoder.generate(&self.adapters, prompts, options, on_progress)
    }
}
