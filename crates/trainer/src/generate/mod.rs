//! Answers: tokens that a model writes behind prompts, many sequences of many adapters at a time.
//!
//! Place on the flow line: beside [`crate::engine`], on the same decoder. Prompts of any lengths are
//! computed together, without padding; from then on every sequence adds one token a step. One that
//! ends leaves its place to the next prompt, which is computed in the same step as the others' tokens.
//!
//! Greedy tokens are those of transformers' `generate(do_sample=False)`; what a sequence writes does
//! not depend on those beside it.

use std::ops::ControlFlow;

use crate::adapter::AdapterLayout;
use crate::backend::Backend;
use crate::decoder::{AttachedAdapter, Decoder};
use crate::error::Result;

mod batch;
mod generator;
mod sampling;

pub use generator::{AdapterId, Generator};
pub use sampling::Sampling;

use batch::Batch;

/// What is continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Its tokens, at least one.
    pub tokens: Vec<u32>,
    /// The adapter's place among those at hand; `None`: the base model.
    pub adapter: Option<usize>,
}

/// How answers are written.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
    /// Tokens that end an answer and do not belong to it.
    pub end_tokens: Vec<u32>,
    /// How tokens are drawn; `None`: always the most likely one.
    pub sampling: Option<Sampling>,
    /// Sequences that are computed together at most.
    pub sequences: usize,
    /// Tokens of one step at most, but for a longer prompt.
    pub tokens_per_step: usize,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            end_tokens: Vec::new(),
            sampling: None,
            sequences: 128,
            tokens_per_step: 2048,
        }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model wrote an end token.
    End,
    /// It is as long as it may be.
    Length,
    /// The receiver of the tokens needs no more.
    Stopped,
    /// The model's logits are not numbers: the adapter or the base is damaged, or training diverged.
    NotFinite,
}

/// What happens to an answer while it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Its next token.
    Token(u32),
    /// It has ended.
    End(Finish),
}

/// Hears what happens to the answer of a prompt, by the prompt's place; [`ControlFlow::Break`] after a
/// token ends the answer with it.
pub type OnProgress<'a> = &'a mut dyn FnMut(usize, Progress) -> ControlFlow<()>;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Its tokens, without the end token.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
}

/// An adapter on a backend.
#[derive(Debug)]
pub struct PlacedAdapter<B: Backend> {
    /// Where its matrices lie.
    pub layout: AdapterLayout,
    /// Their values, `[1, layout.len]`.
    pub params: B::Tensor,
}

impl<B: Backend> PlacedAdapter<B> {
    /// It, to be used for a while.
    pub const fn attached(&self) -> AttachedAdapter<'_, B::Tensor> {
        AttachedAdapter { layout: &self.layout, params: &self.params }
    }
}

impl<B: Backend> Decoder<B> {
    /// Writes an answer behind each prompt and returns them in the prompts' order. `on_progress` hears
    /// of each token as it is written.
    ///
    /// Where memory runs out, fewer sequences are computed together; an error comes when a single one
    /// does not fit.
    pub fn generate(
        &self,
        adapters: &[PlacedAdapter<B>],
        prompts: &[Prompt],
        options: &GenerateOptions,
        on_progress: OnProgress<'_>,
    ) -> Result<Vec<Generated>> {
        let attached: Vec<_> = adapters.iter().map(PlacedAdapter::attached).collect();
        self.generate_with(&attached, prompts, options, on_progress)
    }

    /// The same with adapters that somebody else holds.
    pub(crate) fn generate_with(
        &self,
        adapters: &[AttachedAdapter<'_, B::Tensor>],
        prompts: &[Prompt],
        options: &GenerateOptions,
        on_progress: OnProgress<'_>,
    ) -> Result<Vec<Generated>> {
        if options.max_new_tokens == 0 {
            let empty = Generated { tokens: Vec::new(), finish: Finish::Length };
            return Ok(vec![empty; prompts.len()]);
        }
        Batch::new(self, adapters, prompts, options).run(on_progress)
    }
}
