//! Metrics by name.

use thiserror::Error;

use crate::normalise::Normalise;
use crate::number::number_match;
use crate::overlap::{chrf, rouge_l, token_f1};
use crate::pattern::Pattern;
use crate::structure::{json_match, tool_call_match};

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

/// How an answer is scored against its reference.
#[derive(Debug, Clone)]
pub enum Metric {
    /// 1 where both are equal.
    ExactMatch(Normalise),
    /// 1 where the reference stands in the answer.
    Contains(Normalise),
    /// [`Pattern::score`]
    RegexMatch(Pattern, Normalise),
    /// [`number_match`] with its tolerance.
    NumberMatch(f64),
    /// [`token_f1`]
    TokenF1(Normalise),
    /// [`rouge_l`]
    RougeL,
    /// [`chrf`]
    Chrf,
    /// [`json_match`] of these fields.
    JsonMatch(Vec<String>),
    /// [`tool_call_match`]
    ToolCallMatch,
}

impl Metric {
    /// The metric of a name with its usual settings. `regex_match` needs its pattern behind `=`, and
    /// `number_match` may have a tolerance there.
    pub fn named(text: &str) -> Result<Self, MetricError> {
        let (name, setting) =
            text.split_once('=').map_or((text, None), |(name, setting)| (name, Some(setting)));
        let refused = |why| {
            let setting = setting.unwrap_or_default().to_owned();
            MetricError::Setting { name: name.to_owned(), setting, why }
        };
        let has_setting = matches!(name, "regex_match" | "number_match");
        if setting.is_some() && NAMES.contains(&name) && !has_setting {
            return Err(refused("the metric has no setting"));
        }
        Ok(match name {
            "exact_match" => Self::ExactMatch(Normalise::default()),
            "contains" => Self::Contains(Normalise::default()),
            "regex_match" => {
                let pattern = Pattern::new(setting.ok_or(MetricError::NoPattern)?)?;
                Self::RegexMatch(pattern, Normalise::default())
            }
            "number_match" => {
                let tolerance = setting.map_or(Ok(0.0), str::parse).ok();
                let is_usable = |tolerance: &f64| tolerance.is_finite() && *tolerance >= 0.0;
                let tolerance = tolerance.filter(is_usable);
                Self::NumberMatch(tolerance.ok_or_else(|| refused("a tolerance is 0 or more"))?)
            }
            "token_f1" => Self::TokenF1(Normalise::SQUAD),
            "rouge_l" => Self::RougeL,
            "chrf" => Self::Chrf,
            "json_match" => Self::JsonMatch(Vec::new()),
            "tool_call_match" => Self::ToolCallMatch,
            _ => return Err(MetricError::Unknown { name: name.to_owned() }),
        })
    }

    /// The score of an answer, in 0..=1.
    pub fn score(&self, output: &str, reference: &str) -> f64 {
        match self {
            Self::ExactMatch(normalise) => f64::from(u8::from(normalise.equal(output, reference))),
            Self::Contains(normalise) => {
                let (output, reference) = (normalise.apply(output), normalise.apply(reference));
                f64::from(u8::from(output.contains(&reference)))
            }
            Self::RegexMatch(pattern, normalise) => pattern.score(output, reference, normalise),
            Self::NumberMatch(tolerance) => number_match(output, reference, *tolerance),
            Self::TokenF1(normalise) => token_f1(output, reference, normalise),
            Self::RougeL => rouge_l(output, reference),
            Self::Chrf => chrf(output, reference),
            Self::JsonMatch(fields) => json_match(output, reference, fields),
            Self::ToolCallMatch => tool_call_match(output, reference),
        }
    }
}
