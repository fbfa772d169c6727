//! What another trainer says of a trial: one JSON object a line.
//!
//! ```text
//! {"step": 40, "epoch": 0.5, "train_loss": 1.31}
//! {"step": 80, "epoch": 1, "train_loss": 1.22, "eval_loss": 1.29, "adapter": "out/epoch-1"}
//! ```
//!
//! The keys are those that transformers' Trainer logs (`loss` is `train_loss`), and the name of the metric
//! that the sweep compares trials by, also with `eval_` before it; further ones are ignored. Everything else that it prints is for its log alone.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use spec::{Evaluation, MeanScore, Objective};

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
    /// All numbers of the line by their keys; `None` for what stands for a number that is none.
    #[serde(skip)]
    numbers: BTreeMap<String, Option<f64>>,
    /// Its lists of numbers.
    #[serde(skip)]
    lists: BTreeMap<String, Vec<f64>>,
}

impl Line {
    /// The base model's evaluation; `seconds` where the line does not say how long it took. Where it does
    /// not say the metric, that is not measured.
    pub fn of_base(&self, objective: &Objective, eval_loss: f64, seconds: f64) -> Evaluation {
        Evaluation {
            step: 0,
            epoch: 0.0,
            eval_loss,
            eval_loss_stderr: self.eval_loss_stderr.unwrap_or(0.0),
            rise_stderr: None,
            group_nll: Vec::new(),
            train_loss: self.train_loss.and_then(Loss::finite),
            retention_loss: self.retention_loss,
            scores: self.scores(objective).unwrap_or_default(),
            tokens: 0,
            seconds: self.seconds.unwrap_or(seconds),
        }
    }
}

impl Line {
    /// What trials are compared by, where that is not the loss; an error says why it is not known.
    pub fn scores(&self, objective: &Objective) -> Result<Vec<MeanScore>, String> {
        if objective.is_loss() {
            return Ok(Vec::new());
        }
        let name = objective.metric.as_str();
        let number = |name: &str| {
            let found = self.numbers.get(name);
            found.or_else(|| self.numbers.get(&format!("eval_{name}"))).copied()
        };
        let examples = self.examples(objective);
        let mut score = match (number(name), examples) {
            (Some(None), _) => return Err(format!("its `{name}` is not a number")),
            (Some(Some(value)), Some(examples)) => {
                MeanScore { value, ..MeanScore::of_examples(name, examples) }
            }
            (Some(Some(value)), None) => MeanScore::bare(name, value),
            (None, Some(examples)) => MeanScore::of_examples(name, examples),
            (None, None) => {
                return Err(format!(
                    "the sweep compares trials by `{name}`, which an evaluation must report"
                ));
            }
        };
        let stderr = number(&format!("{name}_stderr")).flatten().filter(|error| *error >= 0.0);
        score.stderr = stderr.unwrap_or(score.stderr);
        Ok(vec![score])
    }

    /// What trials are compared by, of the single validation examples, where the line says it.
    pub fn examples(&self, objective: &Objective) -> Option<&Vec<f64>> {
        let name = format!("{}_examples", objective.metric);
        let found = self.lists.get(&name).or_else(|| self.lists.get(&format!("eval_{name}")));
        found.filter(|examples| !examples.is_empty())
    }
}

/// The numbers of an object.
fn numbers(object: &Value) -> BTreeMap<String, Option<f64>> {
    let entries = object.as_object().into_iter().flatten();
    let number = |(key, value): (&String, &Value)| match Loss::try_from(value.clone()) {
        Ok(number) => Some((key.clone(), number.finite())),
        Err(_) => None,
    };
    entries.filter_map(number).collect()
}

/// The lists of an object that have numbers alone.
fn lists(object: &Value) -> BTreeMap<String, Vec<f64>> {
    let entries = object.as_object().into_iter().flatten();
    let list = |(key, value): (&String, &Value)| {
        let numbers = value.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<_>>>()?;
        numbers.iter().all(|number| number.is_finite()).then(|| (key.clone(), numbers))
    };
    entries.filter_map(list).collect()
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
        let (numbers_of_line, lists_of_line) = (numbers(&object), lists(&object));
        let mut line = Self::deserialize(object).map_err(|error| error.to_string())?;
        (line.numbers, line.lists) = (numbers_of_line, lists_of_line);
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

    #[test]
    fn a_metric_is_read_by_its_name_or_with_eval_before_it_and_must_be_there() {
        let objective = Objective { metric: "accuracy".to_owned(), goal: spec::Goal::Maximize };
        let scores = |text: &str| metrics(text).scores(&objective);
        let score = |text: &str| scores(text).expect(text).remove(0);
        let plain = score(r#"{"accuracy": 0.5, "accuracy_stderr": 0.1}"#);
        assert_eq!((plain.metric.as_str(), plain.value, plain.stderr), ("accuracy", 0.5, 0.1));
        assert_eq!(score(r#"{"eval_accuracy": -3}"#).value, -3.0);
        let of_examples = score(r#"{"accuracy_examples": [0, 1, 1, 1]}"#);
        assert_eq!((of_examples.value, of_examples.stderr), (0.75, 0.25));
        assert_eq!(of_examples.groups, [0.0, 1.0, 1.0, 1.0]);
        assert!(scores(r#"{"eval_loss": 1}"#).unwrap_err().contains("`accuracy`"));
        assert!(scores(r#"{"accuracy": NaN}"#).unwrap_err().contains("not a number"));
        assert_eq!(metrics("{}").scores(&Objective::default()), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn no_printed_line_makes_the_reader_panic(text in "\\{?.*") {
            let _ = read(&text);
        }
    }
}
