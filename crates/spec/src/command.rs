//! The command of `executor: {type: command}`: a line for the shell with places for a trial's
//! values, written `{{rank}}`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::parameter::Parameter;
use crate::shell::{Quoting, Reader};

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

    /// Whether its text is a number or a plain name, which needs no quotes anywhere.
    const fn is_plain(self) -> bool {
        matches!(self, Self::Trial | Self::Parameter(_))
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
    Value(CommandValue, Quoting),
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
    /// A value where its text would not stay what it is.
    #[error("has `{{{{{}}}}}` {place}", value.name())]
    Misplaced {
        /// The value.
        value: CommandValue,
        /// Where it stands.
        place: &'static str,
    },
    /// A quote or a bracket without its end.
    #[error("has quotes or brackets without their end")]
    Unbalanced,
}

impl CommandTemplate {
    /// Takes a line apart. Braces that are not doubled are the shell's.
    pub(crate) fn parse(written: &str) -> Result<Self, BadTemplate> {
        let mut pieces = Vec::new();
        let mut rest = written;
        let mut reader = Reader::default();
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, behind) = after.split_once("}}").ok_or(BadTemplate::Unclosed)?;
            let name = name.trim();
            let value = CommandValue::from_name(name)
                .ok_or_else(|| BadTemplate::Unknown(name.to_owned()))?;
            reader.read(before);
            let misplaced = |place| BadTemplate::Misplaced { value, place };
            let quoting = reader.value().map_err(misplaced)?;
            if quoting == Quoting::Bare && !value.is_plain() {
                return Err(misplaced("in arithmetic or in code for another program"));
            }
            pieces.extend([Piece::Text(before.to_owned()), Piece::Value(value, quoting)]);
            rest = behind;
        }
        reader.read(rest);
        // The shell says more about a line without values.
        if !pieces.is_empty() && !reader.is_whole() {
            return Err(BadTemplate::Unbalanced);
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self { written: written.to_owned(), pieces })
    }

    /// The values it has places for.
    pub(crate) fn values(&self) -> impl Iterator<Item = CommandValue> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Value(value, _) => Some(*value),
        })
    }

    /// The line with the values' texts in their places, each quoted so that the shell reads the
    /// same text, as a part of one word, wherever it stands.
    pub fn render(&self, value: impl Fn(CommandValue) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            // A null byte cannot be handed to a program in any way.
            Piece::Value(which, quoting) => quote(&value(*which).replace('\0', ""), *quoting),
        };
        self.pieces.iter().map(piece).collect()
    }
}

/// A text as one word of a line for the shell.
pub fn shell_word(text: &str) -> String {
    quote(&text.replace('\0', ""), Quoting::Word)
}

fn quote(text: &str, quoting: Quoting) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    match quoting {
        Quoting::Word if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Quoting::Word => format!("'{}'", quote(text, Quoting::Single)),
        Quoting::Single => text.replace('\'', r"'\''"),
        Quoting::Double => {
            let escape = |c: char| ['\\'].into_iter().filter(move |_| "\\\"$`".contains(c));
            text.chars().flat_map(|c| escape(c).chain([c])).collect()
        }
        // Only values whose text needs no quotes stand there.
        Quoting::Bare => text.to_owned(),
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
        let text = line.render(|value| format!("of.{}", value.name()));
        assert_eq!(text, "awk '{print}' --r=of.rank of.trial_dir/x");
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

    #[test]
    fn a_value_is_quoted_as_its_place_in_the_line_needs() {
        let filled = |written: &str| {
            let line = CommandTemplate::parse(written).unwrap_or_else(|bad| panic!("{bad}"));
            line.render(|value| if value.is_plain() { "8".into() } else { "a 'b' $c".into() })
        };
        for (written, text) in [
            ("cd {{model}}/x", r"cd 'a '\''b'\'' $c'/x"),
            (r#"cd "{{model}}/x""#, r#"cd "a 'b' \$c/x""#),
            ("cd '{{model}}/x'", r"cd 'a '\''b'\'' $c/x'"),
            ("echo \"$(cat {{model}})\"", r#"echo "$(cat 'a '\''b'\'' $c')""#),
            ("echo \"$(cat \"{{model}}\")\"", r#"echo "$(cat "a 'b' \$c")""#),
            ("# don't\ncd {{model}}", "# don't\ncd 'a '\\''b'\\'' $c'"),
            ("echo $((2 * {{rank}})) ${HOME}", "echo $((2 * 8)) ${HOME}"),
            ("srun bash -lc 'x --r {{rank}}' {{trial}}", "srun bash -lc 'x --r 8' 8"),
            ("sh train.sh -c \"{{model}}/c\"", r#"sh train.sh -c "a 'b' \$c/c""#),
        ] {
            assert_eq!(filled(written), text, "{written}");
        }
    }

    #[test]
    fn a_value_is_refused_where_its_text_could_become_code() {
        for line in [
            "bash -c 'cd {{model}}'",
            "srun /bin/bash -euo pipefail -c \"cd {{trial_dir}}\"",
            "python3 -c 'print({{params}})'",
            "eval cd \"{{model}}\"",
            "echo $(( {{model}} ))",
            "echo `cat {{model}}`",
            "cat <<END\n{{model}}\nEND",
            "echo ${X:-{{rank}}}",
            "echo \\{{rank}}",
            "echo ${{rank}}",
            "echo $'{{rank}}'",
            "# {{rank}}",
            "x=\"$(case y in a) echo {{model}};; esac)\"",
            "echo $'a\\'' {{model}}",
            "echo \"${X:-\"{{model}}\"}\"",
            "echo $(( \"{{model}}\" ))",
        ] {
            let parsed = CommandTemplate::parse(line);
            assert!(matches!(parsed, Err(BadTemplate::Misplaced { .. })), "{line}: {parsed:?}");
        }
        assert_eq!(CommandTemplate::parse("echo \"{{rank}}"), Err(BadTemplate::Unbalanced));
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
