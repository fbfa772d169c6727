//! The held-out test rows: evaluated with a saved adapter, not with a slot.

use std::path::Path;

use spec::{BaseForm, TestEvaluation};

use super::losses;
use super::packed::Packed;
use crate::backend::Backend;
use crate::decoder::AttachedAdapter;
use crate::error::{Result, TrainerError};
use crate::{peft, plan};

impl<B: Backend> Packed<B> {
    /// Losses of the test rows with the adapter in the PEFT folder `adapter`, or of the base model
    /// alone, on the base in a form; `None` where the sweep has no test rows.
    pub(super) fn test_losses(
        &mut self,
        adapter: Option<&Path>,
        form: Option<BaseForm>,
    ) -> Result<Option<TestEvaluation>> {
        let Some(test) = &self.data.test else { return Ok(None) };
        let base = self.bases.place(form)?;
        let decoder = self.bases.decoder(base);
        let loaded = match adapter {
            Some(dir) => {
                let adapter = peft::load(dir, self.config())?;
                let len = adapter.layout.len;
                let params = decoder.backend.tensor(&adapter.values, 1, len)?;
                Some((adapter, params))
            }
            None => None,
        };
        let attached = loaded
            .iter()
            .map(|(adapter, params)| AttachedAdapter { layout: &adapter.layout, params });
        let attached: Vec<_> = attached.collect();
        let examples = &test.examples;
        let found = rayon::scope(|_| {
            losses::of_examples(decoder, examples, &attached, plan::TOKENS_PER_STEP)
        })?;
        let found = found.concat();
        let loss = losses::mean(&found);
        if !loss.is_finite() {
            return Err(TrainerError::Test { loss });
        }
        let loss_stderr = losses::mean_stderr(&found);
        Ok(Some(TestEvaluation { loss, loss_stderr, examples: found.len() as u32 }))
    }
}
