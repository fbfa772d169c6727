//! Why a row is not used.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How many keys of an unknown row are named, and how long each may be.
const SHOWN_KEYS: usize = 8;
const SHOWN_KEY_CHARS: usize = 30;

/// The schemas a row may have, for messages.
pub(super) const ACCEPTED_SCHEMAS: &str = "`messages`, `conversations`, `prompt` + `completion`, `instruction` (+ `input`) + `output`, \
     `chosen` (+ `prompt` or `instruction`), or `text`";

/// What to do where a file has other names for the fields.
pub(super) const OTHER_NAMES: &str =
    "other names go into the sweep file: `data: {columns: {prompt: question, completion: answer}}`";

/// A row that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedRow {
    /// Line (of a Parquet file, row) on which the row starts, counted from 1.
    pub line: u64,
    /// Why it is left out: completes "line 12: ...".
    pub reason: String,
    /// Whether it is left out because the row itself says so: such a row is not a bad one.
    #[serde(default)]
    pub on_purpose: bool,
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
    #[error(
        "unknown schema: found {}; accepted are {ACCEPTED_SCHEMAS}{}",
        list_keys(keys), if keys.is_empty() { String::new() } else { format!("; {OTHER_NAMES}") }
    )]
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
    /// A ShareGPT turn of a speaker who has no role.
    #[error("`{field}` is {found:?}; known are system, human, gpt, function_call and observation")]
    UnknownSpeaker {
        /// Field, as a path.
        field: String,
        /// Who speaks.
        found: String,
    },
    /// A role in another spelling, or by another tool's name.
    #[error("`{field}` is {found:?}; write {meant:?}")]
    RoleSpelling {
        /// Field, as a path.
        field: String,
        /// The role.
        found: String,
        /// What it seems to mean.
        meant: &'static str,
    },
    /// An answer that was judged bad.
    #[error("`{field}` is false: an answer to be avoided is not learnt")]
    NotPreferred {
        /// The field that judges it.
        field: &'static str,
    },
    /// A judgement that is neither.
    #[error(
        "`{field}` must be true or false (or 1 or 0), found {found}: whether the answer is to be \
         learnt is not known; rename the column if it says something else"
    )]
    UnknownLabel {
        /// The field that judges it.
        field: &'static str,
        /// What it says.
        found: String,
    },
    /// A flag of a turn that is neither.
    #[error(
        "`{field}` must be 0 or 1 (or false or true), found {found}; weights between are not supported"
    )]
    Flag {
        /// Field, as a path.
        field: String,
        /// What stands there.
        found: String,
    },
    /// A field that would change what is learnt of a turn, in a way that is not known.
    #[error(
        "`{field}` is not supported; write `weight: 0` at the turns that are context only, and \
         leave the field out"
    )]
    UnknownFlag {
        /// Field, as a path.
        field: String,
    },
    /// Two flags of a turn, one of which says that it is learnt.
    #[error("`{field}` and `{other}` contradict each other; keep one of them")]
    FlagsDisagree {
        /// Field, as a path.
        field: String,
        /// The other one.
        other: String,
    },
    /// A flag that says that a user's text is to be learnt.
    #[error(
        "`{field}` says that a turn of the {role} is learnt, but only what the assistant says \
         is; leave the field out"
    )]
    LearnsOther {
        /// Field, as a path.
        field: String,
        /// Whose turn it is.
        role: String,
    },
    /// A flag that says that an answer within a prompt is to be learnt.
    #[error(
        "`{field}` says that an earlier answer is learnt, but of `{list}` nothing is; write all turns \
         as `messages`, or leave the field out"
    )]
    LearnsContext {
        /// Field, as a path.
        field: String,
        /// The list of turns.
        list: &'static str,
    },
    /// A row's list of flags is not as long as its list of turns.
    #[error("`loss_mask` has {flags} flag(s) for {turns} turn(s); it needs one for each")]
    MaskLength {
        /// Flags.
        flags: usize,
        /// Turns.
        turns: usize,
    },
    /// A weight of the whole row.
    #[error(
        "`{field}` of a whole row is not supported: leave out the rows that are not to be learnt, \
         repeat those that count more, and remove the field"
    )]
    RowFlag {
        /// The field.
        field: &'static str,
    },
    /// Pictures, sound or film beside the text.
    #[error(
        "`{field}` is not supported: text models do not read it; remove it if the text makes sense alone"
    )]
    Media {
        /// Field, as a path.
        field: String,
    },
    /// A part of a content that is a picture, sound or film.
    #[error("`{path}` is {what} (`{kind}`), which text models do not read")]
    MediaPart {
        /// Place of the part.
        path: String,
        /// What it is.
        what: &'static str,
        /// Its type.
        kind: String,
    },
    /// A part of a content of a type that is not known.
    #[error(
        "`{path}` is of type {kind:?}, which is not read; write what is said as a part of type \
         \"text\", thoughts as the message's `reasoning_content`, calls as its `tool_calls`"
    )]
    UnknownPart {
        /// Place of the part.
        path: String,
        /// Its type.
        kind: String,
    },
    /// A part of a content that does not say what it is.
    #[error("`{path}` has no `type`; a text is `{{\"type\": \"text\", \"text\": ...}}`")]
    PartWithoutType {
        /// Place of the part.
        path: String,
    },
    /// A part that should be text and has none.
    #[error("`{path}` is of type {kind:?}, but has no `text` (it has {})", list_keys(keys))]
    PartWithoutText {
        /// Place of the part.
        path: String,
        /// Its type.
        kind: String,
        /// Its fields.
        keys: Vec<String>,
    },
    /// The column `system` and a system turn that says something else.
    #[error("`system` and a system turn of the row say different things; keep one of them")]
    TwoSystems,
    /// A chosen answer to turns that end in another one.
    #[error(
        "`{field}` end in an answer that is not `chosen`; end them with the user's turn, or remove \
         `chosen`"
    )]
    OtherAnswer {
        /// The list of turns.
        field: &'static str,
    },
    /// A prompt that is not the one that the chosen turns begin with.
    #[error(
        "`prompt` is not what the turns of `chosen` begin with, and would be lost; remove one of \
         the two"
    )]
    OtherPrompt,
    /// A chosen answer whose prompt has another name.
    #[error(
        "`chosen` has no `prompt`, and `{field}` is not read as one; name it in the sweep file: \
         `data: {{columns: {{prompt: {field}, chosen: chosen}}}}`"
    )]
    NoPrompt {
        /// The field that may be the prompt.
        field: &'static str,
    },
    /// A prompt that is null, as tables have it where a cell is missing.
    #[error(
        "`prompt` is null: the answer would be learnt without a prompt; write \"\" for an empty prompt"
    )]
    NullPrompt,
    /// Two answers that are the same.
    #[error("`chosen` and `rejected` are the same: neither is preferred")]
    NoPreference,
    /// A transcript in which the user speaks after the point where both sides differ.
    #[error(
        "the transcript in `chosen` differs from that in `rejected` before the last answer, so that \
         text of the user (\"Human:\") would be learnt; write the turns as lists, or cut both sides \
         after the answer that was judged"
    )]
    LaterTurns,
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
    /// What only a chat template can write, where the model has none.
    #[error(
        "`{field}` is written by the model's chat template, and this model has none; remove it, or write \
         the row as `prompt` + `completion`"
    )]
    NeedsTemplate {
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
    /// cannot be separated from the rest.
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
    /// A turn is not to be learnt, and the template does not mark whose turn its blocks are.
    #[error(
        "the chat template marks {blocks} generated part(s) in {turns} assistant turn(s), so those \
         with `weight: 0` cannot be found"
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

impl SkipReason {
    /// Whether the row itself says that it is to be left out.
    pub const fn is_on_purpose(&self) -> bool {
        matches!(self, Self::NotPreferred { .. } | Self::NoPreference)
    }
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
