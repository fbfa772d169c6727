//! Why a row is not used.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How many keys of an unknown row are named, and how long each may be.
const SHOWN_KEYS: usize = 8;
const SHOWN_KEY_CHARS: usize = 30;

/// The schemas a row may have, for messages.
pub(super) const ACCEPTED_SCHEMAS: &str = "`messages`, `conversations`, `prompt` + `completion`, `instruction` (+ `input`) + `output`, \
     `chosen` (+ `prompt`), or `text`";

/// A row that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedRow {
    /// Line (of a Parquet file, row) on which the row starts, counted from 1.
    pub line: u64,
    /// Why it is left out: completes "line 12: ...".
    pub reason: String,
}

/// Why a row is left out. The `Display` text completes "line 12: ...".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum SkipReason {
    /// The line or field is not UTF-8.
    #[error("not UTF-8: byte 0x{byte:02X} at byte {position}{}", of_column(column.as_deref()))]
    NotUtf8 {
        /// The first byte that does not fit.
        byte: u8,
        /// Its place in the line (JSONL) or field (CSV), counted from 1.
        position: usize,
        /// The CSV column.
        column: Option<String>,
    },
    /// The line is not JSON.
    #[error("malformed JSON at byte {position}{}: {message}", of_column(column.as_deref()))]
    MalformedJson {
        /// Place in the line (JSONL) or cell (CSV), counted from 1.
        position: usize,
        /// What the parser says.
        message: String,
        /// The CSV column.
        column: Option<String>,
    },
    /// The line is JSON, but no object.
    #[error("expected a JSON object, found {found}")]
    NotAnObject {
        /// What stands there instead.
        found: &'static str,
    },
    /// None of the accepted schemas.
    #[error("unknown schema: found {}; accepted are {ACCEPTED_SCHEMAS}", list_keys(keys))]
    UnknownSchema {
        /// The row's keys.
        keys: Vec<String>,
    },
    /// Half of a schema.
    #[error("`{present}` without `{missing}`: found {}", list_keys(keys))]
    MissingField {
        /// The field that gave the schema away.
        present: &'static str,
        /// The field that belongs to it.
        missing: &'static str,
        /// The row's keys.
        keys: Vec<String>,
    },
    /// A column that the sweep file names is not there.
    #[error("no column `{column}` (`data.columns.{field}`): found {}", list_keys(keys))]
    MissingColumn {
        /// Our field.
        field: String,
        /// The column named for it.
        column: String,
        /// The row's keys.
        keys: Vec<String>,
    },
    /// A ShareGPT turn of somebody who has no role.
    #[error("`{field}` is {found:?}; known are system, human, gpt, function_call and observation")]
    UnknownSpeaker {
        /// Field, as a path.
        field: String,
        /// Who speaks.
        found: String,
    },
    /// An answer that was judged bad.
    #[error("`label` is false: an answer to be avoided is not learnt")]
    NotPreferred,
    /// A row of a size that only damaged files have.
    #[error("longer than {} MiB", most >> 20)]
    TooLong {
        /// The limit, in bytes.
        most: usize,
    },
    /// A message lacks `role` or `content`.
    #[error("`{list}[{index}]` has no `{missing}`")]
    MissingInMessage {
        /// The field that holds the list.
        list: &'static str,
        /// Place in the list, counted from 0.
        index: usize,
        /// The field that is missing.
        missing: &'static str,
    },
    /// A field has another JSON type than the schema wants.
    #[error("`{field}` must be {expected}, found {found}")]
    WrongType {
        /// Field, as a path.
        field: String,
        /// What the schema wants.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// A field that must say something is empty or blank.
    #[error("`{field}` is empty")]
    Empty {
        /// Field, as a path.
        field: String,
    },
    /// A conversation in which the model says nothing.
    #[error("no assistant turn, so there is nothing to learn from it")]
    NoAssistantTurn,
    /// A field whose meaning would be lost without a word.
    #[error("`{field}` is not supported; remove it, or write the row as `prompt` + `completion`")]
    Unsupported {
        /// Field, as a path.
        field: String,
    },
    /// A CSV record with too few or too many fields.
    #[error("{found} field(s) where the header has {expected}")]
    FieldCount {
        /// Columns of the header.
        expected: usize,
        /// Fields of the record.
        found: usize,
    },
    /// A quote that is still open when the file ends: everything after it is in one field.
    #[error("a quote opened in this record is never closed, so the rest of the file is inside it")]
    OpenQuote,
    /// The chat template refuses the conversation.
    #[error("the chat template failed: {message}")]
    Template {
        /// What the template engine or the template's `raise_exception` says.
        message: String,
    },
    /// The chat template takes too much; no row is tried after it.
    #[error("the chat template takes too much: {message}")]
    TemplateLimit {
        /// What it takes too much of.
        message: String,
    },
    /// The chat template changes what a turn says, or leaves it out, so the assistant's tokens
    /// cannot be told from the rest.
    #[error(
        "the chat template {} rewrites `messages[{index}]`, so the assistant's tokens cannot be \
         located; end the row at that turn, write it as `prompt` + `completion`, or put \
         `{{% generation %}}` and `{{% endgeneration %}}` around what the template writes of it",
        template.display()
    )]
    TemplateRewrites {
        /// The template's file.
        template: PathBuf,
        /// The turn, counted from 0.
        index: usize,
    },
    /// A turn is not to be learnt, and the template does not tell whose turn its blocks are.
    #[error(
        "the chat template marks {blocks} generated part(s) in {turns} assistant turn(s), so those \
         with `weight: 0` cannot be told"
    )]
    UnknownTurn {
        /// Generation blocks that were rendered.
        blocks: usize,
        /// Turns of the assistant.
        turns: usize,
    },
    /// The tokenizer refuses the text.
    #[error("the tokenizer failed: {message}")]
    Tokenizer {
        /// What the tokenizer says.
        message: String,
    },
    /// Cutting the row to the length limit leaves nothing to predict.
    #[error("no target token is left: {tokens} tokens cut to max_seq_len {max_seq_len}")]
    NoTargetLeft {
        /// Tokens before the cut.
        tokens: usize,
        /// The limit.
        max_seq_len: usize,
    },
    /// A row that fits, but has nothing to predict (one token without a beginning-of-sequence).
    #[error("nothing to predict: the row has {tokens} token(s) and none of them is a target")]
    NoTarget {
        /// Tokens of the row.
        tokens: usize,
    },
}

fn of_column(column: Option<&str>) -> String {
    column.map_or_else(String::new, |column| format!(" of column `{}`", shown_key(column)))
}

/// The keys in backquotes, cut to a length that fits a message.
pub(super) fn list_keys(keys: &[String]) -> String {
    if keys.is_empty() {
        return "no keys".to_owned();
    }
    let shown: Vec<String> =
        keys.iter().take(SHOWN_KEYS).map(|key| format!("`{}`", shown_key(key))).collect();
    let rest = keys.len().saturating_sub(SHOWN_KEYS);
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    format!("{}{more}", shown.join(", "))
}

/// A key from a stranger's file: control characters escaped, long ones cut.
fn shown_key(key: &str) -> String {
    let mut shown: String =
        key.chars().take(SHOWN_KEY_CHARS).flat_map(char::escape_debug).collect();
    if key.chars().nth(SHOWN_KEY_CHARS).is_some() {
        shown.push('…');
    }
    shown
}
