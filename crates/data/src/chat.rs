//! Conversations as text: the model's own chat template, or a plain form without one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use minijinja::Environment;
use minijinja::value::Value;
use serde::{Deserialize, Serialize};

use self::locate::Marked;
use super::error::DataError;
use super::jinja::{self, Code};
use super::json::Json;
use super::model_files::TemplateFile;
use super::row::{Conversation, Message};
use super::skip::SkipReason;
use super::unwritten::Kind;

mod locate;
mod marks;

/// Names under which a message's thought is handed to templates, as in transformers: what has the
/// first of them is the thought.
pub(super) const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

const DEFAULT: &str = "default";
/// The template for conversations with tools, where a model has a special one.
const TOOL_USE: &str = "tool_use";

/// How conversations are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatFormat {
    /// By the model's chat template.
    Template {
        /// The file that holds it.
        path: PathBuf,
    },
    /// The model has no template: `bos`, then each turn as `### Role:\n`, its content and, after
    /// an assistant's turn, `eos`; two line ends between turns.
    Plain,
}

impl fmt::Display for ChatFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template { path } => write!(f, "the chat template of {}", path.display()),
            Self::Plain => {
                f.write_str("plain \"### Role:\" turns (the model has no chat template)")
            }
        }
    }
}

/// A parsed chat template, set up as transformers sets up Jinja.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    /// By name.
    templates: BTreeMap<String, Code>,
    path: PathBuf,
    /// `bos_token`, `eos_token` and the like.
    special_tokens: BTreeMap<String, String>,
    /// Names of the templates that mark what the assistant generates.
    marking: Vec<String>,
    /// The private-use characters that the templates have.
    private: String,
}

/// A conversation as text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rendered {
    pub text: String,
    /// The byte ranges that the assistant generates and that are to be learnt, ascending.
    pub spans: Vec<Range<usize>>,
    /// The template marks them itself.
    pub is_marked: bool,
    /// What of the conversation the template leaves out, and of how many turns.
    pub unwritten: BTreeMap<Kind, usize>,
}

impl ChatTemplate {
    /// Parses the templates of a model's file.
    pub fn new(
        file: TemplateFile,
        special_tokens: BTreeMap<String, String>,
    ) -> Result<Self, DataError> {
        let TemplateFile { path, templates } = file;
        let mut codes = BTreeMap::new();
        let mut marking = Vec::new();
        let mut private = String::new();
        for (name, source) in templates {
            private.extend(source.chars().filter(|char| *char >= marks::FIRST));
            if jinja::marks_generation(&source) {
                marking.push(name.clone());
            }
            let code = Code::new(&jinja::portable(&source)).map_err(|error| {
                DataError::ChatTemplate { path: path.clone(), message: jinja::one_line(&error) }
            })?;
            codes.insert(name, code);
        }
        let environment = jinja::environment();
        Ok(Self { environment, templates: codes, path, special_tokens, marking, private })
    }

    /// The file that holds the template.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the conversation and finds what the assistant generates of it: by the template's
    /// `{% generation %}` blocks, or without such, by marks in what everybody says.
    pub fn render(&self, conversation: &Conversation) -> Result<Rendered, SkipReason> {
        let name = self.name(conversation);
        let is_marked = self.marking.iter().any(|marking| marking == name);
        let turns = Turns { template: self, conversation, name, is_marked };
        if is_marked { turns.by_blocks() } else { turns.by_marks() }
    }

    fn name(&self, conversation: &Conversation) -> &'static str {
        let is_there = self.templates.contains_key(TOOL_USE);
        if conversation.tools.is_some() && is_there { TOOL_USE } else { DEFAULT }
    }
}

/// A conversation under its template.
struct Turns<'a> {
    template: &'a ChatTemplate,
    conversation: &'a Conversation,
    /// Of the template.
    name: &'static str,
    /// The template has generation blocks.
    is_marked: bool,
}

impl Turns<'_> {
    /// The first messages, or altered ones, as text.
    fn write(
        &self,
        messages: &[Message],
        tools: Option<&Json>,
        add_generation_prompt: bool,
    ) -> Result<String, SkipReason> {
        let special = self.template.special_tokens.iter();
        let mut variables: BTreeMap<&str, Value> =
            special.map(|(name, token)| (name.as_str(), Value::from(token))).collect();
        let kwargs = &self.conversation.kwargs;
        variables.extend(kwargs.iter().map(|(name, value)| (name.as_str(), value.to_value())));
        let messages: Vec<Value> = messages.iter().map(variable).collect();
        variables.insert("messages", messages.into());
        variables.insert("tools", tools.map_or(Value::from(()), Json::to_value));
        variables.insert("documents", Value::from(()));
        variables.insert("add_generation_prompt", add_generation_prompt.into());
        let Some(code) = self.template.templates.get(self.name) else {
            let message = format!("there is none named `{}`", self.name);
            return Err(SkipReason::Template { message });
        };
        code.render(&self.template.environment, variables.into_iter().collect()).map_err(|error| {
            let message = jinja::one_line(&error);
            if jinja::is_limit(&error) {
                SkipReason::TemplateLimit { message }
            } else {
                SkipReason::Template { message }
            }
        })
    }

    /// The same, to find something out; `None` where the template refuses it.
    fn attempt(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Option<String>, SkipReason> {
        let tools = self.conversation.tools.as_ref();
        match self.write(messages, tools, add_generation_prompt) {
            Err(SkipReason::Template { .. }) => Ok(None),
            written => written.map(Some),
        }
    }

    /// What the template puts around generated parts.
    fn block_marks(&self) -> &'static [char] {
        if self.is_marked { &jinja::BLOCK_MARKS } else { &[] }
    }

    /// All that the conversation and the template say, as far as marks must differ from it.
    fn texts(&self) -> Vec<String> {
        let mut texts = vec![self.template.private.clone()];
        for message in &self.conversation.messages {
            texts.extend([message.role.clone(), message.content.clone().unwrap_or_default()]);
            texts.extend(message.fields.iter().map(|(name, value)| format!("{name}{value}")));
        }
        texts.extend(self.conversation.tools.as_ref().map(Json::to_string));
        texts.extend(self.conversation.kwargs.values().map(Json::to_string));
        texts.extend(self.template.special_tokens.values().cloned());
        texts
    }

    fn rewrites(&self, index: usize) -> SkipReason {
        SkipReason::TemplateRewrites { template: self.template.path.clone(), index }
    }

    /// By marks in what everybody says.
    fn by_marks(&self) -> Result<Rendered, SkipReason> {
        let Conversation { messages, tools, .. } = self.conversation;
        let text = self.write(messages, tools.as_ref(), false)?;
        let marked = Marked::new(self, &text)?;
        let spans = marked.spans()?;
        let unwritten = self.unwritten(&marked, &text)?;
        Ok(Rendered { text, spans, is_marked: false, unwritten })
    }

    /// By the template's own blocks.
    fn by_blocks(&self) -> Result<Rendered, SkipReason> {
        let Conversation { messages, tools, .. } = self.conversation;
        let with_marks = self.write(messages, tools.as_ref(), false)?;
        let Some((text, blocks)) = jinja::take_marks(&with_marks) else {
            let message = "its generation blocks do not close, or the row has their marks".into();
            return Err(SkipReason::Template { message });
        };
        let marked = Marked::new(self, &text);
        let unwritten = match &marked {
            Ok(marked) => self.unwritten(marked, &text)?,
            Err(_) => BTreeMap::new(),
        };
        let mut assistants = messages.iter().filter(|turn| turn.is_assistant());
        let spans = if assistants.all(|turn| turn.is_target) {
            blocks
        } else {
            marked?.of_targets(blocks)?
        };
        Ok(Rendered { text, spans, is_marked: true, unwritten })
    }

    /// What of the conversation is not in its text.
    fn unwritten(&self, marked: &Marked, text: &str) -> Result<BTreeMap<Kind, usize>, SkipReason> {
        let mut unwritten = BTreeMap::new();
        for (index, message) in self.conversation.messages.iter().enumerate() {
            for kind in marked.unwritten(index, message) {
                *unwritten.entry(kind).or_insert(0) += 1;
            }
        }
        let Conversation { messages, tools, .. } = self.conversation;
        if tools.is_some() && self.write(messages, None, false).is_ok_and(|other| other == text) {
            unwritten.insert(Kind::Tools, 0);
        }
        Ok(unwritten)
    }
}

/// A message as transformers hands it to a template: a thought under the name by which templates
/// know it, and as `thinking`, which those of gpt-oss read.
fn variable(message: &Message) -> Value {
    let Message { role, content, fields, .. } = message;
    let reasoning = REASONING.iter().find_map(|name| fields.get(*name));
    let mut variables: Vec<(&str, Value)> = Vec::new();
    if let Some(reasoning) = reasoning.filter(|_| !fields.contains_key("thinking")) {
        variables.push(("thinking", reasoning.to_value()));
    }
    variables.push(("role", role.as_str().into()));
    variables.push(("content", content.as_deref().map_or(Value::from(()), Value::from)));
    let others = fields.iter().filter(|(name, _)| *name != "reasoning_content");
    variables.extend(others.map(|(name, value)| (name.as_str(), value.to_value())));
    variables.extend(reasoning.map(|reasoning| ("reasoning_content", reasoning.to_value())));
    variables.into_iter().collect()
}

/// A run of text of a plain conversation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlainPiece {
    pub text: String,
    pub is_target: bool,
}

/// The plain form (see [`ChatFormat::Plain`]), without its special tokens.
pub(super) fn plain_pieces(messages: &[Message]) -> Vec<PlainPiece> {
    let mut pieces = Vec::new();
    let mut context = String::new();
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            context.push_str("\n\n");
        }
        for part in ["### ", &capitalised(&message.role), ":\n"] {
            context.push_str(part);
        }
        let content = message.content.clone().unwrap_or_default();
        if message.is_target {
            pieces.push(PlainPiece { text: std::mem::take(&mut context), is_target: false });
            pieces.push(PlainPiece { text: content, is_target: true });
        } else {
            context.push_str(&content);
        }
    }
    if !context.is_empty() {
        pieces.push(PlainPiece { text: context, is_target: false });
    }
    pieces
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Object;

    /// Turns between markers, as in `ChatML`.
    const MARKED: &str = "{% for message in messages %}
            {{- '<|im_start|>' + message['role'] + '\n' + message['content'] | trim -}}
            <|im_end|>{{ '\n' }}
        {%- endfor %}
        {%- if add_generation_prompt %}
            {{- '<|im_start|>assistant\n' }}
        {%- endif %}";

    fn template(source: &str) -> ChatTemplate {
        let templates = vec![(DEFAULT.to_owned(), source.to_owned())];
        let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")];
        let tokens = tokens.map(|(name, token)| (name.to_owned(), token.to_owned()));
        ChatTemplate::new(TemplateFile { path: "t.jinja".into(), templates }, tokens.into())
            .expect("a template that parses")
    }

    fn turn(role: &str, content: &str) -> Message {
        Message {
            role: role.to_owned(),
            content: Some(content.to_owned()),
            fields: Object::new(),
            is_target: role == "assistant",
        }
    }

    fn conversation() -> Conversation {
        let messages = vec![
            turn("system", "Be brief."),
            turn("user", "one?"),
            turn("assistant", "1"),
            turn("user", "two?"),
            turn("assistant", "2"),
        ];
        Conversation { messages, ..Conversation::default() }
    }

    fn said(source: &str, conversation: &Conversation) -> Vec<String> {
        let Rendered { text, spans, .. } =
            template(source).render(conversation).expect("a regular conversation");
        spans.into_iter().map(|span| text[span].to_owned()).collect()
    }

    #[test]
    fn only_what_the_assistant_says_lies_in_a_span() {
        assert_eq!(said(MARKED, &conversation()), ["1<|im_end|>\n", "2<|im_end|>\n"]);
    }

    #[test]
    fn a_turn_without_weight_is_context_with_and_without_generation_blocks() {
        let mut conversation = conversation();
        conversation.messages[2].is_target = false;
        assert_eq!(said(MARKED, &conversation), ["2<|im_end|>\n"]);
        let blocks = "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}\
                      {% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}\
                      {% endif %};{% endfor %}";
        assert_eq!(said(blocks, &conversation), ["2"]);
    }

    /// Some reasoning models' templates drop thoughts from all but the last turn.
    #[test]
    fn a_turn_that_is_written_differently_once_the_conversation_goes_on_is_still_found() {
        let source = "{% for m in messages %}{{ m.role }}:\
                      {% if loop.last and m.role == 'assistant' %}<think>{% endif %}{{ m.content }};{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
        assert_eq!(said(source, &conversation()), ["1;", "<think>2;"]);
    }

    #[test]
    fn a_template_that_leaves_a_turn_out_is_refused() {
        let source = "{{ messages[-1].content }}{% if add_generation_prompt %}>{% endif %}";
        let refused = template(source).render(&conversation());
        panic!("{refused:?}");
    }

    #[test]
    fn a_conversation_with_tools_has_a_template_of_its_own_where_there_is_one() {
        let templates = vec![
            (DEFAULT.to_owned(), "no tools".to_owned()),
            (TOOL_USE.to_owned(), "{{ tools | tojson }}".to_owned()),
        ];
        let file = TemplateFile { path: "t.json".into(), templates };
        let template = ChatTemplate::new(file, BTreeMap::new()).expect("templates that parse");
        let tools = Json::from_text(r#"[{"name": "f", "b": 1, "a": 2}]"#).expect("JSON");
        let with = Conversation { tools: Some(tools), ..Conversation::default() };
        let text = |conversation| template.render(&conversation).expect("constant").text;
        assert_eq!(text(Conversation::default()), "no tools");
        assert_eq!(text(with), r#"[{"name": "f", "b": 1, "a": 2}]"#);
    }

    #[test]
    fn the_plain_form_keeps_the_assistant_apart() {
        let pieces = plain_pieces(&conversation().messages[1..4]);
        let shown: Vec<_> =
            pieces.iter().map(|piece| (piece.text.as_str(), piece.is_target)).collect();
        assert_eq!(
            shown,
            [
                ("### User:\none?\n\n### Assistant:\n", false),
                ("1", true),
                ("\n\n### User:\ntwo?", false)
            ]
        );
    }
}
