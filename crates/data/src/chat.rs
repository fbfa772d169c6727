//! Conversations as text: the model's own chat template, or a plain form without one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use minijinja::Environment;
use minijinja::value::Value;
use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::jinja::{self, Code};
use super::model_files::TemplateFile;
use super::row::{Conversation, Message};
use super::skip::SkipReason;

const DEFAULT: &str = "default";
/// The template for conversations with tools, where a model has a special one.
const TOOL_USE: &str = "tool_use";
/// Stands in for a turn's content to find where that is written. Private-use characters, so that
/// neither end is one that the text around it has.
const STAND_IN: &str = "\u{E8A1}stand-in\u{E8A2}";

/// Most characters that a template writes between the generation prompt and a turn's content.
const MOST_LEAD: usize = 256;

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
}

/// A conversation as text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    pub text: String,
    /// The byte ranges that the assistant generates and that are to be learnt, ascending.
    pub spans: Vec<Range<usize>>,
    /// The template marks them itself.
    pub is_marked: bool,
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
        for (name, source) in templates {
            if jinja::marks_generation(&source) {
                marking.push(name.clone());
            }
            let code = Code::new(&jinja::portable(&source)).map_err(|error| {
                DataError::ChatTemplate { path: path.clone(), message: jinja::one_line(&error) }
            })?;
            codes.insert(name, code);
        }
        let environment = jinja::environment();
        Ok(Self { environment, templates: codes, path, special_tokens, marking })
    }

    /// The file that holds the template.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the conversation and finds what the assistant generates of it: by the template's
    /// `{% generation %}` blocks, or without such, turn by turn, as what a turn adds to those
    /// before it and the generation prompt.
    pub fn render(&self, conversation: &Conversation) -> Result<Rendered, SkipReason> {
        let template = Turns { template: self, conversation };
        if self.marking.iter().any(|name| name == template.name()) {
            return template.marked();
        }
        let text = template.write(&conversation.messages, false)?;
        let turns = conversation.messages.iter().enumerate();
        let targets = turns.filter(|(_, turn)| turn.is_target);
        let spans = targets.map(|(index, _)| template.locate(index, &text));
        Ok(Rendered { spans: spans.collect::<Result<_, _>>()?, text, is_marked: false })
    }
}

/// A conversation under its template.
struct Turns<'a> {
    template: &'a ChatTemplate,
    conversation: &'a Conversation,
}

impl Turns<'_> {
    fn name(&self) -> &'static str {
        let has_tools = self.conversation.tools.is_some();
        let is_there = self.template.templates.contains_key(TOOL_USE);
        if has_tools && is_there { TOOL_USE } else { DEFAULT }
    }

    /// The first messages, or altered ones, as text.
    fn write(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, SkipReason> {
        let special = self.template.special_tokens.iter();
        let mut variables: BTreeMap<&str, Value> =
            special.map(|(name, token)| (name.as_str(), Value::from(token))).collect();
        let kwargs = &self.conversation.kwargs;
        let given = kwargs.iter().map(|(k, value)| (k.as_str(), Value::from_serialize(value)));
        variables.extend(given);
        variables.insert("messages", Value::from_serialize(messages));
        variables.insert("tools", Value::from_serialize(&self.conversation.tools));
        variables.insert("documents", Value::from(()));
        variables.insert("add_generation_prompt", add_generation_prompt.into());
        let Some(code) = self.template.templates.get(self.name()) else {
            let message = format!("there is none named `{}`", self.name());
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

    /// By the template's own blocks.
    fn marked(&self) -> Result<Rendered, SkipReason> {
        let messages = &self.conversation.messages;
        let marked = self.write(messages, false)?;
        let Some((text, blocks)) = jinja::take_marks(&marked) else {
            let message = "its generation blocks do not close, or the row has their marks".into();
            return Err(SkipReason::Template { message });
        };
        let turns: Vec<&Message> = messages.iter().filter(|turn| turn.is_assistant()).collect();
        if turns.iter().all(|turn| turn.is_target) {
            return Ok(Rendered { text, spans: blocks, is_marked: true });
        }
        if turns.len() != blocks.len() {
            return Err(SkipReason::UnknownTurn { blocks: blocks.len(), turns: turns.len() });
        }
        let of_turns = blocks.into_iter().zip(turns);
        let spans = of_turns.filter(|(_, turn)| turn.is_target).map(|(block, _)| block).collect();
        Ok(Rendered { text, spans, is_marked: true })
    }

    /// Where the conversation's `text` has what the assistant says in turn `index`.
    fn locate(&self, index: usize, text: &str) -> Result<Range<usize>, SkipReason> {
        let messages = &self.conversation.messages;
        let before = self.write(&messages[..index], true)?;
        let until = self.write(&messages[..=index], false)?;
        if until.starts_with(&before) && text.starts_with(&until) {
            return Ok(before.len()..until.len());
        }
        // The template writes earlier turns differently once the conversation goes on (without
        // their thoughts, say): look for the content, and take of what is around it in the
        // conversation up to here as much as is still there.
        let rewrites = || SkipReason::TemplateRewrites { index };
        let in_text = self.content(index, messages, text)?.ok_or_else(rewrites)?;
        let in_until = self.content(index, &messages[..=index], &until)?.ok_or_else(rewrites)?;
        let lead = lead(&until[..in_until.start], &before);
        let start = if text[..in_text.start].ends_with(lead) {
            in_text.start - lead.len()
        } else {
            in_text.start
        };
        let end = in_text.end + shared_len(&text[in_text.end..], &until[in_until.end..]);
        Ok(start..end)
    }

    /// Where `text`, which is how `messages` are written, has the content of one of them.
    fn content(
        &self,
        index: usize,
        messages: &[Message],
        text: &str,
    ) -> Result<Option<Range<usize>>, SkipReason> {
        let mut altered = messages.to_vec();
        altered[index].content = Some(STAND_IN.to_owned());
        let altered = self.write(&altered, false)?;
        if altered.matches(STAND_IN).count() != 1 {
            return Ok(None);
        }
        let start = shared_len(text, &altered);
        let same = text[start..].chars().rev().zip(altered[start..].chars().rev());
        let tail: usize = same.take_while(|(a, b)| a == b).map(|(found, _)| found.len_utf8()).sum();
        Ok(Some(start..text.len() - tail))
    }
}

/// The end of `until` that follows the generation prompt with which `before` ends: where `before`,
/// put into `until` at its end, fits for longest.
fn lead<'a>(until: &'a str, before: &str) -> &'a str {
    let shared_tail = |text: &str| {
        text.chars().rev().zip(before.chars().rev()).take_while(|(a, b)| a == b).count()
    };
    let starts = until.char_indices().rev().map(|(at, _)| at).take(MOST_LEAD);
    let starts = std::iter::once(until.len()).chain(starts);
    // Of equals the first counts, which is the shortest.
    let fits = starts.map(|at| (shared_tail(&until[..at]), at));
    let (_, at) =
        fits.reduce(|best, next| if next.0 > best.0 { next } else { best }).unwrap_or((0, 0));
    &until[at..]
}

/// Bytes of the characters with which both texts begin.
fn shared_len(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(found, _)| found.len_utf8()).sum()
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
        assert_eq!(refused, Err(SkipReason::TemplateRewrites { index: 2 }));
    }

    #[test]
    fn a_conversation_with_tools_has_a_template_of_its_own_where_there_is_one() {
        let templates = vec![
            (DEFAULT.to_owned(), "no tools".to_owned()),
            (TOOL_USE.to_owned(), "{{ tools | tojson }}".to_owned()),
        ];
        let file = TemplateFile { path: "t.json".into(), templates };
        let template = ChatTemplate::new(file, BTreeMap::new()).expect("templates that parse");
        let tools = serde_json::from_str(r#"[{"name": "f", "b": 1, "a": 2}]"#).expect("JSON");
        let with = Conversation { tools: Some(tools), ..Conversation::default() };
        let text = |conversation| template.render(&conversation).expect("constant").text;
        assert_eq!(text(Conversation::default()), "no tools");
        assert_eq!(text(with), r#"[{"name": "f", "b": 1, "a": 2}]"#);
    }
}
