//! `lorasweep generate`: answers of a sweep that ran.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{Ran, lorasweep, lorasweep_told, prepare};

/// The quickstart, trained for this many epochs.
fn trained(dir: &Path, epochs: u32) {
    prepare(dir, epochs, "max_packed: 2");
    let ran = lorasweep(dir, &["run", "s.yaml", "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

fn generate(dir: &Path, more: &[&str]) -> Ran {
    lorasweep(dir, &[&["generate", "results/s"], more].concat())
}

fn json(dir: &Path, more: &[&str]) -> Value {
    let ran = generate(dir, &[more, &["--json"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn the_chosen_run_answers_beside_the_base() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path(), 8);

    let metrics = ["--metric", "exact_match", "--metric", "chrf"];
    let found = json(dir.path(), &[&["-n", "7"], &metrics[..]].concat());
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 7);
    let lines = fs::read_to_string(dir.path().join("quickstart/validation.jsonl")).unwrap();
    for (row, line) in rows.iter().zip(lines.lines()) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["prompt"].as_str().unwrap(), line["prompt"].as_str().unwrap());
        let reference = row["reference"].as_str().unwrap();
        assert_eq!(reference.trim(), line["completion"].as_str().unwrap().trim());
        let answers = row["answers"].as_array().unwrap();
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[0]["writer"], "base");
        assert!(answers[1]["writer"].as_str().unwrap().starts_with("trial "));
        for answer in answers {
            let exact = f64::from(answer["text"].as_str().unwrap().trim() == reference.trim());
            assert_eq!(answer["scores"]["exact_match"].as_f64().unwrap(), exact);
        }
    }
    let means = found["means"].as_array().unwrap();
    assert_eq!(means.len(), 4);
    let chrf = |writer: usize| means[2 + writer]["mean"].as_f64().unwrap();
    assert!(chrf(1) > chrf(0), "training teaches something of the code book: {means:?}");

    // What is shown is what was answered, in the same order.
    let shown = generate(dir.path(), &[&["-n", "7"], &metrics[..]].concat());
    let mut rest = shown.stdout.as_str();
    for row in rows {
        for answer in row["answers"].as_array().unwrap() {
            let text = answer["text"].as_str().unwrap().lines().next().unwrap_or_default();
            let at = rest.find(text).unwrap_or_else(|| panic!("{text:?} in {rest}"));
            rest = &rest[at + text.len()..];
        }
    }
    assert!(shown.stdout.contains("exact_match of base: 0."), "{}", shown.stdout);
}

#[test]
fn prompts_come_from_the_command_line_or_a_file_and_are_those_of_training() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path(), 1);
    let row = json(dir.path(), &["-n", "1"])["rows"][0].clone();
    let prompt = row["prompt"].as_str().unwrap();

    let bare = json(dir.path(), &["--prompt", prompt]);
    let texts = |row: &Value| {
        let answers = row["answers"].as_array().unwrap().iter();
        answers.map(|answer| answer["text"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(texts(&bare["rows"][0]), texts(&row));
    assert_eq!(bare["rows"][0]["reference"], Value::Null);

    let line = serde_json::json!({ "prompt": prompt }).to_string();
    fs::write(dir.path().join("p.jsonl"), format!("{line}\n\n{line}\n")).unwrap();
    let of_file = json(dir.path(), &["--file", "p.jsonl", "--base"]);
    assert_eq!(of_file["rows"].as_array().unwrap().len(), 2);
    assert_eq!(of_file["rows"][1]["place"], "p.jsonl:3");
    assert_eq!(texts(&of_file["rows"][1]), texts(&row)[..1]);

    // A stop string ends the answer, and a length.
    let first_word = texts(&row)[0].as_str().unwrap().split_whitespace().next().unwrap().to_owned();
    let stopped = json(dir.path(), &["--prompt", prompt, "--stop", &first_word]);
    let answer = &stopped["rows"][0]["answers"][0];
    assert_eq!(
        (answer["finish"].as_str(), answer["text"].as_str().map(str::trim)),
        (Some("stop"), Some(""))
    );
    let short = json(dir.path(), &["--prompt", prompt, "--max-new-tokens", "1"]);
    assert_eq!(short["rows"][0]["answers"][0]["tokens"], 1);

    // What is drawn depends on the seed alone.
    let drawn =
        |seed| json(dir.path(), &["--prompt", prompt, "--temperature", "3", "--seed", seed]);
    assert_eq!(texts(&drawn("1")["rows"][0]), texts(&drawn("1")["rows"][0]));
    assert_ne!(texts(&drawn("1")["rows"][0]), texts(&drawn("2")["rows"][0]));
}

#[test]
fn what_cannot_be_answered_is_refused_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path(), 1);
    fs::write(dir.path().join("bad.jsonl"), "{\"prompt\": \"a\"}\n{\"text\": \"b\"}\n").unwrap();
    for (arguments, why) in [
        (&["--file", "bad.jsonl"][..], "bad.jsonl:2: there is no prompt"),
        (&["--file", "none.jsonl"], "none.jsonl"),
        (&["--trial", "9"], "no trial 009"),
        (&["--set", "test"], "the test set has 0 rows"),
        (&["--metric", "bleu"], "there is no metric `bleu`"),
        (&["--trial", "1", "--base"], "cannot be used with"),
        (&["--temperature", "-1"], "0 or more"),
    ] {
        let ran = generate(dir.path(), arguments);
        assert_ne!(ran.code, 0, "{arguments:?}");
        assert!(ran.stderr.contains(why), "{arguments:?}: {}", ran.stderr);
    }
    // Rows that are not those of the sweep would be answered as if they were.
    fs::write(dir.path().join("quickstart/validation.jsonl"), "{}").unwrap();
    let ran = generate(dir.path(), &[]);
    assert!(ran.stderr.contains("has changed since the sweep ran"), "{}", ran.stderr);
}

#[test]
fn a_conversation_from_a_pipe_keeps_its_turns_until_it_is_reset() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path(), 2);
    let chat = |lines: &str, more: &[&str]| {
        let told = ["generate", "results/s", "--chat", "--max-new-tokens", "8"];
        let ran = lorasweep_told(dir.path(), &[&told, more].concat(), lines);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran
    };
    let said = |ran: &Ran, who: &str| -> Vec<String> {
        let begins = format!("  {who}");
        let lines = ran.stdout.lines().filter(|line| line.starts_with(&begins));
        lines.map(str::to_owned).collect()
    };
    let ran = chat("Hello\n\n/reset\nHello\nHello", &["--temperature", "0"]);
    assert_eq!(said(&ran, "you"), ["  you        Hello"; 3], "{}", ran.stdout);
    let answers = said(&ran, "trial ");
    assert_eq!(answers.len(), 3, "{}", ran.stdout);
    assert_eq!(answers[0], answers[1], "after a reset the conversation begins anew");
    assert!(ran.stderr.contains("begins anew"), "{}", ran.stderr);

    // A turn is answered as the same messages are from a file.
    let row = r#"{"messages": [{"role": "user", "content": "Hello"}]}"#;
    fs::write(dir.path().join("row.jsonl"), row).unwrap();
    let alone = json(dir.path(), &["--file", "row.jsonl", "--max-new-tokens", "8"]);
    let texts: Vec<&str> = alone["rows"][0]["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| answer["text"].as_str().unwrap().trim().lines().next().unwrap_or_default())
        .collect();
    assert!(answers[0].contains(texts[1]), "{answers:?} {texts:?}");
    let base = chat("Hello", &["--base"]);
    assert!(said(&base, "base")[0].contains(texts[0]), "{} {texts:?}", base.stdout);

    let ran = generate(dir.path(), &["--chat", "--json"]);
    assert!(ran.stderr.contains("cannot be used with"), "{}", ran.stderr);
}

#[test]
fn a_line_that_is_not_text_ends_a_conversation_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    trained(dir.path(), 1);
    fs::write(dir.path().join("bytes"), b"\xff\xfe\n").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_lorasweep"))
        .args(["generate", "results/s", "--chat"])
        .current_dir(dir.path())
        .stdin(fs::File::open(dir.path().join("bytes")).unwrap())
        .output()
        .unwrap();
    let ran = Ran::from(output);
    assert!(ran.code == 2 && ran.stderr.contains("must be UTF-8 text"), "{}", ran.stderr);
}
