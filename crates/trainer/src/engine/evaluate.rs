//! Evaluation: the losses of several slots on fixed sets, in evaluation mode.

use std::ops::Range;

use spec::{Evaluation, ExampleLosses};

use super::losses::{self, ExampleLoss};
use super::order::train_subset;
use super::sets::TrainingSets;
use super::slot::{Lowest, Slot};
use crate::backend::Backend;
use crate::decoder::Decoder;
use crate::error::Result;
use data::Example;

/// The fixed sets a trial is evaluated on, one after another.
#[derive(Debug)]
pub struct EvalSets {
    examples: Vec<Example>,
    validation: Range<usize>,
    train: Range<usize>,
    retention: Option<Range<usize>>,
}

/// The losses of one slot, with those of each validation example.
#[derive(Debug, Clone, PartialEq)]
pub struct Losses {
    /// Mean loss on the validation set.
    pub eval_loss: f64,
    /// Mean loss on the training subset.
    pub train_loss: f64,
    /// Mean loss on the retention set.
    pub retention_loss: Option<f64>,
    validation: Vec<ExampleLoss>,
}

impl EvalSets {
    /// The sets of a sweep; `wanted` training examples, as many as validation has by default.
    pub fn new(data: &TrainingSets, wanted: Option<u32>) -> Self {
        let wanted = wanted.map_or(data.validation.examples.len(), |n| n as usize);
        let mut examples = data.validation.examples.clone();
        let validation = 0..examples.len();
        let subset = train_subset(data.train.examples.len(), wanted);
        examples.extend(subset.into_iter().map(|i| data.train.examples[i].clone()));
        let train = validation.end..examples.len();
        let retention = data.retention.as_ref().map(|set| {
            examples.extend(set.examples.iter().cloned());
            train.end..examples.len()
        });
        Self { examples, validation, train, retention }
    }

    /// The losses of every slot; without slots, of the base model alone. About `tokens_per_pass`
    /// tokens are computed at a time.
    pub fn losses<B: Backend>(
        &self,
        decoder: &Decoder<B>,
        slots: &[&Slot<B>],
        tokens_per_pass: usize,
    ) -> Result<Vec<Losses>> {
        let attached: Vec<_> = slots.iter().map(|slot| slot.attached()).collect();
        let found = losses::of_examples(decoder, &self.examples, &attached, tokens_per_pass)?;
        Ok(found.into_iter().map(|losses| self.summarise(&losses)).collect())
    }

    fn summarise(&self, losses: &[ExampleLoss]) -> Losses {
        let mean = |range: &Range<usize>| losses::mean(&losses[range.clone()]);
        Losses {
            eval_loss: mean(&self.validation),
            train_loss: mean(&self.train),
            retention_loss: self.retention.as_ref().map(mean),
            validation: losses[self.validation.clone()].to_vec(),
        }
    }
}

impl Losses {
    /// Whether every loss is a number.
    pub fn are_finite(&self) -> bool {
        self.eval_loss.is_finite()
            && self.train_loss.is_finite()
            && self.retention_loss.is_none_or(f64::is_finite)
    }

    /// The losses of the single validation examples.
    pub fn examples(&self) -> ExampleLosses {
        ExampleLosses::collect(self.validation.iter().copied())
    }

    /// Summed negative log-likelihood of each validation example.
    pub fn validation_nll(&self) -> Vec<f64> {
        self.validation.iter().map(|(nll, _)| *nll).collect()
    }

    /// Those of groups of examples, to four significant digits: a journal keeps them of every
    /// evaluation, and the noise of a loss is far above that.
    fn group_nll(&self) -> Vec<f32> {
        let groups = ExampleLosses::group(self.validation.iter().map(|(nll, _)| *nll));
        groups.into_iter().map(|nll| four_digits(nll) as f32).collect()
    }

    /// The losses as an evaluation; `lowest` is the run's lowest one so far.
    pub fn evaluation(&self, lowest: Option<&Lowest>) -> Evaluation {
        let rise_stderr = lowest.map(|lowest| {
            let rise = self.eval_loss - lowest.eval_loss;
            let pairs = self.validation.iter().zip(&lowest.nll);
            let rests = pairs.map(|((nll, t), before)| nll - before - rise * *t as f64);
            losses::standard_error(&self.validation, rests)
        });
        Evaluation {
            step: 0,
            epoch: 0.0,
            eval_loss: self.eval_loss,
            eval_loss_stderr: losses::mean_stderr(&self.validation),
            rise_stderr,
            group_nll: self.group_nll(),
            train_loss: Some(self.train_loss),
            retention_loss: self.retention_loss,
            scores: Vec::new(),
            tokens: 0,
            seconds: 0.0,
        }
    }
}

fn four_digits(x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let scale = 10_f64.powi(3 - x.abs().log10().floor() as i32);
    if scale.is_finite() { (x * scale).round() / scale } else { x }
}
