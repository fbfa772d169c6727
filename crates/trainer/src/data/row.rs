//! One row's content, whichever schema it was written in, and its identity.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::skip::SkipReason;

/// Separates these hashes from any other use of SHA-256; a change would move rows between the
/// sides of everybody's splits.
const HASH_DOMAIN: &[u8] = b"lorasweep row 1";

/// Fields of a message or row that change its meaning and that no schema here carries.
const UNSUPPORTED_IN_MESSAGE: [&str; 3] = ["tool_calls", "function_call", "weight"];
const UNSUPPORTED_IN_ROW: [&str; 2] = ["tools", "functions"];

/// How a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// `messages`: a list of `{role, content}`.
    Messages,
    /// `prompt` and `completion`.
    PromptCompletion,
    /// `instruction`, an optional `input`, and `output`.
    Instruction,
    /// `text`.
    Text,
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Messages => "messages",
            Self::PromptCompletion => "prompt/completion",
            Self::Instruction => "instruction/output",
            Self::Text => "text",
        })
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, ...
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// Whether the model speaks.
    pub fn is_assistant(&self) -> bool {
        self.role == "assistant"
    }
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A conversation; the assistant's turns are targets.
    Messages(Vec<Message>),
    /// A prompt and its completion, the target. `instruction` rows become this.
    Completion {
        /// Context, never a target.
        prompt: String,
        /// Target.
        completion: String,
    },
    /// Plain text, all of it a target.
    Text(String),
}

/// SHA-256 over a row's normalised content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash as a number spread evenly over `[0, 1)`.
    pub fn unit_interval(self) -> f64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        // 53 bits: every value is exact in an f64 and below 1.
        (u64::from_be_bytes(head) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn of(tag: &str, fields: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(HASH_DOMAIN);
        for field in std::iter::once(&tag).chain(fields) {
            let field = normalised(field);
            // The length in front keeps ("ab", "c") apart from ("a", "bc").
            hasher.update((field.len() as u64).to_le_bytes());
            hasher.update(field.as_bytes());
        }
        Self(hasher.finalize().into())
    }
}

/// The same text after a trip through an editor or a spreadsheet: line ends and outer blanks do
/// not make another row.
fn normalised(text: &str) -> String {
    text.replace("\r\n", "\n").trim().to_owned()
}

impl Row {
    /// Reads a JSON object. Schemas are tried in the order of [`Schema`]; a row that has only
    /// half of one is refused rather than read as `text`.
    pub fn from_object(object: &Map<String, Value>) -> Result<(Schema, Self), SkipReason> {
        let schema = detect_schema(&keys(object))?;
        for field in UNSUPPORTED_IN_ROW {
            if object.get(field).is_some_and(|value| !is_void(value)) {
                return Err(SkipReason::Unsupported { field: field.to_owned() });
            }
        }
        let row = match schema {
            Schema::Messages => Self::Messages(read_messages(&object["messages"])?),
            Schema::PromptCompletion => Self::Completion {
                prompt: optional_string(object, "prompt")?,
                completion: said_string(object, "completion")?,
            },
            Schema::Instruction => Self::Completion {
                prompt: instruction_prompt(
                    &said_string(object, "instruction")?,
                    &optional_string(object, "input")?,
                ),
                completion: said_string(object, "output")?,
            },
            Schema::Text => Self::Text(said_string(object, "text")?),
        };
        Ok((schema, row))
    }

    /// Identity of the whole row. Rows that differ in key order, in schema (`instruction` or the
    /// prompt it renders to), in line ends or outer blanks are the same row.
    pub fn content_hash(&self) -> ContentHash {
        match self {
            Self::Messages(messages) => ContentHash::of("messages", &turns(messages)),
            Self::Completion { prompt, completion } => {
                ContentHash::of("completion", &[prompt, completion])
            }
            Self::Text(text) => ContentHash::of("text", &[text]),
        }
    }

    /// Identity of what comes before the last completion; `None` where nothing does.
    pub fn prompt_hash(&self) -> Option<ContentHash> {
        match self {
            Self::Messages(messages) => {
                let last = messages.iter().rposition(Message::is_assistant)?;
                (last > 0).then(|| ContentHash::of("prompt messages", &turns(&messages[..last])))
            }
            Self::Completion { prompt, .. } => {
                (!prompt.trim().is_empty()).then(|| ContentHash::of("prompt", &[prompt]))
            }
            Self::Text(_) => None,
        }
    }
}

/// The schema that a row (or a CSV header) with these keys has.
pub(super) fn detect_schema(keys: &[String]) -> Result<Schema, SkipReason> {
    let has = |wanted: &str| keys.iter().any(|key| key == wanted);
    let pairs = [
        ("prompt", "completion", Schema::PromptCompletion),
        ("instruction", "output", Schema::Instruction),
    ];
    if has("messages") {
        return Ok(Schema::Messages);
    }
    if let Some((_, _, schema)) = pairs.iter().find(|(first, second, _)| has(first) && has(second))
    {
        return Ok(*schema);
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

/// Name of a JSON value's type, for messages.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Sorted, so that messages do not depend on how `serde_json` keeps its maps.
fn keys(object: &Map<String, Value>) -> Vec<String> {
    let mut keys: Vec<String> = object.keys().cloned().collect();
    keys.sort_unstable();
    keys
}

/// Null, or an empty list: as good as absent.
fn is_void(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn turns(messages: &[Message]) -> Vec<&str> {
    messages.iter().flat_map(|message| [message.role.as_str(), message.content.as_str()]).collect()
}

fn string_at(value: &Value, field: impl Into<String>) -> Result<String, SkipReason> {
    value.as_str().map(str::to_owned).ok_or_else(|| SkipReason::WrongType {
        field: field.into(),
        expected: "a string",
        found: type_name(value),
    })
}

/// A string that may be absent, null or empty.
fn optional_string(object: &Map<String, Value>, field: &str) -> Result<String, SkipReason> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(value) => string_at(value, field),
    }
}

/// A string that must say something.
fn said_string(object: &Map<String, Value>, field: &str) -> Result<String, SkipReason> {
    let text = string_at(object.get(field).unwrap_or(&Value::Null), field)?;
    said(text, || field.to_owned())
}

fn said(text: String, field: impl FnOnce() -> String) -> Result<String, SkipReason> {
    if text.trim().is_empty() { Err(SkipReason::Empty { field: field() }) } else { Ok(text) }
}

fn read_messages(value: &Value) -> Result<Vec<Message>, SkipReason> {
    let list = value.as_array().ok_or_else(|| SkipReason::WrongType {
        field: "messages".to_owned(),
        expected: "a list",
        found: type_name(value),
    })?;
    if list.is_empty() {
        return Err(SkipReason::Empty { field: "messages".to_owned() });
    }
    let messages: Vec<Message> = list
        .iter()
        .enumerate()
        .map(|(index, value)| read_message(index, value))
        .collect::<Result<_, _>>()?;
    if !messages.iter().any(Message::is_assistant) {
        return Err(SkipReason::NoAssistantTurn);
    }
    Ok(messages)
}

fn read_message(index: usize, value: &Value) -> Result<Message, SkipReason> {
    let path = |field: &str| format!("messages[{index}].{field}");
    let object = value.as_object().ok_or_else(|| SkipReason::WrongType {
        field: format!("messages[{index}]"),
        expected: "an object",
        found: type_name(value),
    })?;
    for field in UNSUPPORTED_IN_MESSAGE {
        if object.get(field).is_some_and(|value| !is_void(value)) {
            return Err(SkipReason::Unsupported { field: path(field) });
        }
    }
    let string = |field: &'static str| {
        let value =
            object.get(field).ok_or(SkipReason::MissingInMessage { index, missing: field })?;
        string_at(value, path(field))
    };
    let message =
        Message { role: said(string("role")?, || path("role"))?, content: string("content")? };
    if message.is_assistant() && message.content.trim().is_empty() {
        return Err(SkipReason::Empty { field: path("content") });
    }
    Ok(message)
}

/// The prompt of Stanford Alpaca (Taori et al. 2023), with a line end after `### Response:`.
fn instruction_prompt(instruction: &str, input: &str) -> String {
    if input.trim().is_empty() {
        return format!(
            "Below is an instruction that describes a task. Write a response that appropriately \
             completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
        );
    }
    format!(
        "Below is an instruction that describes a task, paired with an input that provides \
         further context. Write a response that appropriately completes the request.\n\n\
         ### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<(Schema, Row), SkipReason> {
        let value: Value = serde_json::from_str(json).expect("well-formed JSON");
        Row::from_object(value.as_object().expect("an object"))
    }

    fn hash(json: &str) -> ContentHash {
        parsed(json).expect("a usable row").1.content_hash()
    }

    #[test]
    fn an_instruction_is_rendered_into_the_alpaca_prompt() {
        let json = r#"{"instruction": "Add.", "input": "1 1", "output": "2"}"#;
        let (schema, row) = parsed(json).expect("a usable row");
        assert_eq!(schema, Schema::Instruction);
        let Row::Completion { prompt, completion } = row else { panic!("not a completion") };
        assert!(
            prompt.ends_with("\n\n### Instruction:\nAdd.\n\n### Input:\n1 1\n\n### Response:\n")
        );
        assert_eq!(completion, "2");
    }

    #[test]
    fn an_absent_a_null_and_an_empty_input_are_the_same() {
        let absent = hash(r#"{"instruction": "a", "output": "b"}"#);
        assert_eq!(absent, hash(r#"{"instruction": "a", "input": null, "output": "b"}"#));
        assert_eq!(absent, hash(r#"{"instruction": "a", "input": "", "output": "b"}"#));
    }

    #[test]
    fn a_schema_that_says_more_goes_before_text() {
        let both = r#"{"instruction": "a", "output": "b", "text": "a b"}"#;
        assert_eq!(parsed(both).map(|(schema, _)| schema), Ok(Schema::Instruction));
    }

    #[test]
    fn the_hash_is_of_the_content_and_not_of_the_line() {
        let row = hash(r#"{"prompt": "a\nb", "completion": "c"}"#);
        assert_eq!(row, hash(r#"{"id": 7, "completion": " c\n", "prompt": "a\r\nb"}"#));
        assert_ne!(row, hash(r#"{"prompt": "a\nbc", "completion": "c"}"#));
    }

    #[test]
    fn text_moved_across_a_field_makes_another_row() {
        let row = hash(r#"{"prompt": "ab", "completion": "c"}"#);
        assert_ne!(row, hash(r#"{"prompt": "a", "completion": "bc"}"#));
        assert_ne!(hash(r#"{"text": "a"}"#), hash(r#"{"prompt": "", "completion": "a"}"#));
    }

    /// A change here would move rows between the sides of everybody's splits.
    #[test]
    fn the_hash_of_a_row_never_changes() {
        let place = hash(r#"{"prompt": "one plus one", "completion": "two"}"#).unit_interval();
        assert!((place - 0.054_540_397).abs() < 1e-6, "{place}");
    }

    #[test]
    fn the_prompt_of_a_conversation_is_all_before_its_last_answer() {
        let prompt = |json: &str| parsed(json).expect("a usable row").1.prompt_hash();
        let one = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
        let other = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]}"#;
        assert!(prompt(one).is_some());
        assert_eq!(prompt(one), prompt(other));
        assert_eq!(prompt(r#"{"text": "a"}"#), None);
        assert_eq!(prompt(r#"{"prompt": " ", "completion": "a"}"#), None);
    }
}
