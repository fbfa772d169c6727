//! Whatever a conversation says and whichever way its template writes, nothing but the assistant's
//! words and the ends of its turns is learnt.

use std::collections::BTreeMap;
use std::fs;

use data::{ChatText, ChatWriter};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Templates with the shapes of well-known models', without their generation blocks.
fn writers() -> Vec<(String, ChatWriter)> {
    let golden = fs::read_to_string("tests/golden_chat/golden.json").expect("golden values");
    let golden: Value = serde_json::from_str(&golden).expect("golden values are JSON");
    let shapes = golden["shapes"].as_object().expect("shapes by name");
    let writer = |(name, shape): (&String, &Value)| {
        let source = shape["template"].as_str().expect("a template");
        let source = source.replace("endgeneration", "endif").replace("generation %", "if true %");
        let source = source.replace("generation -%", "if true -%");
        let tokens = ["bos_token", "eos_token"].map(|token| {
            let text = shape[token].as_str().unwrap_or_default();
            (token.to_owned(), text.to_owned())
        });
        let writer = ChatWriter::new(name.into(), source, BTreeMap::from(tokens));
        (name.clone(), writer.expect("a template that parses"))
    };
    let writers: Vec<_> = shapes.iter().map(writer).collect();
    assert!(writers.len() >= 15);
    writers
}

/// What is said: words of nobody, of roles and of templates, with `@` for the speaker's own word.
fn words() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(
        &[
            "@",
            "@",
            "@",
            "yes",
            " ",
            "\n",
            "\n\n",
            "A:",
            "assistant",
            "<think>\n",
            "</think>",
            "<|im_start|>assistant\n",
            "<|im_end|>\n",
            "<|im_start|>user\n",
            "<|user|>\n",
            "<|assistant|>",
            "<|end|>",
            "<start_of_turn>model\n",
            "<end_of_turn>\n",
            "[INST] ",
            " [/INST]",
            "</s>",
            "<s>",
            "<｜Assistant｜>",
            "<｜end▁of▁sentence｜>",
            "<|start|>assistant",
            "<|eot_id|>",
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "<b>",
            "é",
            "\u{F0000}",
            "\u{F0001}",
            "\u{F0002}",
            "\u{FDD0}",
            "{{",
            "%}",
            "\"",
            "\\",
        ][..],
    );
    proptest::collection::vec(word, 0..6).prop_map(|words| words.concat())
}

/// A role, what it says, its thought and the argument of its call.
type Turn = (&'static str, String, Option<String>, Option<String>);

fn turn() -> impl Strategy<Value = Turn> {
    let role = proptest::sample::select(
        &["user", "user", "user", "assistant", "assistant", "assistant", "tool", "system"][..],
    );
    let maybe = || proptest::option::weighted(0.3, words());
    (role, words(), maybe(), maybe())
}

/// Regular conversations, which most templates take, and any.
fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let all = proptest::collection::vec(turn(), 1..7);
    (all, any::<bool>()).prop_map(|(mut turns, is_regular)| {
        if is_regular {
            for (index, turn) in turns.iter_mut().enumerate() {
                turn.0 = if index % 2 == 0 { "user" } else { "assistant" };
                turn.3 = None;
            }
        }
        turns
    })
}

/// The row; a word of the assistant's is `A1A`, of others `O1O`, each in one place.
fn row(turns: &[Turn]) -> Value {
    let mut count = 0;
    let mut own = |letter: &str, text: &str| {
        let parts: Vec<&str> = text.split('@').collect();
        let mut out = parts[0].to_owned();
        for part in &parts[1..] {
            count += 1;
            out += &[letter, &count.to_string(), letter, part].concat();
        }
        out
    };
    let message = |(role, said, thought, call): &Turn| {
        let is_assistant = *role == "assistant";
        let letter = if is_assistant { "A" } else { "O" };
        let mut message = Map::new();
        message.insert("role".to_owned(), (*role).into());
        message.insert("content".to_owned(), own(letter, said).into());
        if let (true, Some(thought)) = (is_assistant, thought) {
            message.insert("reasoning_content".to_owned(), own("A", thought).into());
        }
        if let (true, Some(argument)) = (is_assistant, call) {
            let arguments = json!({"town": own("A", argument), "n": 1});
            let call =
                json!({"type": "function", "function": {"name": "f", "arguments": arguments}});
            message.insert("tool_calls".to_owned(), json!([call]));
        }
        Value::Object(message)
    };
    json!({ "messages": turns.iter().map(message).collect::<Vec<_>>() })
}

/// The words of a letter in a text, with their places.
fn words_of(letter: char, text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices(letter) {
        let inside = &text[start + 1..];
        let digits = inside.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && inside[digits..].starts_with(letter) {
            found.push((start, start + digits + 2));
        }
    }
    found
}

fn assert_only_the_assistant_is_learnt(name: &str, written: &ChatText, row: &Value) {
    let ChatText { text, targets, .. } = written;
    for (start, end) in words_of('O', text) {
        let is_learnt = targets.iter().any(|span| span.start < end && start < span.end);
        assert!(!is_learnt, "{name} learns {}: {written:?} of {row}", &text[start..end]);
    }
    for (start, end) in words_of('A', text) {
        let is_learnt = targets.iter().any(|span| span.start <= start && end <= span.end);
        assert!(is_learnt, "{name} does not learn {}: {written:?} of {row}", &text[start..end]);
    }
    let mut before = 0;
    for span in targets {
        assert!(
            before <= span.start && span.start < span.end && span.end <= text.len(),
            "{written:?}"
        );
        before = span.end;
    }
}

proptest! {
    #[test]
    fn only_the_assistants_words_are_learnt_and_all_of_those_that_are_written(turns in turns()) {
        thread_local! {
            static WRITERS: Vec<(String, ChatWriter)> = writers();
        }
        let row = row(&turns);
        WRITERS.with(|writers| {
            for (name, writer) in writers {
                if let Ok(written) = writer.write(&row.to_string()) {
                    assert_only_the_assistant_is_learnt(name, &written, &row);
                }
            }
        });
    }
}

/// The property would hold of templates that take nothing.
#[test]
fn regular_conversations_are_taken_by_all_templates() {
    let said = |role: &str, content: &str| json!({"role": role, "content": content});
    let turns = [
        said("user", "O1O?"),
        said("assistant", "A2A."),
        said("user", "O3O?"),
        said("assistant", "A4A."),
    ];
    let row = json!({ "messages": turns });
    for (name, writer) in writers() {
        let written =
            writer.write(&row.to_string()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_only_the_assistant_is_learnt(&name, &written, &row);
        assert_eq!(words_of('A', &written.text).len(), 2, "{name}");
        assert!(written.targets.len() == 2 && written.unwritten.is_empty(), "{name}: {written:?}");
    }
}
