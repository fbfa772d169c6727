//! Packed training: the slots of one base take their steps together.

use std::path::{Path, PathBuf};
use std::time::Instant;

use spec::{
    Evaluation, Event, ExampleLosses, ExecutorSettings, Outcome, TrainSettings, Trial, TrialId,
};

use super::TrainingSets;
use super::checkpoint;
use super::evaluate::{EvalSets, Losses};
use super::health::Health;
use super::slot::Slot;
use crate::adapter::AdapterLayout;
use crate::backend::Backend;
use crate::data::Example;
use crate::decoder::{ActiveAdapter, Decoder, Rows, SlotDropout};
use crate::error::{Result, TrainerError};
use crate::model::{DecoderConfig, Model};
use crate::peft;
use crate::plan;

/// One frozen base on a backend, with its slots.
#[derive(Debug)]
pub struct Packed<B: Backend> {
    pub(super) decoder: Decoder<B>,
    model_dir: PathBuf,
    pub(super) data: TrainingSets,
    sets: EvalSets,
    settings: TrainSettings,
    capacity: usize,
    slots: Vec<Slot<B>>,
    base: Option<Evaluation>,
    base_examples: Option<ExampleLosses>,
}

/// A slot's share of a step.
struct Part {
    rows: std::ops::Range<usize>,
    targets: usize,
    dropout: Option<SlotDropout>,
}

impl<B: Backend> Packed<B> {
    /// Loads the base model.
    pub fn load(
        backend: B,
        model_dir: &Path,
        data: TrainingSets,
        train: &TrainSettings,
        executor: &ExecutorSettings,
    ) -> Result<Self> {
        let model = Model::load(&backend, model_dir)?;
        check_tokens(&model.config, &data, model_dir)?;
        Ok(Self {
            sets: EvalSets::new(&data, train.eval.train_subset),
            decoder: Decoder { backend, model },
            model_dir: model_dir.to_path_buf(),
            data,
            settings: train.clone(),
            capacity: executor.max_packed.map_or(plan::DEFAULT_SLOTS, |n| n as usize).max(1),
            slots: Vec::new(),
            base: None,
            base_examples: None,
        })
    }

    /// The base model's shape.
    pub const fn config(&self) -> &DecoderConfig {
        &self.decoder.model.config
    }

    /// How many trials may share a step.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Evaluates the untouched base model; computed once.
    pub fn evaluate_base(&mut self) -> Result<Evaluation> {
        if let Some(base) = &self.base {
            return Ok(base.clone());
        }
        let started = Instant::now();
        let losses = self.losses(&[])?;
        let first = losses.first().filter(|l| l.are_finite());
        let Some(losses) = first else {
            return Err(TrainerError::Weights {
                path: self.model_dir.clone(),
                message: "the base model's loss is not a number: its weights are damaged or do \
                          not fit its config.json"
                    .to_owned(),
            });
        };
        let mut evaluation = losses.evaluation(None);
        evaluation.seconds = started.elapsed().as_secs_f64();
        self.base_examples = Some(losses.examples());
        self.base = Some(evaluation.clone());
        Ok(evaluation)
    }

    /// The losses of the single validation examples at the trial's best evaluation so far, or at
    /// the base model's ([`TrialId::BASE`]); `None` where there is no such evaluation.
    pub fn example_losses(&self, trial: TrialId) -> Option<ExampleLosses> {
        if trial == TrialId::BASE {
            return self.base_examples.clone();
        }
        let best = self.slot(trial).ok()?.best.as_ref()?;
        let targets = self.data.validation.examples.iter().map(Example::targets);
        Some(ExampleLosses::collect(best.nll.iter().copied().zip(targets)))
    }

    /// Gives a trial a slot, going on from a checkpoint where there is one. Returns the steps
    /// taken so far and in all.
    pub fn admit(&mut self, trial: &Trial, checkpoint: Option<&Path>) -> Result<(u32, u32)> {
        let refuse =
            |message: &str| TrainerError::Trial { trial: trial.id, message: message.to_owned() };
        if self.slots.len() >= self.capacity {
            return Err(refuse("every slot is taken"));
        }
        if self.slots.iter().any(|s| s.trial.id == trial.id) {
            return Err(refuse("already has a slot"));
        }
        let base_loss = self.evaluate_base()?.train_loss;
        let layout = AdapterLayout::of_trial(self.config(), &trial.config);
        let health = Health::new(base_loss, self.settings.divergence_factor);
        let (train, decay) = (&self.data.train, self.settings.decay_ratio);
        let backend = &self.decoder.backend;
        let mut slot = Slot::new(backend, trial.clone(), layout, train, decay, health)?;
        if let Some(path) = checkpoint {
            checkpoint::restore(backend, &mut slot, path)?;
        }
        let steps = (slot.step, slot.schedule.total_steps);
        self.slots.push(slot);
        Ok(steps)
    }

    /// Takes one step for all active slots and returns what happened, slot by slot. A step is a
    /// micro-batch of each; a slot whose batch is complete also takes its optimizer step, and is
    /// evaluated when that is due.
    pub fn step(&mut self) -> Result<Vec<Event>> {
        rayon::scope(|_| self.step_on_pool())
    }

    fn step_on_pool(&mut self) -> Result<Vec<Event>> {
        let started = Instant::now();
        let (rows, parts) = self.assemble();
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let nll = self.forward_backward(&rows, &parts)?;
        let seconds = started.elapsed().as_secs_f64();
        let mut nll = &nll[..];
        let mut events = vec![Vec::new(); self.slots.len()];
        let mut due = Vec::new();
        let optimizer = &self.settings.optimizer;
        let active = self.slots.iter_mut().enumerate().filter(|(_, s)| s.is_active());
        for ((index, slot), part) in active.zip(&parts) {
            slot.seconds += seconds * part.rows.len() as f64 / rows.len() as f64;
            let (mine, rest) = nll.split_at(part.targets);
            nll = rest;
            let event = slot.finish_micro_batch(&self.decoder.backend, mine, optimizer)?;
            let stepped = matches!(event, Some(Event::Trained { .. }));
            events[index].extend(event);
            if stepped && slot.wants_evaluation(self.settings.eval.eval_steps) {
                due.push(index);
            }
        }
        self.evaluate(&due, &mut events)?;
        Ok(events.into_iter().flatten().collect())
    }

    /// The next micro-batch of every active slot.
    fn assemble(&mut self) -> (Rows, Vec<Part>) {
        let active = self.slots.iter().filter(|s| s.is_active()).count();
        let tokens = plan::TOKENS_PER_STEP / active.max(1);
        let examples = self.settings.micro_batch_size.map_or(usize::MAX, |n| n as usize);
        let (mut rows, mut parts) = (Rows::default(), Vec::with_capacity(active));
        for slot in self.slots.iter_mut().filter(|s| s.is_active()) {
            let (start, targets) = (rows.len(), rows.targets.len());
            let (picked, weight, dropout) =
                slot.next_micro_batch(&self.data.train, examples, tokens);
            for index in picked {
                let example = &self.data.train.examples[index];
                rows.push(&example.input_ids, &example.loss_mask, weight);
            }
            let targets = rows.targets.len() - targets;
            parts.push(Part { rows: start..rows.len(), targets, dropout });
        }
        (rows, parts)
    }

    fn forward_backward(&mut self, rows: &Rows, parts: &[Part]) -> Result<Vec<f32>> {
        let (mut adapters, mut grads) = (Vec::new(), Vec::new());
        for (slot, part) in self.slots.iter_mut().filter(|s| s.is_active()).zip(parts) {
            adapters.push(ActiveAdapter {
                layout: &slot.layout,
                params: &slot.params,
                scale: slot.trial.config.scale(),
                rows: part.rows.clone(),
                dropout: part.dropout,
            });
            grads.push(&mut slot.grad);
        }
        let recompute = self.settings.gradient_checkpointing;
        self.decoder.train(rows, &adapters, &mut grads, recompute)
    }

    fn losses(&self, slots: &[&Slot<B>]) -> Result<Vec<Losses>> {
        rayon::scope(|_| self.sets.losses(&self.decoder, slots, plan::TOKENS_PER_STEP))
    }

    /// Evaluates the slots and ends those that are complete or whose losses are no numbers.
    fn evaluate(&mut self, due: &[usize], events: &mut [Vec<Event>]) -> Result<()> {
        if due.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let slots: Vec<&Slot<B>> = due.iter().map(|index| &self.slots[*index]).collect();
        let losses = self.losses(&slots)?;
        let seconds = started.elapsed().as_secs_f64() / due.len() as f64;
        for (index, losses) in due.iter().zip(losses) {
            let slot = &mut self.slots[*index];
            slot.seconds += seconds;
            if !losses.are_finite() {
                let reason = format!("the validation loss is {}", losses.eval_loss);
                events[*index].push(slot.end(Outcome::Diverged { step: slot.step, reason }));
                continue;
            }
            let evaluation = Evaluation {
                step: slot.step,
                epoch: slot.epoch(),
                tokens: slot.tokens,
                seconds: slot.seconds,
                ..losses.evaluation(slot.best.as_ref())
            };
            slot.keep_if_best(&self.decoder.backend, &evaluation, losses.validation_nll())?;
            events[*index].push(Event::Evaluated { trial: slot.trial.id, evaluation });
            if slot.is_complete() {
                events[*index].push(slot.end(Outcome::Completed));
            }
        }
        Ok(())
    }

    /// Writes the trial's state as of its last optimizer step and returns that step.
    pub fn save_checkpoint(&self, trial: TrialId, path: &Path) -> Result<u32> {
        let slot = self.slot(trial)?;
        checkpoint::save(&self.decoder.backend, slot, path)?;
        Ok(slot.step)
    }

    /// Writes the adapter of the trial's best evaluation in PEFT's format into `dir`; false when
    /// there was no evaluation.
    pub fn save_best(&self, trial: TrialId, dir: &Path) -> Result<bool> {
        let slot = self.slot(trial)?;
        let Some(best) = &slot.best else { return Ok(false) };
        peft::save(dir, &slot.layout, &best.values, &slot.trial.config, &self.model_dir)?;
        Ok(true)
    }

    /// Frees the trial's slot.
    pub fn release(&mut self, trial: TrialId) {
        self.slots.retain(|slot| slot.trial.id != trial);
    }

    fn slot(&self, trial: TrialId) -> Result<&Slot<B>> {
        self.slots
            .iter()
            .find(|slot| slot.trial.id == trial)
            .ok_or_else(|| TrainerError::Trial { trial, message: "has no slot".to_owned() })
    }
}

/// A token the embedding table does not have would be read out of bounds.
fn check_tokens(config: &DecoderConfig, data: &TrainingSets, model_dir: &Path) -> Result<()> {
    let sets =
        [Some(&data.train), Some(&data.validation), data.retention.as_ref(), data.test.as_ref()];
    let examples = sets.into_iter().flatten().flat_map(|set| &set.examples);
    let largest = examples.flat_map(|e| &e.input_ids).max().copied().unwrap_or(0);
    if (largest as usize) < config.vocab_size {
        return Ok(());
    }
    Err(TrainerError::Weights {
        path: model_dir.join("tokenizer.json"),
        message: format!(
            "gives the token {largest}, but the model has {} embeddings: tokenizer and model do \
             not belong together",
            config.vocab_size
        ),
    })
}
