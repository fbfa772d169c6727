//! Scores of a model's answer against its reference, each in 0..=1 and higher is better.
//!
//! Every metric is a pure function of two texts (or of log-likelihoods) and gives the value that the
//! usual Python implementation gives; `tests/it/golden.rs` compares with rouge-score, sacrebleu and the
//! `SQuAD` and GSM8K evaluation scripts. `DESIGN.md` says where it differs on purpose.

mod error;
mod likelihood;
mod metric;
mod normalise;
mod number;
mod overlap;
mod pattern;
mod scorer;
mod structure;

pub mod judge;

pub use error::{MetricError, NAMES};
pub use likelihood::{Choice, Length, choice_accuracy, perplexity};
pub use metric::Metric;
pub use normalise::Normalise;
pub use number::{last_number, number_match};
pub use overlap::{chrf, rouge_l, token_f1};
pub use pattern::Pattern;
pub use scorer::{Answer, Scorer, ScorerError};
pub use structure::{json_match, tool_call_match};

/// Guides to what this crate does, by name, in Markdown; `lorasweep guide` shows them.
pub const GUIDES: &[(&str, &str)] = &[("metrics", include_str!("../guides/metrics.md"))];
