//! What a row says, whichever schema it was written in, and its identity.

use sha2::{Digest, Sha256};

use super::json::{Json, Object};

/// Separates these hashes from any other use of SHA-256; a change would move rows between the
/// sides of everybody's splits.
const HASH_DOMAIN: &[u8] = b"lorasweep row 1";

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
