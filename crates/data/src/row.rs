//! One row's content, whichever schema it was written in, and its identity.

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::flags::{check_labels, check_row_flags};
use super::json::{Json, Object, serialize_fields};
use super::messages::{exchange, read_conversation, read_prompt_and_completion};
use super::preference::read_chosen;
use super::schema::{Schema, detect_schema, keys};
use super::skip::SkipReason;

/// Separates these hashes from any other use of SHA-256; a change would move rows between the
/// sides of everybody's splits.
const HASH_DOMAIN: &[u8] = b"lorasweep row 1";

/// A field of a row that changes its meaning and that no schema here carries.
pub(super) const UNSUPPORTED_IN_ROW: &str = "functions";
/// Pictures, sound and film, of a row or of a turn.
pub(super) const MEDIA: [&str; 6] = ["image", "images", "video", "videos", "audio", "audios"];
/// Fields of a message that templates write out: two messages that differ in one are not the same.
const SAID_BESIDE_CONTENT: [&str; 7] = [
    "name",
    "reasoning",
    "reasoning_content",
    "thinking",
    "tool_call_id",
    "tool_calls",
    "tool_plan",
];

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool` ...
    pub role: String,
    /// What is said; absent where an assistant only calls tools.
    pub content: Option<String>,
    /// All other fields that are not null, for the template.
    pub fields: Object,
    /// Whether the model learns it.
    pub is_target: bool,
}

impl Message {
    /// Whether the model speaks.
    pub fn is_assistant(&self) -> bool {
        self.role == "assistant"
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (role, content) = (("role".to_owned()), ("content".to_owned()));
        let said = self.content.clone().map_or(Json::Null, Json::String);
        let named = [(&role, &Json::String(self.role.clone())), (&content, &said)];
        serialize_fields(serializer, named.into_iter().chain(&self.fields))
    }
}

/// A conversation and what its template is given beside it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Conversation {
    pub messages: Vec<Message>,
    /// Descriptions of the tools the model may call.
    pub tools: Option<Json>,
    /// Further variables for the template, such as `enable_thinking`.
    pub kwargs: Object,
}

/// What a row says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Row {
    /// A conversation; the assistant's turns are targets.
    Messages(Conversation),
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
pub(super) struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// The hash as a number spread evenly over `[0, 1)`.
    pub fn unit_interval(self) -> f64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        // 53 bits: every value is exact in an f64 and below 1.
        (u64::from_be_bytes(head) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Of a sequence cut from a longer text.
    pub fn of_tokens(ids: &[u32]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(HASH_DOMAIN);
        hasher.update(b"tokens");
        for id in ids {
            hasher.update(id.to_le_bytes());
        }
        Self(hasher.finalize().into())
    }

    fn of<'a>(tag: &'a str, fields: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(HASH_DOMAIN);
        for field in std::iter::once(tag).chain(fields) {
            let field = normalised(field);
            // The length in front keeps ("ab", "c") apart from ("a", "bc").
            hasher.update((field.len() as u64).to_le_bytes());
            hasher.update(field.as_bytes());
        }
        Self(hasher.finalize().into())
    }

    /// Of turns, with what else is said in them.
    fn of_turns(tag: &str, messages: &[Message], beside: &[String]) -> Self {
        let turns = messages
            .iter()
            .flat_map(|turn| [turn.role.as_str(), turn.content.as_deref().unwrap_or_default()]);
        Self::of(tag, turns.chain(beside.iter().map(String::as_str)))
    }
}

/// The same text after a trip through an editor or a spreadsheet: line ends and outer blanks do
/// not make another row.
fn normalised(text: &str) -> String {
    text.replace("\r\n", "\n").trim().to_owned()
}

impl Row {
    /// Reads a row whose fields have our names.
    pub fn from_object(object: &Object) -> Result<(Schema, Self), SkipReason> {
        let is_said = |field: &str| object.get(field).is_some_and(|value| !value.is_void());
        let schema = match detect_schema(&keys(object))? {
            // A table has a cell for the answers of its other rows.
            Schema::PromptCompletion if !is_said("completion") && is_said("chosen") => {
                Schema::Preference
            }
            Schema::Instruction if !is_said("output") && is_said("chosen") => Schema::Preference,
            schema => schema,
        };
        if is_said(UNSUPPORTED_IN_ROW) {
            return Err(SkipReason::Unsupported { field: UNSUPPORTED_IN_ROW.to_owned() });
        }
        if let Some(field) = MEDIA.iter().find(|field| is_said(field)) {
            return Err(SkipReason::Media { field: (*field).to_owned() });
        }
        // Half of a dataset of single judged answers (KTO) is there to be avoided.
        check_labels(object, schema == Schema::Text)?;
        check_row_flags(object, matches!(schema, Schema::Messages | Schema::ShareGpt))?;
        let row = match schema {
            Schema::Messages => read_conversation(object, "messages")?,
            Schema::ShareGpt => read_conversation(object, "conversations")?,
            Schema::Preference => read_chosen(object)?,
            Schema::PromptCompletion => read_prompt_and_completion(object)?,
            Schema::Instruction => read_instruction(object)?,
            Schema::Text | Schema::PlainText => read_text(object)?,
        };
        Ok((schema, row))
    }

    /// Identity of the whole row. Rows that differ in key order, in schema (`instruction` or the
    /// prompt it renders to), in line ends or outer blanks are the same row.
    pub fn content_hash(&self) -> ContentHash {
        match self {
            Self::Messages(conversation) => {
                let beside = conversation.said_beside(conversation.messages.len());
                ContentHash::of_turns("messages", &conversation.messages, &beside)
            }
            Self::Completion { prompt, completion } => {
                ContentHash::of("completion", [prompt.as_str(), completion])
            }
            Self::Text(text) => ContentHash::of("text", [text.as_str()]),
        }
    }

    /// Identity of what comes before the last completion; `None` where nothing does.
    pub fn prompt_hash(&self) -> Option<ContentHash> {
        match self {
            Self::Messages(conversation) => {
                let messages = &conversation.messages;
                let last = messages.iter().rposition(Message::is_assistant)?;
                let beside = conversation.said_beside(last);
                (last > 0)
                    .then(|| ContentHash::of_turns("prompt messages", &messages[..last], &beside))
            }
            Self::Completion { prompt, .. } => {
                (!prompt.trim().is_empty()).then(|| ContentHash::of("prompt", [prompt.as_str()]))
            }
            Self::Text(_) => None,
        }
    }

    /// Whether it is written by the chat template.
    pub const fn is_conversation(&self) -> bool {
        matches!(self, Self::Messages(_))
    }

    /// Whether a text stands somewhere in it.
    pub fn contains(&self, text: &str) -> bool {
        match self {
            Self::Messages(conversation) => {
                let contents =
                    conversation.messages.iter().filter_map(|turn| turn.content.as_ref());
                contents.into_iter().any(|content| content.contains(text))
            }
            Self::Completion { prompt, completion } => {
                prompt.contains(text) || completion.contains(text)
            }
            Self::Text(all) => all.contains(text),
        }
    }

    /// Bytes of its text, about.
    pub fn size(&self) -> usize {
        match self {
            Self::Messages(conversation) => conversation
                .messages
                .iter()
                .map(|turn| turn.role.len() + turn.content.as_ref().map_or(0, String::len))
                .sum(),
            Self::Completion { prompt, completion } => prompt.len() + completion.len(),
            Self::Text(text) => text.len(),
        }
    }
}

impl Conversation {
    /// What the first `turns` turns say beside their contents; nothing for most conversations.
    fn said_beside(&self, turns: usize) -> Vec<String> {
        let mut beside = Vec::new();
        for (index, turn) in self.messages.iter().take(turns).enumerate() {
            let said = |field: &&str| Some(format!("{index} {field} {}", turn.fields.get(*field)?));
            beside.extend(SAID_BESIDE_CONTENT.iter().filter_map(said));
            if turn.is_assistant() && !turn.is_target {
                beside.push(format!("{index} is no target"));
            }
        }
        beside.extend(self.tools.as_ref().map(|tools| format!("tools {tools}")));
        beside.extend(self.kwargs.iter().map(|(name, value)| format!("kwargs {name} {value}")));
        beside
    }
}

fn read_instruction(object: &Object) -> Result<Row, SkipReason> {
    let instruction = said_string(object, "instruction")?;
    let input = optional_string(object, "input")?;
    let prompt = instruction_prompt(&instruction, &input);
    let user = instruction_text(&instruction, &input);
    exchange(object, prompt, user, said_string(object, "output")?)
}

/// A text says all that belongs to it: what should be said before it has no place.
fn read_text(object: &Object) -> Result<Row, SkipReason> {
    let text = said_string(object, "text")?;
    let system = object.get("system").and_then(Json::as_str).unwrap_or_default();
    if text.contains(system.trim()) {
        return Ok(Row::Text(text));
    }
    Err(SkipReason::Unsupported { field: "system".to_owned() })
}

pub(super) fn string_at(value: &Json, field: impl Into<String>) -> Result<String, SkipReason> {
    value.as_str().map(str::to_owned).ok_or_else(|| SkipReason::WrongType {
        field: field.into(),
        expected: "a string",
        found: value.type_name(),
    })
}

/// A string that may be absent, null or empty.
pub(super) fn optional_string(object: &Object, field: &str) -> Result<String, SkipReason> {
    match object.get(field) {
        None | Some(Json::Null) => Ok(String::new()),
        Some(value) => string_at(value, field),
    }
}

/// A string that must say something.
pub(super) fn said_string(object: &Object, field: &str) -> Result<String, SkipReason> {
    let text = string_at(object.get(field).unwrap_or(&Json::Null), field)?;
    said(text, || field.to_owned())
}

pub(super) fn said(text: String, field: impl FnOnce() -> String) -> Result<String, SkipReason> {
    if text.trim().is_empty() { Err(SkipReason::Empty { field: field() }) } else { Ok(text) }
}

/// An instruction as what a user says in a conversation, as LLaMA-Factory writes it.
pub(super) fn instruction_text(instruction: &str, input: &str) -> String {
    if input.trim().is_empty() {
        return instruction.to_owned();
    }
    format!("{instruction}\n{input}")
}

/// The prompt of Stanford Alpaca (Taori et al. 2023), with a line end after `### Response:`.
pub(super) fn instruction_prompt(instruction: &str, input: &str) -> String {
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
        let value: Json = serde_json::from_str(json).expect("well-formed JSON");
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
