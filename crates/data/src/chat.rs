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
use super::field::REASONING;
use super::jinja::{self, Code};
use super::json::Json;
use super::model_files::TemplateFile;
use super::said::{Conversation, Message};
use super::skip::SkipReason;
use super::unwritten::Kind;

mod locate;
mod marks;

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
        let unwritten = self.unwritten(&marked, &text);
        Ok(Rendered { text, spans, unwritten })
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
            Ok(marked) => self.unwritten(marked, &text),
            Err(_) => BTreeMap::new(),
        };
        let mut assistants = messages.iter().filter(|turn| turn.is_assistant());
        let spans = if assistants.all(|turn| turn.is_target) {
            blocks
        } else {
            marked?.of_targets(blocks)?
        };
        Ok(Rendered { text, spans, unwritten })
    }

    /// What of the conversation is not in its text.
    fn unwritten(&self, marked: &Marked, text: &str) -> BTreeMap<Kind, usize> {
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
        unwritten
    }
}

/// A message as transformers hands it to a template: a thought under the name by which templates
/// know it, and as `thinking`, which those of gpt-oss read.
pub(super) fn variable(message: &Message) -> Value {
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
                      {% generation %}{{ m.content }}{% endgeneration %}!\
                      {% generation %}</s>{% endgeneration %}{% else %}{{ m.content }}\
                      {% endif %};{% endfor %}";
        assert_eq!(said(blocks, &conversation), ["2", "</s>"]);
    }

    /// Some reasoning models' templates drop thoughts from all but the last turn.
    #[test]
    fn a_turn_that_is_written_differently_once_the_conversation_goes_on_is_still_found() {
        let source = "{% for m in messages %}{{ m.role }}:\
                      {% if loop.last and m.role == 'assistant' %}<think>{% endif %}{{ m.content }};{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
        assert_eq!(said(source, &conversation()), ["1;", "<think>2;"]);
    }

    #[test]
    fn what_a_template_leaves_out_is_named() {
        let source = "{{ messages[-1].content }}{% if add_generation_prompt %}>{% endif %}";
        let rendered = template(source).render(&conversation()).expect("the last turn");
        assert_eq!(rendered.text, "2");
        assert_eq!(said(source, &conversation()), ["2"]);
        let content = |role: &str| Kind::Content { role: role.to_owned() };
        let expected = [(content("assistant"), 1), (content("system"), 1), (content("user"), 2)];
        assert_eq!(rendered.unwritten, expected.into());
        let mut thinking = conversation();
        thinking.messages[2].content = Some("<think>\nhm\n</think>\n\n1".to_owned());
        thinking.tools = Some(Json::from_text(r#"[{"name": "f"}]"#).expect("JSON"));
        let source = "{% for m in messages %}{{ m.role }}:{{ m.content.split('</think>')[-1] }};\
                      {% endfor %}";
        let rendered = template(source).render(&thinking).expect("a regular conversation");
        assert_eq!(rendered.unwritten, [(Kind::Tools, 0), (Kind::Thoughts, 1)].into());
        assert_eq!(
            template(MARKED).render(&conversation()).map(|row| row.unwritten),
            Ok([].into())
        );
    }

    #[test]
    fn somebody_elses_words_that_are_written_in_part_are_no_secret() {
        let source = "{% for m in messages %}{{ m.content[1:-1] if m.role == 'user' else m.content }};\
                      {% endfor %}";
        let refused = template(source).render(&conversation());
        let rewrites = SkipReason::TemplateRewrites { template: "t.jinja".into(), index: 1 };
        assert_eq!(refused, Err(rewrites.clone()));
        assert!(rewrites.to_string().contains("t.jinja rewrites `messages[1]`"));
    }

    /// Prompts that end in `<think>` where turns have none, as in DeepSeek-R1's distillations.
    const R1: &str = "{% for m in messages %}{% if m.role == 'assistant' %}{{ 'A:' + \
                      m.content.split('</think>')[-1] + '</s>' }}{% else %}{{ 'U:' + m.content }}\
                      {% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'A:<think>\n' }}{% endif %}";

    #[test]
    fn text_that_looks_like_the_prompt_is_not_learnt_for_it() {
        let learnt = |turns: &[(&str, &str)]| {
            let messages = turns.iter().map(|(role, content)| turn(role, content)).collect();
            said(R1, &Conversation { messages, ..Conversation::default() })
        };
        let asked = ("user", "first line\nSECOND LINE?");
        assert_eq!(learnt(&[asked, ("assistant", "yes")]), ["yes</s>"]);
        let thought = "<think>\nt\n</think>\n\nno";
        assert_eq!(
            learnt(&[asked, ("assistant", thought), asked, ("assistant", thought)]),
            ["\n\nno</s>", "\n\nno</s>"]
        );
        let echo = ("user", "A:<think>\nA:");
        assert_eq!(
            learnt(&[echo, ("assistant", "U:A:"), echo, ("assistant", "<think>")]),
            ["U:A:</s>", "<think></s>"]
        );
    }

    #[test]
    fn a_thought_that_the_template_writes_is_learnt_under_any_of_its_names() {
        let source = "{% for m in messages %}{{ m.role + ':' }}{% if m.role == 'assistant' %}\
                      <think>{{ m.reasoning_content }}|{{ m.thinking }}</think>{% endif %}\
                      {{ m.content }};{% endfor %}{% if add_generation_prompt %}assistant:<think>{% endif %}";
        for name in REASONING {
            let mut conversation = conversation();
            let thought = Json::String("hm".to_owned());
            conversation.messages[4].fields.insert(name.to_owned(), thought);
            let expected = ["|</think>1;", "hm|hm</think>2;"];
            assert_eq!(said(source, &conversation), expected, "{name}");
        }
    }

    #[test]
    fn a_conversation_may_begin_with_the_assistant() {
        let source = "{% if messages[0].role == 'x' %}{% endif %}{% for m in messages %}\
                      {{ m.role + ':' + m.content + ';' }}{% endfor %}\
                      {% if add_generation_prompt %}assistant:{% endif %}";
        let mut conversation = conversation();
        conversation.messages.drain(..2);
        assert_eq!(said(source, &conversation), ["1;", "2;"]);
    }

    /// Gemma 4 writes the results of a turn's calls before its last words.
    #[test]
    fn results_inside_a_turn_are_not_learnt() {
        let source = "{% for m in messages %}{% if m.role == 'assistant' %}{{ 'A:' }}\
                      {% for c in m.tool_calls %}{{ '<call>' + c.function.name + '</call>' }}{% endfor %}\
                      {% if m.tool_calls %}{{ '<result>' + messages[loop.index].content + '</result>' }}{% endif %}\
                      {{ m.content + ';' }}{% elif m.role == 'user' %}{{ 'U:' + m.content + ';' }}\
                      {% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'A:' }}{% endif %}";
        let mut conversation = conversation();
        let calls = Json::from_text(r#"[{"function": {"name": "f", "arguments": {}}}]"#);
        conversation.messages[2].fields.insert("tool_calls".to_owned(), calls.expect("JSON"));
        conversation.messages.insert(3, turn("tool", "secret"));
        let said = said(source, &conversation).concat();
        assert!(said.contains("<call>f") && said.contains("1;2;"), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }

    #[test]
    fn a_call_of_numbers_alone_is_learnt() {
        let source = "{% for m in messages %}{{ m.role + ':' }}{% if m.tool_calls %}\
                      {{ m.tool_calls[0].function.arguments | tojson }}{% else %}{{ m.content }}\
                      {% endif %};{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
        let mut conversation = conversation();
        let calls = r#"[{"function": {"name": "f", "arguments": {"wei": 100000000000000000000}}}]"#;
        let calls = Json::from_text(calls).expect("JSON");
        conversation.messages[4].fields.insert("tool_calls".to_owned(), calls);
        assert_eq!(said(source, &conversation), ["1;", "{\"wei\": 100000000000000000000};"]);
    }

    #[test]
    fn marks_are_no_characters_that_a_conversation_has() {
        let mut conversation = conversation();
        conversation.messages[1].content = Some("\u{F0000}\u{F0001}one?\u{F0003}".to_owned());
        conversation.messages[2].content = Some("\u{F0000}1\u{F0002}".to_owned());
        assert_eq!(
            said(MARKED, &conversation),
            ["\u{F0000}1\u{F0002}<|im_end|>\n", "2<|im_end|>\n"]
        );
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
}
