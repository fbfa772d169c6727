//! Packed training: the slots of one base take their steps together; where trials ask for several
//! forms of the base, these take turns.

use std::path::{Path, PathBuf};
use std::time::Instant;

use spec::{
    BaseForm, BaseSettings, Evaluation, Event, Objective, Outcome, TrainSettings, Trial, TrialId,
};

use super::bases::Bases;
use super::checkpoint;
use super::evaluate::{EvalSets, Losses};
use super::health::Health;
use super::scoring::{Scoring, Written};
use super::sets::TrainingSets;
use super::slot::Slot;
use crate::adapter::{AdapterLayout, LoraShape};
use crate::backend::{AdamWStep, Backend};
use crate::decoder::{ActiveAdapter, Rows, SlotDropout};
use crate::error::{Result, TrainerError};
use crate::model::DecoderConfig;
use crate::plan::{self, Packing};

/// A frozen base on a backend, in the forms that trials ask for, with its slots.
#[derive(Debug)]
pub struct Packed<B: Backend> {
    pub(super) bases: Bases<B>,
    pub(super) model_dir: PathBuf,
    pub(super) data: TrainingSets,
    pub(super) sets: EvalSets,
    settings: TrainSettings,
    pub(super) packing: Packing,
    /// What is measured of answers, if anything is.
    pub(super) scoring: Option<Scoring>,
    pub(super) slots: Vec<Slot<B>>,
    /// The trial that the next step begins with, as a place in `slots`.
    turn: usize,
}

/// A slot's share of a step.
struct Part {
    /// Its place in `slots`.
    slot: usize,
    rows: std::ops::Range<usize>,
    targets: usize,
    dropout: Option<SlotDropout>,
}

impl<B: Backend> Packed<B> {
    /// Loads the base model, with its weights as `base` says, for the trials that ask for no other
    /// form of it.
    pub fn load(
        backend: B,
        model_dir: &Path,
        base: &BaseSettings,
        data: TrainingSets,
        train: &TrainSettings,
        packing: Packing,
    ) -> Result<Self> {
        let bases = Bases::load(backend, model_dir.to_path_buf(), base.clone())?;
        check_tokens(bases.config(), &data, model_dir)?;
        Ok(Self {
            sets: EvalSets::new(&data, train.eval.train_subset),
            bases,
            model_dir: model_dir.to_path_buf(),
            data,
            settings: train.clone(),
            packing: Packing { slots: packing.slots.max(1), ..packing },
            scoring: None,
            slots: Vec::new(),
            turn: 0,
        })
    }

    /// The same, with answers written and scored at evaluations.
    #[must_use]
    pub fn with_scoring(self, scoring: Option<Scoring>) -> Self {
        Self { scoring, ..self }
    }

    /// The base model's shape.
    pub fn config(&self) -> &DecoderConfig {
        self.bases.config()
    }

    /// How trials are packed by now; memory that ran out has made it smaller.
    pub const fn packing(&self) -> Packing {
        self.packing
    }

    /// Where it computes.
    pub fn backend(&self) -> &B {
        self.bases.backend()
    }

    /// The losses of the untouched base model in a form (`None`: the one that was loaded first);
    /// computed once.
    pub(super) fn base_losses(&mut self, form: Option<BaseForm>) -> Result<Evaluation> {
        let place = self.bases.place(form)?;
        let (sets, scoring) = (&self.sets, &mut self.scoring);
        let tokens = self.packing.tokens_per_step;
        self.bases.evaluate(place, |decoder| {
            let losses = rayon::scope(|_| sets.losses(decoder, &[], tokens))?;
            let Some(scoring) = scoring else { return Ok((losses, None)) };
            Ok((losses, scoring.measure(decoder, &[], tokens)?.pop()))
        })
    }

    /// A slot for a trial, resumed from a checkpoint where there is one.
    pub(super) fn new_slot(&mut self, trial: &Trial, checkpoint: Option<&Path>) -> Result<Slot<B>> {
        let form = trial.config.quantization;
        // Every evaluation of this engine has it.
        let base_loss = self.base_losses(form)?.train_loss.unwrap_or(f64::INFINITY);
        let base = self.bases.place(form)?;
        LoraShape::of_trial(&trial.config).check(self.config()).map_err(TrainerError::Targets)?;
        let layout = AdapterLayout::of_trial(self.config(), &trial.config);
        let health = Health::new(base_loss, self.settings.divergence_factor);
        let (train, settings) = (&self.data.train, &self.settings);
        let decoder = self.bases.decoder(base);
        let mut slot = Slot::new(decoder, base, trial.clone(), layout, train, settings, health)?;
        if let Some(path) = checkpoint {
            checkpoint::restore(&decoder.backend, &mut slot, settings, path)?;
        }
        Ok(slot)
    }

    /// Takes one step for the active slots and returns what happened, slot by slot. A step is a
    /// micro-batch of each, or of as many in turn as its tokens allow; a slot whose batch is
    /// complete also takes its optimizer step, and is evaluated when that is due.
    ///
    /// When memory runs out the step is taken again in smaller ones, which only the optimizer
    /// sees the sum of; an error comes when a single sequence does not fit.
    pub(super) fn take_step(&mut self) -> Result<Vec<Event>> {
        let mut events = vec![Vec::new(); self.slots.len()];
        let mut shrunk = Vec::new();
        let due = self.with_less_memory(&mut shrunk, |engine| engine.train(&mut events))?;
        if !due.is_empty() {
            let started = Instant::now();
            let losses = self.with_less_memory(&mut shrunk, |engine| {
                let slots: Vec<&Slot<B>> = due.iter().map(|i| &engine.slots[*i]).collect();
                engine.losses(&slots)
            })?;
            let mut written =
                self.with_less_memory(&mut shrunk, |engine| engine.written(&due, &losses))?;
            let seconds = started.elapsed().as_secs_f64() / due.len() as f64;
            for (place, (index, losses)) in due.into_iter().zip(losses).enumerate() {
                let written = written[place].take();
                self.take_losses(index, &losses, written, seconds, &mut events[index])?;
            }
        }
        Ok(shrunk.into_iter().chain(events.into_iter().flatten()).collect())
    }

    /// Does `work`, and when memory runs out again with a smaller step, as often as there is one.
    fn with_less_memory<R>(
        &mut self,
        shrunk: &mut Vec<Event>,
        mut work: impl FnMut(&mut Self) -> Result<R>,
    ) -> Result<R> {
        loop {
            let error = match work(self) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let Some(what) = error.out_of_memory().filter(|_| self.shrink()) else {
                return Err(error);
            };
            self.backend().trim();
            shrunk.push(Event::OutOfMemory {
                error: what,
                tokens_per_step: self.packing.tokens_per_step as u32,
            });
        }
    }

    /// Makes the step smaller; false when it cannot be.
    const fn shrink(&mut self) -> bool {
        let packing = &mut self.packing;
        if packing.tokens_per_step <= plan::WORTH_KEEPING
            && packing.may_recompute
            && !packing.recompute
        {
            packing.recompute = true;
            return true;
        }
        packing.tokens_per_step /= 2;
        packing.tokens_per_step > 0
    }

    /// Forward, backward and optimizer steps; returns the slots whose evaluation is due.
    fn train(&mut self, events: &mut [Vec<Event>]) -> Result<Vec<usize>> {
        let started = Instant::now();
        let (rows, parts) = self.assemble();
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let nll = match self.forward_backward(&rows, &parts) {
            Ok(nll) => nll,
            Err(error) => {
                // Some gradients may hold a part of this step: the batches begin again.
                for part in &parts {
                    self.slots[part.slot].restart_batch(self.bases.backend())?;
                }
                return Err(error);
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        let mut nll = &nll[..];
        let mut complete = Vec::new();
        for part in &parts {
            let slot = &mut self.slots[part.slot];
            slot.seconds += seconds * part.rows.len() as f64 / rows.len() as f64;
            let (mine, rest) = nll.split_at(part.targets);
            nll = rest;
            if slot.take_micro_batch(mine) {
                complete.push(part.slot);
            }
        }
        self.optimize(&complete, events)
    }

    /// The optimizer steps of slots whose batches are complete; returns those of them whose
    /// evaluation is due.
    fn optimize(&mut self, complete: &[usize], events: &mut [Vec<Event>]) -> Result<Vec<usize>> {
        let backend = self.bases.backend();
        let gradients: Vec<_> = complete.iter().map(|i| &self.slots[*i].grad).collect();
        let norms = backend.norms(&gradients)?;
        let mut steps = Vec::with_capacity(complete.len());
        for (index, norm) in complete.iter().zip(norms) {
            match self.slots[*index].next_step(norm, &self.settings.optimizer) {
                Ok((step, loss)) => steps.push((*index, step, loss, norm)),
                Err(end) => events[*index].push(*end),
            }
        }
        let mut slots = self.slots.iter_mut().enumerate();
        let update = |(index, step, ..): &(usize, AdamWStep, f64, f64)| {
            slots.find(|(place, _)| place == index).map(|(_, slot)| slot.update(*step))
        };
        let mut updates: Vec<_> = steps.iter().filter_map(update).collect();
        backend.adamw(&mut updates)?;
        let mut due = Vec::new();
        for (index, step, loss, norm) in steps {
            let slot = &mut self.slots[index];
            events[index].push(slot.count_step(&step, loss, norm));
            if slot.wants_evaluation(self.settings.eval.eval_steps) {
                due.push(index);
            }
        }
        Ok(due)
    }

    /// The next micro-batch of every active slot of one base, or of as many in turn as the step's
    /// tokens allow, and of one at least. The first that is left out begins the next step.
    fn assemble(&mut self) -> (Rows, Vec<Part>) {
        let active: Vec<usize> =
            (0..self.slots.len()).filter(|i| self.slots[*i].is_active()).collect();
        let in_turn = active.partition_point(|i| *i < self.turn);
        let budget = self.packing.tokens_per_step;
        let each = budget.min(plan::TOKENS_PER_MICRO_BATCH);
        let examples = self.settings.micro_batch_size.map_or(usize::MAX, |n| n as usize);
        let (mut tokens, mut base, mut left_out) = (0, None, None);
        let mut chosen = Vec::with_capacity(active.len());
        for &index in active[in_turn..].iter().chain(&active[..in_turn]) {
            let slot = &mut self.slots[index];
            if *base.get_or_insert(slot.base) != slot.base {
                left_out.get_or_insert(index);
                continue;
            }
            let len = slot.next_micro_batch_len(&self.data.train, examples, each);
            if tokens > 0 && tokens + len > budget {
                left_out.get_or_insert(index);
                break;
            }
            tokens += len;
            chosen.push(index);
        }
        self.turn = left_out.unwrap_or(self.turn);
        chosen.sort_unstable();
        let (mut rows, mut parts) = (Rows::default(), Vec::with_capacity(chosen.len()));
        for index in chosen {
            let (start, targets) = (rows.len(), rows.targets.len());
            let slot = &mut self.slots[index];
            let (picked, weight, dropout) = slot.next_micro_batch(&self.data.train, examples, each);
            for example in picked {
                let example = &self.data.train.examples[example];
                rows.push(&example.input_ids, &example.loss_mask, weight);
            }
            let targets = rows.targets.len() - targets;
            parts.push(Part { slot: index, rows: start..rows.len(), targets, dropout });
        }
        (rows, parts)
    }

    fn forward_backward(&mut self, rows: &Rows, parts: &[Part]) -> Result<Vec<f32>> {
        let (mut adapters, mut grads) = (Vec::new(), Vec::new());
        let base = parts.first().map_or(0, |part| self.slots[part.slot].base);
        let mut slots = self.slots.iter_mut().enumerate();
        for part in parts {
            let Some((_, slot)) = slots.find(|(index, _)| *index == part.slot) else { continue };
            adapters.push(ActiveAdapter {
                layout: &slot.layout,
                params: &slot.params,
                rows: part.rows.clone(),
                dropout: part.dropout,
            });
            grads.push(&mut slot.grad);
        }
        self.bases.decoder(base).train(rows, &adapters, &mut grads, self.packing.recompute)
    }

    /// The losses of slots that share a base.
    fn losses(&self, slots: &[&Slot<B>]) -> Result<Vec<Losses>> {
        let tokens = self.packing.tokens_per_step;
        let base = slots.first().map_or(0, |slot| slot.base);
        rayon::scope(|_| self.sets.losses(self.bases.decoder(base), slots, tokens))
    }

    /// What the evaluated slots answer, where answers are due.
    fn written(&mut self, due: &[usize], losses: &[Losses]) -> Result<Vec<Option<Written>>> {
        let mut written = vec![None; due.len()];
        let Some(scoring) = &mut self.scoring else { return Ok(written) };
        let asked: Vec<usize> = (0..due.len())
            .filter(|&place| {
                let (slot, losses) = (&self.slots[due[place]], &losses[place]);
                let evaluation = Evaluation { epoch: slot.epoch(), ..losses.evaluation(None) };
                let is_lowest = slot.is_lowest(losses.eval_loss);
                losses.are_finite() && scoring.is_due(&evaluation, is_lowest)
            })
            .collect();
        let Some(&first) = asked.first() else { return Ok(written) };
        let adapters: Vec<_> =
            asked.iter().map(|place| self.slots[due[*place]].attached()).collect();
        let decoder = self.bases.decoder(self.slots[due[first]].base);
        let answers = scoring.measure(decoder, &adapters, self.packing.tokens_per_step)?;
        for (place, answers) in asked.into_iter().zip(answers) {
            let step = self.slots[due[place]].step;
            written[place] = Some(Written { step, ..answers });
        }
        Ok(written)
    }

    /// Takes the losses of a slot's evaluation; it ends when it is complete or when they are no
    /// numbers.
    fn take_losses(
        &mut self,
        index: usize,
        losses: &Losses,
        written: Option<Written>,
        seconds: f64,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let slot = &mut self.slots[index];
        slot.seconds += seconds;
        if !losses.are_finite() {
            let reason = format!("the validation loss is {}", losses.eval_loss);
            events.push(slot.end(Outcome::Diverged { step: slot.step, reason }));
            return Ok(());
        }
        let best = slot.best.as_ref().and_then(|best| best.written.as_ref());
        let evaluation = Evaluation {
            step: slot.step,
            epoch: slot.epoch(),
            scores: written.as_ref().map(|written| written.means(best)).unwrap_or_default(),
            tokens: slot.tokens,
            seconds: slot.seconds,
            ..losses.evaluation(slot.lowest.as_ref())
        };
        let usual = Objective::default();
        let objective = self.scoring.as_ref().map_or(&usual, |scoring| &scoring.objective);
        let (backend, nll) = (self.bases.backend(), losses.validation_nll());
        slot.keep_if_best(backend, objective, &evaluation, nll, written)?;
        events.push(Event::Evaluated { trial: slot.trial.id, evaluation });
        if slot.is_complete() {
            events.push(slot.end(Outcome::Completed));
        }
        Ok(())
    }

    pub(super) fn slot(&self, trial: TrialId) -> Result<&Slot<B>> {
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
