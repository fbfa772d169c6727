//! Sequences that are continued together, and those that wait for a place.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use rayon::prelude::*;

use super::sampling::Picker;
use super::{Finish, GenerateOptions, Generated, OnProgress, Progress, Prompt};
use crate::backend::Backend;
use crate::decoder::{ActiveAdapter, AttachedAdapter, Decoder, Past, Rows};
use crate::error::Result;

/// A prompt and its answer so far.
struct Sequence<B: Backend> {
    /// The place of its prompt.
    prompt: usize,
    adapter: Option<usize>,
    /// Prompt and answer.
    tokens: Vec<u32>,
    /// Tokens of the prompt.
    asked: usize,
    /// Tokens whose keys and values are kept.
    kept: usize,
    /// `None` as long as it waits.
    past: Option<Past<B>>,
    picker: Picker,
}

impl<B: Backend> Sequence<B> {
    /// The tokens that the next step computes.
    fn pending(&self) -> &[u32] {
        &self.tokens[self.kept..]
    }

    /// Gives its place up; what it has written stays.
    fn leave(&mut self) {
        (self.past, self.kept) = (None, 0);
    }
}

/// All sequences of a call.
pub struct Batch<'a, B: Backend> {
    decoder: &'a Decoder<B>,
    adapters: &'a [AttachedAdapter<'a, B::Tensor>],
    options: &'a GenerateOptions,
    waiting: VecDeque<Sequence<B>>,
    /// By adapter, then by prompt.
    active: Vec<Sequence<B>>,
    /// Sequences that fit beside each other.
    most: usize,
    done: Vec<Option<Generated>>,
}

impl<'a, B: Backend> Batch<'a, B> {
    pub fn new(
        decoder: &'a Decoder<B>,
        adapters: &'a [AttachedAdapter<'a, B::Tensor>],
        prompts: &[Prompt],
        options: &'a GenerateOptions,
    ) -> Self {
        let sequence = |(prompt, Prompt { tokens, adapter }): (usize, &Prompt)| Sequence {
            prompt,
            adapter: *adapter,
            tokens: tokens.clone(),
            asked: tokens.len(),
            kept: 0,
            past: None,
            picker: Picker::new(options.sampling, prompt),
        };
        Self {
            decoder,
            adapters,
            options,
            waiting: prompts.iter().enumerate().map(sequence).collect(),
            active: Vec::new(),
            most: options.sequences.max(1),
            done: vec![None; prompts.len()],
        }
    }

    pub fn run(mut self, on_progress: OnProgress<'_>) -> Result<Vec<Generated>> {
        loop {
            self.admit()?;
            if self.active.is_empty() {
                return Ok(self.done.into_iter().flatten().collect());
            }
            let logits = match self.step() {
                Ok(logits) => logits,
                Err(error) if error.out_of_memory().is_some() && self.active.len() > 1 => {
                    self.make_room();
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.take(&logits, on_progress);
        }
    }

    /// Gives free places to those that wait, in order, as many as a step's tokens allow.
    fn admit(&mut self) -> Result<()> {
        let mut tokens: usize = self.active.iter().map(|s| s.pending().len()).sum();
        while self.active.len() < self.most
            && let Some(next) = self.waiting.front_mut()
        {
            tokens += next.pending().len();
            if tokens > self.options.tokens_per_step && !self.active.is_empty() {
                break;
            }
            match self.decoder.past(next.asked + self.options.max_new_tokens) {
                Ok(past) => next.past = Some(past),
                Err(error) if error.out_of_memory().is_some() && !self.active.is_empty() => {
                    self.most = self.active.len();
                    break;
                }
                Err(error) => return Err(error),
            }
            self.active.extend(self.waiting.pop_front());
        }
        self.active.sort_by_key(|sequence| (sequence.adapter, sequence.prompt));
        Ok(())
    }

    /// The logits behind the pending tokens of every active sequence.
    fn step(&mut self) -> Result<Vec<f32>> {
        let mut rows = Rows::default();
        let mut adapters: Vec<ActiveAdapter<'_, B::Tensor>> = Vec::new();
        for same in self.active.chunk_by(|a, b| a.adapter == b.adapter) {
            let start = rows.len();
            for sequence in same {
                rows.push_behind(sequence.kept, sequence.pending());
            }
            let Some(place) = same[0].adapter else { continue };
            let AttachedAdapter { layout, params } = self.adapters[place];
            adapters.push(ActiveAdapter { layout, params, rows: start..rows.len(), dropout: None });
        }
        let mut past: Vec<&mut Past<B>> =
            self.active.iter_mut().filter_map(|sequence| sequence.past.as_mut()).collect();
        let decoder = self.decoder;
        rayon::scope(|_| decoder.continue_sequences(&rows, &adapters, &mut past))
    }

    /// Half of the sequences wait again: their prompts and answers are computed anew later.
    fn make_room(&mut self) {
        self.most = self.active.len() / 2;
        for mut sequence in self.active.drain(self.most..).rev() {
            sequence.leave();
            self.waiting.push_front(sequence);
        }
        self.decoder.backend.trim();
    }

    /// Picks a token for every active sequence; those that end leave.
    fn take(&mut self, logits: &[f32], on_progress: OnProgress<'_>) {
        let vocabulary = self.decoder.model.config.vocab_size;
        let picked: Vec<Option<u32>> = self
            .active
            .par_iter_mut()
            .zip(logits.par_chunks_exact(vocabulary))
            .map(|(sequence, logits)| sequence.picker.pick(logits))
            .collect();
        let mut picked = picked.into_iter();
        for mut sequence in std::mem::take(&mut self.active) {
            sequence.kept = sequence.tokens.len();
            let finish = match picked.next().flatten() {
                None => Some(Finish::NotFinite),
                Some(token) if self.options.end_tokens.contains(&token) => Some(Finish::End),
                Some(token) => {
                    sequence.tokens.push(token);
                    let is_full =
                        sequence.tokens.len() - sequence.asked >= self.options.max_new_tokens;
                    match on_progress(sequence.prompt, Progress::Token(token)) {
                        ControlFlow::Break(()) => Some(Finish::Stopped),
                        ControlFlow::Continue(()) => is_full.then_some(Finish::Length),
                    }
                }
            };
            if let Some(finish) = finish {
                let _ = on_progress(sequence.prompt, Progress::End(finish));
                let tokens = sequence.tokens.split_off(sequence.asked);
                self.done[sequence.prompt] = Some(Generated { tokens, finish });
                continue;
            }
            let ropes = &self.decoder.model.config.ropes;
            if ropes.iter().any(|rope| rope.turns_anew_at(sequence.tokens.len())) {
                sequence.kept = 0;
            }
            self.active.push(sequence);
        }
    }
}
