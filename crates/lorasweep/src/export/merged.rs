//! Whether a merged model says what its base says with the adapter.

use serde_json::{Value, json};
use spec::{BaseSettings, ValidationSource};
use store::Identity;
use trainer::comparison::{self, Comparison};

use super::Draft;
use crate::error::Error;
use crate::inputs::rows;
use crate::inputs::{self, Settings};

/// Log probabilities further apart than this on average are warned of: the scatter of weights
/// rounded to bf16 is a tenth of it.
const LARGE_MEAN: f64 = 0.05;
/// So is a loss that differs by more than this.
const LARGE_LOSS: f64 = 0.01;

/// What is known of a merged model.
#[derive(Debug)]
pub struct Merged {
    /// The comparison on validation rows, or why there is none.
    comparison: Result<Comparison, String>,
    /// In which form the base was held in training, where that is not the one merged into.
    trained_on: Option<String>,
}

impl Merged {
    /// Compares the merged model in the draft's folder with base and adapter.
    pub(super) fn compare(
        identity: &Identity,
        settings: &Settings,
        held: &BaseSettings,
        draft: &Draft<'_>,
    ) -> Result<Self, Error> {
        let trained_on = match (held.quantization, &held.weights) {
            (Some(form), _) => Some(format!("an {form} base")),
            (None, Some(file)) => {
                Some(format!("`{}`", file.file_name().unwrap_or_default().to_string_lossy()))
            }
            (None, None) => None,
        };
        let rows = match validation_rows(identity, settings) {
            Ok(rows) => rows,
            Err(why) => return Ok(Self { comparison: Err(why), trained_on }),
        };
        let model = &settings.model;
        let compared = comparison::compare(model, held, draft.adapter, draft.dir, &rows)
            .map_err(|source| Error::Model { path: model.clone(), source })?;
        let comparison = compared.ok_or_else(|| "there are no validation rows".to_owned());
        Ok(Self { comparison, trained_on })
    }

    /// For lorasweep.json.
    pub fn to_json(&self) -> Value {
        let mut value = match &self.comparison {
            Ok(found) => json!({
                "rows": found.rows,
                "targets": found.targets,
                "max_logprob_difference": found.max_difference,
                "mean_logprob_difference": found.mean_difference,
                "adapter_loss": found.adapter_loss,
                "merged_loss": found.merged_loss,
            }),
            Err(why) => json!({ "not_compared": why }),
        };
        value["merged_into"] = "the weights of the model folder".into();
        value["trained_on"] = self.trained_on.clone().into();
        value
    }

    /// One or two sentences.
    pub fn in_words(&self) -> String {
        let what = match &self.trained_on {
            Some(form) => format!(
                "The adapter was trained on {form} and is merged into the unquantised weights of \
                 the model folder. "
            ),
            None => String::new(),
        };
        let adapter = match &self.trained_on {
            Some(form) => format!("{form} with the adapter"),
            None => "the base with the adapter".to_owned(),
        };
        match &self.comparison {
            Ok(found) => format!(
                "{what}On {} {} ({} targets) log probabilities of the merged model and of {adapter} \
                 differ by {:.4} at most and {:.4} on average; the loss is {:.4} merged and {:.4} \
                 with the adapter.",
                found.rows,
                if found.rows == 1 { "validation row" } else { "validation rows" },
                found.targets,
                found.max_difference,
                found.mean_difference,
                found.merged_loss,
                found.adapter_loss,
            ),
            Err(why) => {
                format!("{what}The merged model was not compared with {adapter}: {why}.")
            }
        }
    }

    /// What to warn of.
    pub(super) fn warning(&self) -> Option<String> {
        let found = match &self.comparison {
            Ok(found) => found,
            Err(why) => return Some(format!("the merged model could not be checked: {why}")),
        };
        let is_large = !(found.mean_difference <= LARGE_MEAN
            && (found.merged_loss - found.adapter_loss).abs() <= LARGE_LOSS);
        let cause = match &self.trained_on {
            Some(form) => format!("it was trained on {form}"),
            None => "merged weights are rounded to the base's number format".to_owned(),
        };
        is_large.then(|| {
            format!(
                "the merged model says something other than base and adapter ({cause}): serve the \
                 adapter itself where you can, or measure the merged model on your task"
            )
        })
    }
}

/// The validation rows as the sweep measured them, without reading the training data where they
/// have a file of their own.
fn validation_rows(identity: &Identity, settings: &Settings) -> Result<data::Dataset, String> {
    let in_words = |error: Error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    };
    let mut data = settings.data.clone();
    if let ValidationSource::File(path) = &data.validation {
        data.train.clone_from(path);
    }
    (data.retention, data.test) = (None, None);
    inputs::check_unchanged_files(identity, &data).map_err(in_words)?;
    let prepared = rows::prepare(&data, &settings.model, &settings.train).map_err(in_words)?;
    Ok(prepared.validation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(mean_difference: f64, merged_loss: f64) -> Merged {
        let comparison = Comparison {
            rows: 1,
            targets: 7,
            max_difference: 0.5,
            mean_difference,
            adapter_loss: 1.0,
            merged_loss,
        };
        Merged { comparison: Ok(comparison), trained_on: None }
    }

    #[test]
    fn a_large_difference_is_warned_of_and_a_small_one_is_not() {
        assert_eq!(merged(0.01, 1.001).warning(), None);
        assert!(merged(0.1, 1.0).warning().is_some());
        assert!(merged(0.01, 1.1).warning().is_some());
        assert!(merged(0.01, f64::NAN).warning().is_some());
    }

    #[test]
    fn both_losses_and_both_differences_are_said() {
        assert_eq!(
            merged(0.01, 1.001).in_words(),
            "On 1 validation row (7 targets) log probabilities of the merged model and of the base \
             with the adapter differ by 0.5000 at most and 0.0100 on average; the loss is 1.0010 \
             merged and 1.0000 with the adapter."
        );
    }

    #[test]
    fn a_quantised_base_is_named_beside_the_weights_merged_into() {
        let found = Merged {
            comparison: Err("the validation data file `v.jsonl` has changed".to_owned()),
            trained_on: Some("an nf4 base".to_owned()),
        };
        let said = found.in_words();
        assert!(said.starts_with("The adapter was trained on an nf4 base and is merged into the"));
        assert!(
            said.ends_with(
                "with an nf4 base with the adapter: the validation data file `v.jsonl` has changed."
            ),
            "{said}"
        );
        assert_eq!(found.to_json()["trained_on"], "an nf4 base");
    }
}
