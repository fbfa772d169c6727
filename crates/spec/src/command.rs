//! The command of `executor: {type: command}`: a line for the shell with places for a trial's
//! values, written `{{rank}}`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::parameter::Parameter;

/// A value that a command line may have a place for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommandValue {
    /// The trial's number; 0 is the base model.
    Trial,
    /// The trial's own folder, which outlives restarts.
    TrialDir,
    /// All parameters as one JSON object.
    Params,
    /// The checkpoint to go on from, which an earlier attempt named; empty at a fresh start.
    Resume,
    /// The base model.
    Model,
    /// The training rows.
    Train,
    /// The validation rows; empty where they are a share of the training rows.
    Validation,
    /// The retention rows; empty without such.
    Retention,
    /// One parameter of the trial.
    Parameter(Parameter),
}

impl CommandValue {
    const OTHERS: [(&'static str, Self); 8] = [
        ("trial", Self::Trial),
        ("trial_dir", Self::TrialDir),
        ("params", Self::Params),
        ("resume", Self::Resume),
        ("model", Self::Model),
        ("train", Self::Train),
        ("validation", Self::Validation),
        ("retention", Self::Retention),
    ];

    /// Every value.
    pub fn all() -> impl Iterator<Item = Self> {
        let others = Self::OTHERS.into_iter().map(|(_, value)| value);
        others.chain(Parameter::ALL.into_iter().map(Self::Parameter))
    }

    /// The name between the braces; in capitals after `LORASWEEP_`, that of the variable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parameter(parameter) => parameter.name(),
            other => Self::OTHERS.iter().find(|(_, v)| *v == other).map_or("", |(name, _)| name),
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|value| value.name() == name)
    }
}

/// A line for the shell with places for values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandTemplate {
    written: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(CommandValue),
}

/// What is wrong with a command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTemplate {
    /// A `{{` without its `}}`.
    #[error("has `{{{{` without `}}}}`")]
    Unclosed,
    /// A name that no value has.
    #[error("has no value called `{0}`")]
    Unknown(String),
}

impl CommandTemplate {
    /// Takes a line apart. Braces that are not doubled are the shell's.
    pub(crate) fn parse(written: &str) -> Result<Self, BadTemplate> {
        let mut pieces = Vec::new();
        let mut rest = written;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, behind) = after.split_once("}}").ok_or(BadTemplate::Unclosed)?;
            let name = name.trim();
            let value = CommandValue::from_name(name)
                .ok_or_else(|| BadTemplate::Unknown(name.to_owned()))?;
            pieces.extend([Piece::Text(before.to_owned()), Piece::Value(value)]);
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self { written: written.to_owned(), pieces })
    }

    /// The values it has places for.
    pub(crate) fn values(&self) -> impl Iterator<Item = CommandValue> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Value(value) => Some(*value),
        })
    }

    /// The line with `value`'s texts, which it has quoted for the shell, in their places.
    pub fn render(&self, value: impl Fn(CommandValue) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Value(which) => value(*which),
        };
        self.pieces.iter().map(piece).collect()
    }
}

impl fmt::Display for CommandTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl TryFrom<String> for CommandTemplate {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        Self::parse(&written).map_err(|bad| bad.to_string())
    }
}

impl From<CommandTemplate> for String {
    fn from(template: CommandTemplate) -> Self {
        template.written
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_stand_where_the_line_names_them_and_single_braces_stay() {
        let line = CommandTemplate::parse("awk '{print}' --r={{rank}} {{ trial_dir }}/x").unwrap();
        let text = line.render(|value| format!("<{}>", value.name()));
        assert_eq!(text, "awk '{print}' --r=<rank> <trial_dir>/x");
    }

    #[test]
    fn every_value_is_found_by_its_name() {
        for value in CommandValue::all() {
            assert_eq!(CommandValue::from_name(value.name()), Some(value));
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_refused() {
        assert_eq!(CommandTemplate::parse("x {{rank"), Err(BadTemplate::Unclosed));
        assert_eq!(CommandTemplate::parse("{{lr}}"), Err(BadTemplate::Unknown("lr".to_owned())));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_or_refused(text in ".*") {
            if let Ok(line) = CommandTemplate::parse(&text) {
                prop_assert_eq!(line.to_string(), text);
            }
        }
    }
}
