//! Why there is no such metric, and which there are.

use thiserror::Error;

/// The names of the metrics that compare an answer with a reference.
pub const NAMES: [&str; 9] = [
    "exact_match",
    "contains",
    "regex_match",
    "number_match",
    "token_f1",
    "rouge_l",
    "chrf",
    "json_match",
    "tool_call_match",
];

/// Why there is no such metric.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MetricError {
    /// No metric has the name.
    #[error("there is no metric `{name}`; there are {}", NAMES.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// `regex_match` without a pattern.
    #[error("`regex_match` needs a pattern: `regex_match=answer is ([A-D])`")]
    NoPattern,
    /// A setting that the metric does not have, or that is not a number.
    #[error("`{name}={setting}`: {why}")]
    Setting {
        /// The metric.
        name: String,
        /// As written.
        setting: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A pattern is no regular expression.
    #[error("`{pattern}` is not a regular expression: {message}")]
    Pattern {
        /// As written.
        pattern: String,
        /// What is wrong.
        message: String,
    },
}
