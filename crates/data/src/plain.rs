//! Conversations of a model without a chat template: the text, what of it the assistant says, and
//! the chat template that writes the same text elsewhere.
//!
//! A conversation is `bos`, then each turn as `### Role:\n` and its content, after an assistant's
//! turn `eos`, and `\n\n` between turns. Special tokens are written as text, so that
//! `apply_chat_template` in transformers gives the same tokens.

use std::collections::BTreeMap;
use std::ops::Range;

use tokenizers::Tokenizer;

use super::chat::Rendered;
use super::said::Message;

/// Text up to an end-of-sequence token or the end of the conversation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub text: String,
    /// What is learnt of it, in bytes.
    pub span: Option<Range<usize>>,
    /// An end-of-sequence token follows.
    pub has_end: bool,
}

/// The conversation in sections, without its special tokens.
pub(super) fn sections(messages: &[Message]) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    for (index, message) in messages.iter().enumerate() {
        if sections.last().is_none_or(|section| section.has_end) {
            sections.push(Section::default());
        }
        let Some(section) = sections.last_mut() else { continue };
        if index > 0 {
            section.text.push_str("\n\n");
        }
        for part in ["### ", &capitalised(&message.role), ":\n"] {
            section.text.push_str(part);
        }
        let start = section.text.len();
        section.text.push_str(message.content.as_deref().unwrap_or_default());
        section.has_end = message.is_assistant();
        section.span = message.is_target.then_some(start..section.text.len());
    }
    sections
}

/// The form with a tokenizer's special tokens, where that reads them from text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlainForm {
    /// What the tokenizer puts in front of a text: `bos`, or nothing.
    bos: String,
    eos: String,
}

impl PlainForm {
    /// `None` where a special token's text is not read as that token.
    pub fn new(tokenizer: &Tokenizer, prefix: &[u32], eos: u32) -> Option<Self> {
        let bos: Option<Vec<String>> = prefix.iter().map(|id| tokenizer.id_to_token(*id)).collect();
        let (bos, eos_text) = (bos?.concat(), tokenizer.id_to_token(eos)?);
        let probe = format!("{bos}a{eos_text}b");
        let encoding = tokenizer.encode_fast(probe, false).ok()?;
        let rest = encoding.get_ids().strip_prefix(prefix)?;
        let is_read = rest.iter().filter(|id| **id == eos).count() == 1;
        is_read.then_some(Self { bos, eos: eos_text })
    }

    /// The whole text with its special tokens, and the assistant's words and ends in it.
    pub fn render(&self, messages: &[Message]) -> Rendered {
        let mut text = self.bos.clone();
        let mut spans = Vec::new();
        for section in sections(messages) {
            let before = text.len();
            text.push_str(&section.text);
            if section.has_end {
                text.push_str(&self.eos);
            }
            if let Some(span) = section.span {
                // The end of a turn is learnt with it.
                let end = if section.has_end { text.len() } else { before + span.end };
                spans.push(before + span.start..end);
            }
        }
        Rendered { text, spans, unwritten: BTreeMap::new() }
    }

    /// The chat template that writes the text of [`Self::render`]; it refuses what no row of this
    /// form can have.
    pub fn chat_template(&self) -> String {
        let literal = |text: &str| serde_json::Value::from(text).to_string();
        let (bos, eos) = (literal(&self.bos), literal(&self.eos));
        format!(
            r####"{{{{- {bos} -}}}}
{{%- if tools -%}}
    {{{{- raise_exception("this model was trained on conversations without tools") -}}}}
{{%- endif -%}}
{{%- for message in messages -%}}
    {{%- if not loop.first -%}}
        {{{{- "\n\n" -}}}}
    {{%- endif -%}}
    {{{{- "### " ~ (message["role"][:1] | upper) ~ message["role"][1:] ~ ":\n" -}}}}
    {{%- if message["content"] is string -%}}
        {{{{- message["content"] -}}}}
    {{%- elif message["content"] -%}}
        {{%- for part in message["content"] -%}}
            {{%- if part["type"] != "text" -%}}
                {{{{- raise_exception("this model was trained on conversations of text only") -}}}}
            {{%- endif -%}}
            {{{{- part["text"] -}}}}
        {{%- endfor -%}}
    {{%- else -%}}
        {{{{- raise_exception("a message has no content") -}}}}
    {{%- endif -%}}
    {{%- if message["role"] == "assistant" -%}}
        {{{{- {eos} -}}}}
    {{%- endif -%}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}
    {{%- if messages -%}}
        {{{{- "\n\n" -}}}}
    {{%- endif -%}}
    {{{{- "### Assistant:\n" -}}}}
{{%- endif -%}}
"####
        )
    }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use minijinja::context;
    use proptest::prelude::*;

    use super::*;
    use crate::chat::variable;
    use crate::jinja::{self, Code};
    use crate::json::Object;

    fn form() -> PlainForm {
        PlainForm { bos: "<s>".to_owned(), eos: "<\"｜end▁\\".to_owned() }
    }

    fn turn(role: &str, content: &str) -> Message {
        Message {
            role: role.to_owned(),
            content: Some(content.to_owned()),
            fields: Object::new(),
            is_target: role == "assistant",
        }
    }

    /// The text that the template writes.
    fn by_template(messages: &[Message], add_generation_prompt: bool) -> Result<String, String> {
        Code::new(&jinja::portable(&form().chat_template()))
            .and_then(|code| {
                let messages: Vec<_> = messages.iter().map(variable).collect();
                let variables = context! { messages, add_generation_prompt, tools => () };
                code.render(&jinja::environment(), variables)
            })
            .map_err(|error| jinja::one_line(&error))
    }

    #[test]
    fn what_the_assistant_says_and_its_end_are_learnt_and_nothing_else() {
        let form = PlainForm { bos: "<s>".to_owned(), eos: "</s>".to_owned() };
        let mut messages = vec![turn("user", "one?"), turn("assistant", "1"), turn("user", "two?")];
        messages.extend([turn("assistant", "2"), turn("user", "three?")]);
        messages[1].is_target = false;
        let Rendered { text, spans, .. } = form.render(&messages);
        assert_eq!(
            text,
            "<s>### User:\none?\n\n### Assistant:\n1</s>\n\n### User:\ntwo?\n\n### Assistant:\n\
             2</s>\n\n### User:\nthree?"
        );
        let learnt: Vec<&str> = spans.into_iter().map(|span| &text[span]).collect();
        assert_eq!(learnt, ["2</s>"]);
    }

    #[test]
    fn the_template_refuses_what_no_row_can_have() {
        let mut called = turn("assistant", "");
        called.content = None;
        let refused = by_template(&[turn("user", "x"), called], false).expect_err("no content");
        assert!(refused.contains("a message has no content"), "{refused}");
    }

    proptest! {
        #[test]
        fn the_template_writes_what_was_learnt(
            turns in proptest::collection::vec(
                ("system|user|assistant|tool|été|x", "[ \n#:a-zé{}%<>/\"'\\\\]{0,12}"), 1..6,
            ),
        ) {
            let messages: Vec<Message> =
                turns.iter().map(|(role, content)| turn(role, content)).collect();
            let text = form().render(&messages).text;
            prop_assert_eq!(by_template(&messages, false), Ok(text.clone()));
            let prompt = format!("{text}\n\n### Assistant:\n");
            prop_assert_eq!(by_template(&messages, true), Ok(prompt.clone()));
            let mut answered = messages;
            answered.push(turn("assistant", "yes"));
            let answered = form().render(&answered).text;
            prop_assert_eq!(answered, format!("{prompt}yes{}", form().eos));
        }
    }
}
