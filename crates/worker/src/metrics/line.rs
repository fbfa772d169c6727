//! What another trainer says of a trial: one JSON object a line.
//!
//! ```text
//! {"step": 40, "epoch": 0.5, "train_loss": 1.31}
//! {"step": 80, "epoch": 1, "train_loss": 1.22, "eval_loss": 1.29, "adapter": "out/epoch-1"}
//! ```
//!
//! The keys are those that transformers' Trainer logs (`loss` is `train_loss`); further ones are
//! ignored. Everything else that it prints is for its log alone.

use serde::Deserialize;
use serde_json::Value;
use spec::Evaluation;

/// One line; what it does not say is `None`.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
pub(crate) struct Line {
    /// Optimizer steps taken.
    pub step: Option<u32>,
    /// Epochs completed, as a fraction.
    pub epoch: Option<f64>,
    #[serde(alias = "loss")]
    pub train_loss: Option<Loss>,
    pub eval_loss: Option<Loss>,
    pub eval_loss_stderr: Option<f64>,
    pub retention_loss: Option<f64>,
    pub learning_rate: Option<f64>,
    pub grad_norm: Option<f64>,
    pub tokens: Option<u64>,
    /// Seconds of training and evaluating so far.
    pub seconds: Option<f64>,
    /// A folder with a PEFT adapter: that of the evaluation at this step or epoch, or of the last.
    pub adapter: Option<String>,
    /// Something from which the trainer can go on at `step`.
    pub checkpoint: Option<String>,
}

impl Line {
    /// The base model's evaluation; `seconds` where the line does not say how long it took.
    pub fn of_base(&self, eval_loss: f64, seconds: f64) -> Evaluation {
        Evaluation {
            step: 0,
            epoch: 0.0,
            eval_loss,
            eval_loss_stderr: self.eval_loss_stderr.unwrap_or(0.0),
            rise_stderr: None,
            group_nll: Vec::new(),
            train_loss: self.train_loss.and_then(Loss::finite),
            retention_loss: self.retention_loss,
            tokens: 0,
            seconds: self.seconds.unwrap_or(seconds),
        }
    }
}

/// A loss as a trainer reports it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) enum Loss {
    Finite(f64),
    /// `NaN`, `Infinity` or the like.
    NotANumber,
}

impl Loss {
    /// The loss, if it is a number.
    pub fn finite(self) -> Option<f64> {
        match self {
            Self::Finite(loss) => Some(loss),
            Self::NotANumber => None,
        }
    }
}

/// What stands for Python's `NaN` and `Infinity`, which are no JSON.
const NOT_A_NUMBER: &str = "not a number";

impl TryFrom<Value> for Loss {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match &value {
            Value::Number(number) => Ok(match number.as_f64().filter(|x| x.is_finite()) {
                Some(finite) => Self::Finite(finite),
                None => Self::NotANumber,
            }),
            Value::String(text) if text == NOT_A_NUMBER => Ok(Self::NotANumber),
            other => Err(format!("a loss must be a number, not {other}")),
        }
    }
}

/// What a printed line is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// It is of the trial.
    Metrics(Box<Line>),
    /// It looks like an object but is not JSON, such as a printed Python dictionary.
    Unreadable,
    /// It is for people.
    Text,
}

/// Reads a printed line; an error says which value cannot be used.
pub(crate) fn read(text: &str) -> Result<Said, String> {
    if !text.trim_start().starts_with('{') {
        return Ok(Said::Text);
    }
    match object(text) {
        Some(value) => Line::of(value).map(|line| Said::Metrics(Box::new(line))),
        None => Ok(Said::Unreadable),
    }
}

/// A line's JSON object, with Python's words for losses that are no numbers.
pub(crate) fn object(text: &str) -> Option<Value> {
    let value = serde_json::from_str::<Value>(text).or_else(|_| {
        let quoted = format!(": \"{NOT_A_NUMBER}\"");
        let mended = ["-Infinity", "Infinity", "NaN"].iter().fold(text.to_owned(), |text, word| {
            text.replace(&format!(": {word}"), &quoted).replace(&format!(":{word}"), &quoted)
        });
        serde_json::from_str(&mended)
    });
    value.ok().filter(Value::is_object)
}

impl Line {
    /// From an object; an error says which value cannot be used.
    pub fn of(object: Value) -> Result<Self, String> {
        let line = Self::deserialize(object).map_err(|error| error.to_string())?;
        let numbers = [
            line.epoch,
            line.eval_loss_stderr,
            line.retention_loss,
            line.learning_rate,
            line.seconds,
        ];
        if numbers.iter().flatten().any(|x| !x.is_finite() || *x < 0.0) {
            return Err("a number must be finite and not negative".to_owned());
        }
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metrics(text: &str) -> Line {
        match read(text) {
            Ok(Said::Metrics(line)) => *line,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn lines_of_transformers_are_understood_and_unknown_keys_ignored() {
        let line = metrics(r#"{"loss": 2.5, "grad_norm": 0.3, "epoch": 0.5, "runtime": 3}"#);
        assert_eq!(line.train_loss, Some(Loss::Finite(2.5)));
        assert_eq!((line.grad_norm, line.epoch, line.step), (Some(0.3), Some(0.5), None));
    }

    #[test]
    fn what_python_prints_for_a_lost_loss_is_not_a_number() {
        for word in ["NaN", "Infinity", "-Infinity"] {
            let line = metrics(&format!("{{\"step\": 3, \"eval_loss\": {word}}}"));
            assert_eq!((line.step, line.eval_loss), (Some(3), Some(Loss::NotANumber)), "{word}");
        }
    }

    #[test]
    fn a_python_dictionary_is_no_metric_and_a_wrong_value_is_named() {
        assert_eq!(read("{'eval_loss': 1.0}"), Ok(Said::Unreadable));
        assert_eq!(read("epoch 1 of 3"), Ok(Said::Text));
        let error = read(r#"{"eval_loss": "low"}"#).unwrap_err();
        assert!(error.contains("a loss must be a number"), "{error}");
        assert!(read(r#"{"epoch": -1, "eval_loss": 1}"#).is_err());
    }

    proptest! {
        #[test]
        fn no_printed_line_makes_the_reader_panic(text in "\\{?.*") {
            let _ = read(&text);
        }
    }
}
