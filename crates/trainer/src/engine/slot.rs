//! A slot: one trial's adapter, optimizer state and place in its data.

use std::cmp::Ordering;

use spec::{Evaluation, Event, Objective, Outcome, TrainPoint, TrainSettings, Trial};

use super::health::Health;
use super::order::epoch_order;
use super::scoring::Written;
use crate::adapter::AdapterLayout;
use crate::backend::{AdamWStep, AdamWUpdate, Backend};
use crate::decoder::{AttachedAdapter, Decoder, SlotDropout};
use crate::error::Result;
use crate::schedule::{Schedule, steps_per_epoch};
use data::{Dataset, Example};

/// The lowest validation loss so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Lowest {
    /// It.
    pub eval_loss: f64,
    /// Summed negative log-likelihood of each validation example.
    pub nll: Vec<f64>,
}

/// The best evaluation so far by the sweep's metric, and the adapter that gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    /// Its losses.
    pub evaluation: Evaluation,
    /// The adapter's values then.
    pub values: Vec<f32>,
    /// Summed negative log-likelihood of each validation example.
    pub nll: Vec<f64>,
    /// What it answered then, where answers are scored.
    pub written: Option<Written>,
}

/// One trial in training.
#[derive(Debug)]
pub struct Slot<B: Backend> {
    pub trial: Trial,
    /// The place of the base that it trains on.
    pub base: usize,
    pub layout: AdapterLayout,
    pub params: B::Tensor,
    pub grad: B::Tensor,
    pub first_moment: B::Tensor,
    pub second_moment: B::Tensor,
    /// LoRA+: factors of the learning rate.
    rate_factors: Option<B::Tensor>,
    pub schedule: Schedule,
    pub health: Health,
    /// Optimizer steps taken.
    pub step: u32,
    pub steps_per_epoch: u32,
    pub tokens: u64,
    pub seconds: f64,
    pub best: Option<Best>,
    /// The lowest validation loss so far, which need not be that of `best`.
    pub lowest: Option<Lowest>,
    /// What it answered last, where answers are scored.
    pub last_written: Option<Written>,
    pub outcome: Option<Outcome>,
    /// It sits the steps out.
    pub held: bool,
    batch: Batch,
}

/// The batch at hand: examples of the optimizer step, consumed in micro-batches.
#[derive(Debug, Default)]
struct Batch {
    epoch_order: Option<(u32, Vec<usize>)>,
    examples: Vec<usize>,
    next: usize,
    rows: u64,
    targets: usize,
    /// Targets of the micro-batches that are done.
    targets_done: u64,
    nll: f64,
}

impl<B: Backend> Slot<B> {
    /// A fresh slot for a trial on the base that lies at the place `base`.
    pub fn new(
        decoder: &Decoder<B>,
        base: usize,
        trial: Trial,
        layout: AdapterLayout,
        train: &Dataset,
        settings: &TrainSettings,
        health: Health,
    ) -> Result<Self> {
        let (backend, c) = (&decoder.backend, &trial.config);
        let steps_per_epoch = steps_per_epoch(train.examples.len(), c.batch_size);
        let schedule = Schedule::on_examples(c, train.examples.len(), settings);
        let zeros = || backend.zeros(1, layout.len);
        let mut initial = layout.initial_values(c.seed, c.variant.init_lora_weights);
        decoder.set_magnitudes(&layout, &mut initial)?;
        let ratio = c.variant.loraplus_lr_ratio as f32;
        let factors = (ratio != 1.0).then(|| layout.factors_of_b(ratio));
        Ok(Self {
            params: backend.tensor(&initial, 1, layout.len)?,
            rate_factors: factors.map(|f| backend.tensor(&f, 1, layout.len)).transpose()?,
            grad: zeros()?,
            first_moment: zeros()?,
            second_moment: zeros()?,
            schedule,
            health,
            step: 0,
            steps_per_epoch,
            tokens: 0,
            seconds: 0.0,
            best: None,
            lowest: None,
            last_written: None,
            outcome: None,
            held: false,
            batch: Batch::default(),
            layout,
            base,
            trial,
        })
    }

    /// Whether the slot takes part in the next step.
    pub const fn is_active(&self) -> bool {
        self.outcome.is_none() && !self.held
    }

    /// Epochs completed, as a fraction.
    pub fn epoch(&self) -> f64 {
        f64::from(self.step) / f64::from(self.steps_per_epoch)
    }

    /// Tokens of the micro-batch that [`Self::next_micro_batch`] will give.
    pub fn next_micro_batch_len(
        &mut self,
        train: &Dataset,
        max_examples: usize,
        max_tokens: usize,
    ) -> usize {
        let len = |index: &usize| train.examples[*index].input_ids.len();
        self.pick(train, max_examples, max_tokens).iter().map(len).sum()
    }

    /// The examples of the next micro-batch; begins a batch where none is at hand.
    fn pick(&mut self, train: &Dataset, max_examples: usize, max_tokens: usize) -> Vec<usize> {
        if self.batch.examples.is_empty() {
            self.begin_batch(train);
        }
        let mut picked = Vec::new();
        let mut tokens = 0;
        for &index in &self.batch.examples[self.batch.next..] {
            let len = train.examples[index].input_ids.len();
            if !picked.is_empty() && (picked.len() == max_examples || tokens + len > max_tokens) {
                break;
            }
            picked.push(index);
            tokens += len;
        }
        picked
    }

    /// Forgets the micro-batches of the batch at hand, and their gradient.
    pub fn restart_batch(&mut self, backend: &B) -> Result<()> {
        self.tokens -= self.batch.rows;
        (self.batch.next, self.batch.rows, self.batch.targets_done) = (0, 0, 0);
        self.batch.nll = 0.0;
        backend.clear(&mut self.grad)
    }

    /// The next micro-batch: example indices, the weight of each of their target tokens, and the
    /// dropout of their rows. `max_examples` and `max_tokens` bound it, but it is never empty.
    pub fn next_micro_batch(
        &mut self,
        train: &Dataset,
        max_examples: usize,
        max_tokens: usize,
    ) -> (Vec<usize>, f32, Option<SlotDropout>) {
        let picked = self.pick(train, max_examples, max_tokens);
        let tokens: usize = picked.iter().map(|i| train.examples[*i].input_ids.len()).sum();
        let dropout = (self.trial.config.lora_dropout > 0.0).then_some(SlotDropout {
            probability: self.trial.config.lora_dropout,
            seed: self.trial.config.seed,
            step: self.step,
            first_row: self.batch.rows,
            first_target: self.batch.targets_done,
        });
        let targets = |i: &usize| Example::targets(&train.examples[*i]) as u64;
        self.batch.targets_done += picked.iter().map(targets).sum::<u64>();
        self.batch.next += picked.len();
        self.batch.rows += tokens as u64;
        self.tokens += tokens as u64;
        (picked, 1.0 / self.batch.targets as f32, dropout)
    }

    fn begin_batch(&mut self, train: &Dataset) {
        let c = &self.trial.config;
        let (epoch, index) = (self.step / self.steps_per_epoch, self.step % self.steps_per_epoch);
        let n = train.examples.len();
        if self.batch.epoch_order.as_ref().is_none_or(|(e, _)| *e != epoch) {
            self.batch.epoch_order = Some((epoch, epoch_order(c.seed, epoch, n)));
        }
        let start = index as usize * c.batch_size as usize;
        let end = (start + c.batch_size as usize).min(n);
        let order = self.batch.epoch_order.as_ref().map_or(&[][..], |(_, order)| order);
        let examples = order[start..end].to_vec();
        let targets = examples.iter().map(|i| Example::targets(&train.examples[*i])).sum();
        self.batch = Batch {
            epoch_order: self.batch.epoch_order.take(),
            examples,
            targets,
            ..Batch::default()
        };
    }

    /// Takes the losses of a micro-batch; whether it was the batch's last.
    pub fn take_micro_batch(&mut self, nll: &[f32]) -> bool {
        self.batch.nll += nll.iter().map(|x| f64::from(*x)).sum::<f64>();
        self.batch.next == self.batch.examples.len()
    }

    /// The optimizer step of a complete batch whose gradient has this norm, with its training loss;
    /// or, where the trial diverges, the event of its end.
    pub fn next_step(
        &mut self,
        grad_norm: f64,
        optimizer: &spec::OptimizerSettings,
    ) -> std::result::Result<(AdamWStep, f64), Box<Event>> {
        let loss = self.batch.nll / self.batch.targets as f64;
        self.batch.examples.clear();
        if let Some(reason) = self.health.judge(loss, grad_norm) {
            return Err(Box::new(self.end(Outcome::Diverged { step: self.step + 1, reason })));
        }
        let update = AdamWStep {
            learning_rate: self.schedule.learning_rate(self.step),
            weight_decay: self.trial.config.weight_decay,
            beta1: optimizer.adam_beta1,
            beta2: optimizer.adam_beta2,
            epsilon: optimizer.adam_epsilon,
            step: self.step + 1,
            grad_scale: clip_factor(grad_norm, optimizer.max_grad_norm),
        };
        Ok((update, loss))
    }

    /// The values that an optimizer step changes.
    pub const fn update(&mut self, step: AdamWStep) -> AdamWUpdate<'_, B::Tensor> {
        AdamWUpdate {
            params: &mut self.params,
            grad: &mut self.grad,
            first_moment: &mut self.first_moment,
            second_moment: &mut self.second_moment,
            rate_factors: self.rate_factors.as_ref(),
            step,
        }
    }

    /// Counts the optimizer step that is taken.
    pub fn count_step(&mut self, step: &AdamWStep, loss: f64, grad_norm: f64) -> Event {
        self.step += 1;
        let point = TrainPoint {
            step: self.step,
            epoch: self.epoch(),
            loss,
            grad_norm: Some(grad_norm),
            learning_rate: step.learning_rate,
            tokens: self.tokens,
            seconds: self.seconds,
        };
        Event::Trained { trial: self.trial.id, point }
    }

    /// Whether the step just taken is one after which the trial is evaluated.
    pub fn wants_evaluation(&self, eval_steps: Option<u32>) -> bool {
        self.step.is_multiple_of(self.steps_per_epoch)
            || eval_steps.is_some_and(|n| self.step.is_multiple_of(n))
    }

    /// Tokens of the completed optimizer steps, without the batch at hand.
    pub const fn tokens_of_completed_steps(&self) -> u64 {
        if self.batch.examples.is_empty() { self.tokens } else { self.tokens - self.batch.rows }
    }

    /// Whether all steps are taken.
    pub const fn is_complete(&self) -> bool {
        self.step >= self.schedule.total_steps
    }

    /// The adapter as it is.
    pub const fn attached(&self) -> AttachedAdapter<'_, B::Tensor> {
        AttachedAdapter { layout: &self.layout, params: &self.params }
    }

    /// Whether a validation loss is the lowest so far.
    pub fn is_lowest(&self, eval_loss: f64) -> bool {
        self.lowest.as_ref().is_none_or(|lowest| eval_loss < lowest.eval_loss)
    }

    /// Keeps the adapter if this evaluation is the best so far by `objective`.
    pub fn keep_if_best(
        &mut self,
        backend: &B,
        objective: &Objective,
        evaluation: &Evaluation,
        nll: Vec<f64>,
        written: Option<Written>,
    ) -> Result<()> {
        if self.is_lowest(evaluation.eval_loss) {
            self.lowest = Some(Lowest { eval_loss: evaluation.eval_loss, nll: nll.clone() });
        }
        self.last_written = written.or(self.last_written.take());
        let is_better = objective.value(evaluation).is_some()
            && self.best.as_ref().is_none_or(|best| {
                objective.compare(evaluation, &best.evaluation) == Ordering::Less
            });
        if is_better {
            let mut values = self.best.take().map(|best| best.values).unwrap_or_default();
            backend.copy_values(&self.params, &mut values)?;
            let written = self.last_written.clone();
            self.best = Some(Best { evaluation: evaluation.clone(), values, nll, written });
        }
        Ok(())
    }

    /// Ends the trial.
    pub fn end(&mut self, outcome: Outcome) -> Event {
        self.outcome = Some(outcome.clone());
        Event::TrialFinished { trial: self.trial.id, outcome }
    }
}

/// The factor that brings the gradient's norm down to the limit, as PyTorch's `clip_grad_norm_`.
fn clip_factor(norm: f64, limit: Option<f64>) -> f64 {
    limit.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0))
}
