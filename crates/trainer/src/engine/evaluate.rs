//! Evaluation: the losses of several slots on fixed sets, in evaluation mode.

use std::ops::Range;

use spec::{Evaluation, ExampleLosses};

use super::TrainingSets;
use super::order::train_subset;
use super::slot::{Best, Slot};
use crate::backend::Backend;
use crate::data::Example;
use crate::decoder::{ActiveAdapter, Decoder, Rows};
use crate::error::Result;

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
    validation: Vec<(f64, usize)>,
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
        let runs = slots.len().max(1);
        let mut found = vec![Vec::with_capacity(self.examples.len()); runs];
        let work: Vec<(usize, usize)> =
            (0..runs).flat_map(|run| (0..self.examples.len()).map(move |e| (run, e))).collect();
        let mut rest = &work[..];
        while !rest.is_empty() {
            let (pass, later) = rest.split_at(self.pass_len(rest, tokens_per_pass));
            self.run_pass(decoder, slots, pass, &mut found)?;
            rest = later;
        }
        Ok(found.into_iter().map(|losses| self.summarise(&losses)).collect())
    }

    fn pass_len(&self, work: &[(usize, usize)], tokens_per_pass: usize) -> usize {
        let mut tokens = 0;
        let fits = work.iter().take_while(|(_, e)| {
            tokens += self.examples[*e].input_ids.len();
            tokens <= tokens_per_pass
        });
        fits.count().max(1)
    }

    fn run_pass<B: Backend>(
        &self,
        decoder: &Decoder<B>,
        slots: &[&Slot<B>],
        pass: &[(usize, usize)],
        found: &mut [Vec<(f64, usize)>],
    ) -> Result<()> {
        let mut rows = Rows::default();
        let mut adapters: Vec<ActiveAdapter<'_, B::Tensor>> = Vec::new();
        for of_run in pass.chunk_by(|a, b| a.0 == b.0) {
            let start = rows.len();
            for (_, example) in of_run {
                let example = &self.examples[*example];
                rows.push(&example.input_ids, &example.loss_mask, 1.0);
            }
            if let Some(slot) = slots.get(of_run[0].0) {
                adapters.push(ActiveAdapter {
                    layout: &slot.layout,
                    params: &slot.params,
                    rows: start..rows.len(),
                    dropout: None,
                });
            }
        }
        let nll = decoder.losses(&rows, &adapters)?;
        let mut nll = nll.iter();
        for (run, example) in pass {
            let targets = self.examples[*example].targets();
            let sum = nll.by_ref().take(targets).map(|x| f64::from(*x)).sum();
            found[*run].push((sum, targets));
        }
        Ok(())
    }

    fn summarise(&self, losses: &[(f64, usize)]) -> Losses {
        let mean = |range: &Range<usize>| mean(&losses[range.clone()]);
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

    /// The losses as an evaluation; `best` is the run's best so far.
    pub fn evaluation(&self, best: Option<&Best>) -> Evaluation {
        let residual = |(nll, targets): &(f64, usize)| nll - self.eval_loss * *targets as f64;
        let rise_stderr = best.map(|best| {
            let rise = self.eval_loss - best.evaluation.eval_loss;
            let pairs = self.validation.iter().zip(&best.nll);
            let rests = pairs.map(|((nll, t), before)| nll - before - rise * *t as f64);
            self.standard_error(rests)
        });
        Evaluation {
            step: 0,
            epoch: 0.0,
            eval_loss: self.eval_loss,
            eval_loss_stderr: self.standard_error(self.validation.iter().map(residual)),
            rise_stderr,
            train_loss: Some(self.train_loss),
            retention_loss: self.retention_loss,
            tokens: 0,
            seconds: 0.0,
        }
    }

    /// Standard error of a mean per token, from each example's deviation from it (the ratio
    /// estimator: Cochran 1977, Sampling Techniques, eq. 6.13).
    fn standard_error(&self, deviations: impl Iterator<Item = f64>) -> f64 {
        let (n, targets) =
            (self.validation.len(), self.validation.iter().map(|x| x.1).sum::<usize>());
        if n < 2 {
            return 0.0;
        }
        let squares: f64 = deviations.map(|d| d * d).sum();
        (squares * n as f64 / (n - 1) as f64).sqrt() / targets as f64
    }
}

fn mean(losses: &[(f64, usize)]) -> f64 {
    let (nll, targets) = losses.iter().fold((0.0, 0), |sum, x| (sum.0 + x.0, sum.1 + x.1));
    nll / targets as f64
}
