//! A model without a chat template learns conversations in a form that the template of its export
//! writes in transformers, token for token (`scripts/golden/make_plain_chat_golden.py` writes what
//! is expected).

use std::fs;
use std::path::{Path, PathBuf};

use data::{PreparedData, prepare};
use serde_json::Value;
use spec::{DataSettings, ValidationSource};

const FOLDER: &str = "tests/golden_plain_chat";

fn golden() -> Value {
    let text = fs::read_to_string(Path::new(FOLDER).join("golden.json")).expect("golden values");
    serde_json::from_str(&text).expect("golden values are JSON")
}

fn kinds() -> Vec<(String, Value)> {
    let golden = golden();
    let kinds = golden["kinds"].as_object().expect("kinds by name");
    assert_eq!(kinds.len(), 5);
    kinds.iter().map(|(name, kind)| (name.clone(), kind.clone())).collect()
}

fn folder(kind: &str) -> PathBuf {
    Path::new(FOLDER).join(kind)
}

fn template(kind: &str) -> String {
    fs::read_to_string(folder(kind).join("chat_template.jinja")).expect("a template")
}

/// The golden conversations under the tokenizer of that kind, with or without a template.
fn prepared(kind: &str, template: Option<&str>) -> PreparedData {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(folder(kind).join(name), dir.path().join(name)).expect("copying the tokenizer");
    }
    if let Some(template) = template {
        fs::write(dir.path().join("chat_template.jinja"), template).expect("writing the template");
    }
    let golden = golden();
    let conversations = golden["conversations"].as_array().expect("a list");
    let lines = conversations.iter().map(|turns| serde_json::json!({ "messages": turns }));
    let lines: Vec<String> = lines.map(|line| line.to_string()).collect();
    let path = dir.path().join("rows.jsonl");
    fs::write(&path, lines.join("\n")).expect("writing the rows");
    let settings = DataSettings::new(&path, ValidationSource::File(path.clone()));
    prepare(&settings, dir.path(), 4096).expect("usable rows")
}

fn ids(data: &PreparedData) -> Value {
    data.train.examples.iter().map(|example| example.input_ids.clone()).collect()
}

#[test]
fn what_is_learnt_without_a_template_is_what_transformers_writes_with_the_exported_one() {
    for (name, kind) in kinds() {
        let data = prepared(&name, None);
        let plain = data.plain_chat.as_ref().expect("plain conversations");
        assert_eq!(plain.chat_template.as_deref(), Some(&*template(&name)), "{name}");
        assert_eq!(ids(&data), kind["input_ids"], "{name}");
    }
}

#[test]
fn the_exported_template_gives_the_same_tokens_when_a_model_has_it() {
    for (name, _) in kinds() {
        let with = prepared(&name, Some(&template(&name)));
        assert!(with.plain_chat.is_none(), "{name}: it has a template");
        assert_eq!(ids(&with), ids(&prepared(&name, None)), "{name}");
    }
}

#[test]
fn the_generation_prompt_of_transformers_is_what_stands_before_an_answer() {
    for (name, kind) in kinds() {
        let prompt = kind["prompt"].as_str().expect("a text");
        let shown = "### User:\nWhere is it?\n\n### Assistant:\n";
        assert!(prompt.ends_with(shown), "{name}: {prompt}");
    }
}

#[test]
fn a_tokenizer_that_reads_no_end_token_from_text_has_no_template_for_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let text = fs::read_to_string(folder("qwen").join("tokenizer.json")).expect("a tokenizer");
    let mut tokenizer: Value = serde_json::from_str(&text).expect("JSON");
    tokenizer["added_tokens"] = Value::Array(Vec::new());
    fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).expect("written");
    // A token that tokenizer_config.json names would be read from text.
    fs::write(dir.path().join("config.json"), r#"{"eos_token_id": 0}"#).expect("written");
    let rows = dir.path().join("rows.jsonl");
    let row = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
    fs::write(&rows, row).expect("written");
    let settings = DataSettings::new(&rows, ValidationSource::File(rows.clone()));
    let data = prepare(&settings, dir.path(), 4096).expect("usable rows");
    assert_eq!(data.plain_chat.as_ref().expect("plain").chat_template, None);
    let example = &data.train.examples[0];
    assert_eq!(example.input_ids.last(), Some(&0), "the end token is learnt all the same");
    assert_eq!(example.loss_mask.last(), Some(&true));
}
