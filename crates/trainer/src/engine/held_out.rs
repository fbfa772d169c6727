//! The held-out test rows: evaluated with a saved adapter, not with a slot.

use std::path::Path;

use spec::TestEvaluation;

use super::packed::Packed;
use crate::backend::Backend;
use crate::data::Example;
use crate::decoder::{ActiveAdapter, Rows};
use crate::error::{Result, TrainerError};
use crate::{peft, plan};

impl<B: Backend> Packed<B> {
    /// Losses of the test rows with the adapter in the PEFT folder `adapter`, or of the base model
    /// alone; `None` where the sweep has no test rows.
    pub fn evaluate_test(&self, adapter: Option<&Path>) -> Result<Option<TestEvaluation>> {
        let Some(test) = &self.data.test else { return Ok(None) };
        let backend = &self.decoder.backend;
        let loaded = match adapter {
            Some(dir) => {
                let adapter = peft::load(dir, self.config())?;
                let params = backend.tensor(&adapter.values, 1, adapter.layout.len)?;
                Some((adapter, params))
            }
            None => None,
        };
        let mut losses: Vec<(f64, usize)> = Vec::with_capacity(test.examples.len());
        let mut rest = &test.examples[..];
        while !rest.is_empty() {
            let (pass, later) = rest.split_at(pass_len(rest));
            let mut rows = Rows::default();
            for example in pass {
                rows.push(&example.input_ids, &example.loss_mask, 1.0);
            }
            let active: Vec<_> = loaded
                .iter()
                .map(|(adapter, params)| ActiveAdapter {
                    layout: &adapter.layout,
                    params,
                    rows: 0..rows.len(),
                    dropout: None,
                })
                .collect();
            let nll = rayon::scope(|_| self.decoder.losses(&rows, &active))?;
            let mut nll = nll.iter();
            losses.extend(pass.iter().map(|example| {
                let targets = example.targets();
                (nll.by_ref().take(targets).map(|x| f64::from(*x)).sum(), targets)
            }));
            rest = later;
        }
        summarise(&losses).map(Some)
    }
}

/// Examples of one pass: about as many tokens as a training step has.
fn pass_len(examples: &[Example]) -> usize {
    let mut tokens = 0;
    let fits = examples.iter().take_while(|example| {
        tokens += example.input_ids.len();
        tokens <= plan::TOKENS_PER_STEP
    });
    fits.count().max(1)
}

/// The mean per target token and its standard error, as for a validation set.
fn summarise(losses: &[(f64, usize)]) -> Result<TestEvaluation> {
    let (nll, targets) = losses.iter().fold((0.0, 0), |sum, x| (sum.0 + x.0, sum.1 + x.1));
    let (loss, count) = (nll / targets as f64, losses.len() as f64);
    if !loss.is_finite() {
        return Err(TrainerError::Test { loss });
    }
    let squares: f64 = losses.iter().map(|(nll, t)| (nll - loss * *t as f64).powi(2)).sum();
    let loss_stderr = if losses.len() < 2 {
        0.0
    } else {
        (squares * count / (count - 1.0)).sqrt() / targets as f64
    };
    Ok(TestEvaluation { loss, loss_stderr, examples: losses.len() as u32 })
}
