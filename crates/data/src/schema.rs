//! How rows are written: which fields make which schema, and other names for the fields.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::json::Object;
use super::skip::SkipReason;

/// How a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// `messages`: a list of `{role, content}`.
    Messages,
    /// `conversations`: a list of `{from, value}`.
    ShareGpt,
    /// `chosen`, of which `rejected` is the worse answer; perhaps a `prompt`.
    Preference,
    /// `prompt` and `completion`.
    PromptCompletion,
    /// `instruction`, an optional `input`, and `output`.
    Instruction,
    /// `text`.
    Text,
    /// A file of nothing but text, cut into sequences.
    PlainText,
}

impl Schema {
    /// The fields that say what a row of it says.
    pub(super) const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Messages => &["messages", "chosen", "rejected"],
            Self::ShareGpt => &["conversations", "chosen", "rejected"],
            Self::Preference => &["chosen", "rejected", "prompt", "instruction", "input"],
            Self::PromptCompletion => &["prompt", "completion"],
            Self::Instruction => &["instruction", "input", "output"],
            Self::Text | Self::PlainText => &["text"],
        }
    }
}

/// Fields that are read beside those of any schema.
const BESIDE: [&str; 7] = [
    "system",
    "tools",
    "history",
    "chat_template_kwargs",
    super::field::UNSUPPORTED_IN_ROW,
    super::flags::LABELS[0],
    super::flags::LABELS[1],
];

/// Whether rows read a field of this name, whatever their schema.
pub(super) fn is_read_beside(field: &str) -> bool {
    BESIDE.contains(&field)
        || super::field::MEDIA.contains(&field)
        || super::flags::ROW_FLAGS.contains(&field)
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Messages => "messages",
            Self::ShareGpt => "ShareGPT conversations",
            Self::Preference => "preferences (the chosen side)",
            Self::PromptCompletion => "prompt/completion",
            Self::Instruction => "instruction/output",
            Self::Text => "text",
            Self::PlainText => "plain text",
        })
    }
}

/// The schema that a row (or a header) with these keys has: in the order of [`Schema`], the first
/// that is whole. Half of one is refused rather than read as `text`.
pub(super) fn detect_schema(keys: &[String]) -> Result<Schema, SkipReason> {
    let has = |wanted: &str| keys.iter().any(|key| key == wanted);
    let pairs = [
        ("prompt", "completion", Schema::PromptCompletion),
        ("instruction", "output", Schema::Instruction),
    ];
    for (field, schema) in [("messages", Schema::Messages), ("conversations", Schema::ShareGpt)] {
        if has(field) {
            return Ok(schema);
        }
    }
    if let Some((_, _, schema)) = pairs.iter().find(|(first, second, _)| has(first) && has(second))
    {
        return Ok(*schema);
    }
    if has("chosen") {
        return Ok(Schema::Preference);
    }
    for (first, second, _) in pairs {
        for (present, missing) in [(first, second), (second, first)] {
            if has(present) {
                return Err(SkipReason::MissingField { present, missing, keys: keys.to_vec() });
            }
        }
    }
    if has("text") {
        return Ok(Schema::Text);
    }
    Err(SkipReason::UnknownSchema { keys: keys.to_vec() })
}

/// Fields that a row may do without even where a column is named for them.
const OPTIONAL: [&str; 6] = ["history", "input", "label", "rejected", "system", "tools"];

/// Names that a file has for our fields; empty where they are the same.
#[derive(Debug, Default, Clone)]
pub(super) struct Columns(BTreeMap<String, String>);

impl Columns {
    pub fn new(columns: &BTreeMap<String, String>) -> Self {
        Self(columns.clone())
    }

    /// The names of the fields of a file with these columns.
    pub fn fields(&self, columns: &[String]) -> Result<Vec<String>, SkipReason> {
        if self.0.is_empty() {
            return Ok(columns.to_vec());
        }
        self.named(|column| columns.iter().any(|found| found == column), || columns.to_vec())
            .map(|named| named.into_iter().map(|(field, _)| field.to_owned()).collect())
    }

    /// Whether the sweep file names the columns, so that all others are meant to be left.
    pub fn are_named(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether the file's `column` is one that rows may be made of.
    pub fn uses(&self, column: &str) -> bool {
        if self.0.is_empty() {
            spec::DataSettings::FIELDS.contains(&column)
                || is_read_beside(column)
                || super::flags::may_be_row_flag(column)
        } else {
            self.0.values().any(|named| named == column) || self.keeps(column)
        }
    }

    /// Whether a column that the sweep file does not name counts all the same: what says that a row
    /// is not to be learnt, or what else is said in it, means the same beside any names.
    fn keeps(&self, column: &str) -> bool {
        let is_named = self.0.values().any(|named| named == column) || self.0.contains_key(column);
        !is_named && (is_read_beside(column) || super::flags::may_be_row_flag(column))
    }

    /// The row with our names: of named columns, and of those that count beside any, where there
    /// are such, else as it is.
    pub fn apply(&self, row: Object) -> Result<Object, SkipReason> {
        if self.0.is_empty() {
            return Ok(row);
        }
        let named = self.named(|column| row.contains_key(column), || keys(&row))?;
        // A column may stand for two fields, so it is copied and not taken out.
        let fields = named.into_iter().filter_map(|(field, column)| {
            row.get(column).map(|value| (field.to_owned(), value.clone()))
        });
        let kept = row.iter().filter(|(column, _)| self.keeps(column));
        let kept = kept.map(|(column, value)| (column.clone(), value.clone()));
        Ok(fields.chain(kept).collect())
    }

    /// Fields with the columns that are there for them.
    fn named(
        &self,
        has: impl Fn(&str) -> bool,
        keys: impl FnOnce() -> Vec<String>,
    ) -> Result<Vec<(&str, &str)>, SkipReason> {
        let missing = |(field, column): &(&String, &String)| {
            !has(column) && !OPTIONAL.contains(&field.as_str())
        };
        if let Some((field, column)) = self.0.iter().find(missing) {
            let (field, column) = (field.clone(), column.clone());
            return Err(SkipReason::MissingColumn { field, column, keys: keys() });
        }
        let present = self.0.iter().filter(|(_, column)| has(column));
        Ok(present.map(|(field, column)| (field.as_str(), column.as_str())).collect())
    }
}

/// Sorted, so that messages do not depend on the order of a row's keys.
pub(super) fn keys(object: &Object) -> Vec<String> {
    let mut keys: Vec<String> = object.keys().cloned().collect();
    keys.sort_unstable();
    keys
}
