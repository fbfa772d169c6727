//! Prompts to be answered, in the tokens that training gives them, and answers back to text.
//!
//! A prompt becomes a row with a stand-in for its answer and is cut before it. So chat template,
//! special tokens and the seam between prompt and answer are those of the rows that an adapter learnt.

use std::collections::BTreeSet;
use std::path::Path;

use tokenizers::Tokenizer;

use super::Example;
use super::error::DataError;
use super::json::{Json, Object};
use super::model_files::ModelFiles;
use super::said::{Conversation, Message, Row};
use super::skip::SkipReason;
use super::tokenise::{Tokenised, Tokeniser};

/// Stands for an answer that is not there. A letter, so that no template strips it.
const STAND_IN: &str = "x";

/// What an answer is to be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedPrompt {
    /// Its tokens, up to the answer.
    pub tokens: Vec<u32>,
    /// Its text, without special tokens.
    pub text: String,
    /// The answer that the row has, if it has one.
    pub reference: Option<String>,
}

/// Writes prompts for a model, and reads what it answers.
pub struct Answers {
    tokeniser: Tokeniser,
    /// Keeps the post-processor and all else that decoding needs.
    decoder: Tokenizer,
    /// A text is what a user says; else it is the beginning of a text.
    is_chat: bool,
    end_tokens: BTreeSet<u32>,
}

impl Answers {
    /// Loads the tokenizer and the chat template of a model folder. With `is_chat` a bare prompt is
    /// what a user says, as in a sweep that trains on conversations.
    pub fn load(model_dir: &Path, is_chat: bool) -> Result<Self, DataError> {
        let files = ModelFiles::new(model_dir);
        let (tokeniser, decoder) = (Tokeniser::load(model_dir)?, files.tokenizer()?);
        let mut answers = Self { tokeniser, decoder, is_chat, end_tokens: BTreeSet::new() };
        let stops = answers.tokeniser.model().stops.iter().flat_map(|stops| &stops.ids);
        answers.end_tokens = stops.filter_map(|id| u32::try_from(*id).ok()).collect();
        answers.end_tokens.insert(answers.tokeniser.eos());
        // Where a chat template ends turns in a token that generation_config.json does not list.
        let row = answers.row_of_text(STAND_IN.to_owned());
        if let Ok(Tokenised { notes, .. }) = answers.tokeniser.tokenise(&row, usize::MAX) {
            answers.end_tokens.extend(notes.end);
        }
        Ok(answers)
    }

    /// The tokens that end an answer.
    pub fn end_tokens(&self) -> Vec<u32> {
        self.end_tokens.iter().copied().collect()
    }

    /// A bare prompt.
    pub fn of_text(&self, text: &str) -> Result<AskedPrompt, String> {
        self.without_answer(&self.row_of_text(text.to_owned()))
    }

    /// A conversation that the assistant is to continue, by the roles and texts of its turns.
    pub fn of_turns<'a>(
        &self,
        turns: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<AskedPrompt, String> {
        self.without_answer(&conversation(turns))
    }

    /// A JSON object: a row of any schema, whose last answer becomes the reference, or one without an
    /// answer: `{"prompt": ...}`, `{"messages": [...]}` that ends with a user's turn, or
    /// `{"instruction": ..., "input": ...}`.
    pub fn of_row(&self, line: &str) -> Result<AskedPrompt, String> {
        let row = Json::from_text(line).map_err(|error| format!("malformed JSON: {error}"))?;
        let mut fields = row.as_object().ok_or("a prompt is a JSON object")?.clone();
        if let (1, Some(Json::String(text))) = (fields.len(), fields.get("prompt")) {
            return self.of_text(text);
        }
        let has_answer = !add_answer(&mut fields);
        let (_, row) = Row::from_object(&fields).map_err(|reason| reason.to_string())?;
        if !has_answer {
            return self.without_answer(&row);
        }
        let example = self.tokenise(&row)?;
        self.of_example(&example).ok_or_else(no_prompt)
    }

    /// A tokenised row, cut before its last answer; `None` for a row of plain text, which has no
    /// prompt.
    pub fn of_example(&self, example: &Example) -> Option<AskedPrompt> {
        let (start, end) = last_answer(&example.loss_mask)?;
        if start <= self.tokeniser.start().input_ids.len().max(1) {
            return None;
        }
        let tokens = example.input_ids[..start].to_vec();
        let text = self.text(&tokens);
        let reference = Some(self.text(&example.input_ids[start..end]));
        Some(AskedPrompt { tokens, text, reference })
    }

    /// The text of an answer so far, without special tokens.
    pub fn text(&self, tokens: &[u32]) -> String {
        self.decoder.decode(tokens, true).unwrap_or_else(|error| format!("({error})"))
    }

    fn row_of_text(&self, text: String) -> Row {
        if self.is_chat {
            return conversation([("user", text.as_str())]);
        }
        Row::Completion { prompt: text, completion: STAND_IN.to_owned() }
    }

    fn without_answer(&self, row: &Row) -> Result<AskedPrompt, String> {
        let example = self.tokenise(row)?;
        let asked = self.of_example(&example).ok_or_else(no_prompt)?;
        Ok(AskedPrompt { reference: None, ..asked })
    }

    fn tokenise(&self, row: &Row) -> Result<Example, String> {
        let reason = |reason: SkipReason| reason.to_string();
        Ok(self.tokeniser.tokenise(row, usize::MAX).map_err(reason)?.example)
    }
}

/// A conversation with the stand-in behind it.
fn conversation<'a>(turns: impl IntoIterator<Item = (&'a str, &'a str)>) -> Row {
    let turn = |(role, content): (&str, &str), is_target| Message {
        role: role.to_owned(),
        content: Some(content.to_owned()),
        fields: Object::default(),
        is_target,
    };
    let said = turns.into_iter().map(|said| turn(said, false));
    let messages = said.chain([turn(("assistant", STAND_IN), true)]).collect();
    Row::Messages(Conversation { messages, ..Conversation::default() })
}

fn no_prompt() -> String {
    "there is no prompt before the answer".to_owned()
}

/// Where the last run of targets begins and ends.
fn last_answer(loss_mask: &[bool]) -> Option<(usize, usize)> {
    let end = loss_mask.iter().rposition(|is_target| *is_target)? + 1;
    let start = loss_mask[..end].iter().rposition(|is_target| !*is_target)? + 1;
    Some((start, end))
}

/// Gives a row without an answer the stand-in; false where it has an answer.
fn add_answer(fields: &mut Object) -> bool {
    let said = |name: &str, text: &str| (name.to_owned(), Json::String(text.to_owned()));
    for (list, role, content, assistant) in [
        ("messages", "role", "content", "assistant"),
        ("conversations", "from", "value", "gpt"),
        ("conversations", "role", "content", "assistant"),
    ] {
        let Some(Json::Array(turns)) = fields.get_mut(list) else { continue };
        let last = turns.last().and_then(Json::as_object).and_then(|turn| turn.get(role));
        if let Some(Json::String(last)) = last
            && last != assistant
        {
            turns.push(Json::Object(Object::from_iter([
                said(role, assistant),
                said(content, STAND_IN),
            ])));
            return true;
        }
    }
    for (prompt, answer) in [("prompt", "completion"), ("instruction", "output")] {
        let is_said = |name: &str| fields.get(name).is_some_and(|value| !value.is_void());
        if is_said(prompt) && !is_said(answer) && !is_said("chosen") {
            let (name, text) = said(answer, STAND_IN);
            let is_list = matches!(fields.get(prompt), Some(Json::Array(_)));
            let turn = || Object::from_iter([said("role", "assistant"), said("content", STAND_IN)]);
            let answer = if is_list { Json::Array(vec![Json::Object(turn())]) } else { text };
            fields.insert(name, answer);
            return true;
        }
    }
    false
}

/// An answer while it is written: what of its text may be shown, and whether a stop string ended it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerText {
    tokens: Vec<u32>,
    /// Bytes of the text that were given out.
    shown: usize,
    text: String,
    is_stopped: bool,
}

impl AnswerText {
    /// Takes the next token and returns the text that can be shown now. A part of a character, and
    /// what may turn out to be a stop string, are kept back.
    pub fn push(&mut self, token: u32, answers: &Answers, stops: &[String]) -> &str {
        self.tokens.push(token);
        self.text = answers.text(&self.tokens);
        let found = stops.iter().filter(|stop| !stop.is_empty());
        if let Some(at) = found.filter_map(|stop| self.text.find(stop.as_str())).min() {
            self.text.truncate(at);
            self.is_stopped = true;
            return self.show(self.text.len());
        }
        let whole = self.text.trim_end_matches('\u{fffd}').len();
        let held = stops.iter().map(|stop| begun(&self.text[..whole], stop)).max().unwrap_or(0);
        self.show(whole - held)
    }

    /// What is left to show when no token follows.
    pub fn rest(&mut self) -> &str {
        self.show(self.text.len())
    }

    /// The answer, without the stop string that ended it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a stop string ended it.
    pub const fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    fn show(&mut self, until: usize) -> &str {
        // A decoder may write earlier characters otherwise once more tokens follow.
        let from = self.shown.min(until);
        let from = if self.text.is_char_boundary(from) { from } else { until };
        self.shown = self.shown.max(until);
        &self.text[from..until]
    }
}

/// Bytes at the end of a text with which a stop string begins.
fn begun(text: &str, stop: &str) -> usize {
    let prefixes = stop.char_indices().map(|(at, _)| at).rev();
    prefixes.into_iter().find(|at| text.ends_with(&stop[..*at])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Byte-level, with a post-processor that adds `<s>`; `</s>` ends a sequence.
    fn model() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_data/model")
    }

    fn answers(is_chat: bool) -> Answers {
        Answers::load(&model(), is_chat).expect("a whole model folder")
    }

    fn tokens(answers: &Answers, text: &str) -> Vec<u32> {
        answers.decoder.encode(text, false).expect("byte-level").get_ids().to_vec()
    }

    #[test]
    fn a_prompt_has_the_tokens_that_a_row_has_before_its_answer() {
        for is_chat in [false, true] {
            let answers = answers(is_chat);
            let asked = answers.of_text("What is it?").expect("a prompt");
            let row = answers.row_of_text("What is it?".to_owned());
            let row = answers.tokenise(&row).expect("a row");
            let (start, _) = last_answer(&row.loss_mask).expect("an answer");
            assert_eq!(asked.tokens, row.input_ids[..start]);
            assert!(asked.text.contains("What is it?") && asked.reference.is_none());
        }
    }

    #[test]
    fn rows_with_and_without_an_answer_give_the_same_prompt() {
        let chat = answers(true);
        for (bare, whole) in [
            (
                r#"{"messages": [{"role": "user", "content": "hi"}]}"#,
                r#"{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}"#,
            ),
            (
                r#"{"conversations": [{"from": "human", "value": "hi"}]}"#,
                r#"{"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]}"#,
            ),
            (
                r#"{"instruction": "say", "input": "hi"}"#,
                r#"{"instruction": "say", "input": "hi", "output": "yo"}"#,
            ),
        ] {
            let bare = chat.of_row(bare).expect("a prompt");
            let whole = chat.of_row(whole).expect("a row");
            assert_eq!(bare.tokens, whole.tokens);
            assert_eq!((bare.reference, whole.reference.as_deref()), (None, Some("yo")));
        }
        let text = answers(false);
        let whole = text.of_row(r#"{"prompt": "2+2=", "completion": "4"}"#).expect("a row");
        assert_eq!(text.of_text("2+2=").expect("a prompt").tokens, whole.tokens);
        assert_eq!(text.of_row(r#"{"prompt": "2+2="}"#).expect("a row").tokens, whole.tokens);
    }

    #[test]
    fn turns_have_the_tokens_of_a_row_with_the_same_messages() {
        let answers = answers(false);
        let row = r#"{"messages": [{"role": "system", "content": "s"},
            {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"},
            {"role": "user", "content": "and?"}]}"#;
        let turns = [("system", "s"), ("user", "hi"), ("assistant", "yo"), ("user", "and?")];
        let asked = answers.of_turns(turns).expect("a conversation");
        assert_eq!(asked.tokens, answers.of_row(row).expect("a prompt").tokens);
    }

    #[test]
    fn what_is_no_prompt_is_refused_and_says_why() {
        let answers = answers(false);
        for (row, why) in
            [("[1]", "object"), ("{", "malformed"), (r#"{"text": "all of it"}"#, "no prompt")]
        {
            let error = answers.of_row(row).expect_err(row);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn of_several_answers_the_last_is_asked_for() {
        assert_eq!(last_answer(&[false, true, true, false, true, false]), Some((4, 5)));
        assert_eq!(last_answer(&[false, false]), None);
        assert_eq!(last_answer(&[true, true]), None);
    }

    #[test]
    fn the_end_of_the_sequence_ends_an_answer() {
        let answers = answers(false);
        assert!(answers.end_tokens().contains(&tokens(&answers, "</s>")[0]));
    }

    #[test]
    fn a_character_of_several_tokens_is_shown_whole_and_once() {
        let answers = answers(false);
        let (mut answer, mut shown) = (AnswerText::default(), Vec::new());
        for token in tokens(&answers, "Việt 🙂!") {
            shown.push(answer.push(token, &answers, &[]).to_owned());
        }
        shown.push(answer.rest().to_owned());
        assert!(shown.len() > 8 && shown.iter().all(|piece| !piece.contains('\u{fffd}')));
        assert_eq!(shown.concat(), "Việt 🙂!");
        assert_eq!(answer.text(), "Việt 🙂!");
    }

    #[test]
    fn a_stop_string_is_never_shown_and_what_only_looks_like_one_is() {
        let answers = answers(false);
        let of = |text: &str, stops: &[&str]| {
            let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
            let (mut answer, mut shown) = (AnswerText::default(), String::new());
            for token in tokens(&answers, text) {
                shown += answer.push(token, &answers, &stops);
                if answer.is_stopped() {
                    break;
                }
            }
            shown += answer.rest();
            assert_eq!(shown, answer.text());
            (shown, answer.is_stopped())
        };
        assert_eq!(of("one\n\ntwo", &["\n\n"]), ("one".to_owned(), true));
        assert_eq!(of("one\ntwo\n", &["\n\n"]), ("one\ntwo\n".to_owned(), false));
        assert_eq!(of("abcabd", &["abd", "zz"]), ("abc".to_owned(), true));
        assert_eq!(of("one", &[""]), ("one".to_owned(), false));
    }
}
