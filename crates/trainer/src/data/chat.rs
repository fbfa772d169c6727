//! Conversations as text: the model's own chat template, or a plain form without one.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use minijinja::{Environment, context};
use serde::Serialize;

use super::error::DataError;
use super::jinja;
use super::row::Message;
use super::skip::SkipReason;

const TEMPLATE: &str = "chat_template";

/// How conversations are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    path: PathBuf,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// Parses `source`, which stands in `path`.
    pub fn new(
        path: PathBuf,
        source: &str,
        bos_token: String,
        eos_token: String,
    ) -> Result<Self, DataError> {
        let mut environment = jinja::environment();
        environment.add_template_owned(TEMPLATE, jinja::portable(source)).map_err(|error| {
            DataError::ChatTemplate { path: path.clone(), message: jinja::one_line(&error) }
        })?;
        Ok(Self { environment, path, bos_token, eos_token })
    }

    /// The file that holds the template.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The conversation as text, and the byte ranges of it that the assistant generates,
    /// ascending: for each assistant turn, what it adds to the turns before it followed by the
    /// generation prompt.
    pub fn render_with_assistant_spans(
        &self,
        messages: &[Message],
    ) -> Result<(String, Vec<Range<usize>>), SkipReason> {
        let text = self.render(messages, false)?;
        let mut spans = Vec::new();
        for (index, _) in messages.iter().enumerate().filter(|(_, turn)| turn.is_assistant()) {
            let before = self.render(&messages[..index], true)?;
            let until = self.render(&messages[..=index], false)?;
            if !until.starts_with(&before) || !text.starts_with(&until) {
                return Err(SkipReason::TemplateNotPrefix { index });
            }
            spans.push(before.len()..until.len());
        }
        Ok((text, spans))
    }

    fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, SkipReason> {
        let variables = context! {
            messages,
            add_generation_prompt,
            bos_token => self.bos_token,
            eos_token => self.eos_token,
            tools => (),
            documents => (),
        };
        self.environment
            .get_template(TEMPLATE)
            .and_then(|template| template.render(variables))
            .map_err(|error| SkipReason::Template { message: jinja::one_line(&error) })
    }
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
        if message.is_assistant() {
            pieces.push(PlainPiece { text: std::mem::take(&mut context), is_target: false });
            pieces.push(PlainPiece { text: message.content.clone(), is_target: true });
        } else {
            context.push_str(&message.content);
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

    /// Turns between markers, as in `ChatML`.
    const MARKED: &str = "{% for message in messages %}
            {{- '<|im_start|>' + message['role'] + '\n' + message['content'] | trim -}}
            <|im_end|>{{ '\n' }}
        {%- endfor %}
        {%- if add_generation_prompt %}
            {{- '<|im_start|>assistant\n' }}
        {%- endif %}";

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new("t.jinja".into(), source, "<s>".to_owned(), "</s>".to_owned())
            .expect("a template that parses")
    }

    fn turn(role: &str, content: &str) -> Message {
        Message { role: role.to_owned(), content: content.to_owned() }
    }

    fn conversation() -> Vec<Message> {
        vec![
            turn("system", "Be brief."),
            turn("user", "one?"),
            turn("assistant", "1"),
            turn("user", "two?"),
            turn("assistant", "2"),
        ]
    }

    #[test]
    fn only_what_the_assistant_says_lies_in_a_span() {
        let (text, spans) = template(MARKED)
            .render_with_assistant_spans(&conversation())
            .expect("a regular conversation");
        let said: Vec<&str> = spans.into_iter().map(|span| &text[span]).collect();
        assert_eq!(said, ["1<|im_end|>\n", "2<|im_end|>\n"]);
    }

    /// Some reasoning models' templates drop thoughts from all but the last turn.
    #[test]
    fn a_template_that_rewrites_earlier_turns_is_refused() {
        let source = "{% for m in messages %}{{ m.role }}:{% if loop.last %}<think>{% endif %}\
                      {{ m.content }};{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
        let earlier = template(source).render_with_assistant_spans(&conversation());
        assert_eq!(earlier, Err(SkipReason::TemplateNotPrefix { index: 2 }));
    }

    #[test]
    fn the_plain_form_keeps_the_assistant_apart() {
        let pieces = plain_pieces(&conversation()[1..4]);
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
