//! A merged model is compared with base and adapter when it is exported.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use std::fs;
use std::path::Path;

use crate::common::lorasweep;
use serde_json::{Value, json};

/// A short sweep on conversations, of one trial on the embedded base, which has no chat template.
fn run(dir: &Path, line: &str) {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/quickstart/base");
    for (file, rows) in [("train.jsonl", 12), ("validation.jsonl", 5)] {
        let row = |index: usize| {
            let user = json!({ "role": "user", "content": format!("code: {file} {index}") });
            let answer = json!({ "role": "assistant", "content": format!("big {index}") });
            json!({ "messages": [user, answer] }).to_string() + "\n"
        };
        fs::write(dir.join(file), (0..rows).map(row).collect::<String>()).unwrap();
    }
    let text = format!(
        "name: s\nmethod: grid\nmodel: {}\n{line}\nparameters: {{rank: 24, learning_rate: 0.002}}\n\
         data: {{train: train.jsonl, validation: validation.jsonl}}\n\
         train: {{epochs: 1, batch_size: 4, max_seq_len: 128}}\nexecutor: {{devices: cpu}}\n",
        base.canonicalize().unwrap().display(),
    );
    fs::write(dir.join("s.yaml"), text).unwrap();
    let ran = lorasweep(dir, &["run", "s.yaml", "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

fn origin(dir: &Path, out: &str) -> Value {
    let text = fs::read_to_string(dir.join(out).join("lorasweep.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn card(dir: &Path, out: &str) -> String {
    fs::read_to_string(dir.join(out).join("README.md")).unwrap()
}

#[test]
fn the_difference_is_printed_and_recorded_and_without_rows_it_is_said_why_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(dir, "");
    let merge = |out: &str| lorasweep(dir, &["export", "results/s", "--merge", "--to", out]);
    let ran = merge("whole");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("\nOn 5 validation rows ("), "{}", ran.stdout);
    let found = &origin(dir, "whole")["merged"];
    assert_eq!(found["rows"], 5);
    let number = |key: &str| found[key].as_f64().unwrap();
    assert!(number("mean_logprob_difference") <= number("max_logprob_difference"));
    assert!(number("max_logprob_difference") < 0.1, "{found}");
    let reported = origin(dir, "whole")["eval_loss"].as_f64().unwrap();
    assert!((number("adapter_loss") - reported).abs() < 1e-3, "{found}, reported {reported}");
    assert!(card(dir, "whole").contains("On 5 validation rows ("), "{}", card(dir, "whole"));
    assert!(dir.join("whole/chat_template.jinja").is_file());

    let adapter = lorasweep(dir, &["export", "results/s", "--to", "adapter"]);
    assert_eq!((adapter.code, &*adapter.stderr), (0, ""));
    assert!(card(dir, "adapter").contains("--enable-lora --max-lora-rank 32 --lora-modules"));
    let template = fs::read_to_string(dir.join("adapter/chat_template.jinja")).unwrap();
    assert!(template.contains("\"### Assistant:\\n\""), "{template}");

    fs::write(dir.join("validation.jsonl"), "{}\n").unwrap();
    let ran = merge("changed");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("could not be checked: the validation data file"),
        "{}",
        ran.stderr
    );
    fs::remove_file(dir.join("validation.jsonl")).unwrap();
    let ran = merge("gone");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let why = origin(dir, "gone")["merged"]["not_compared"].as_str().unwrap().to_owned();
    assert!(why.contains("validation.jsonl"), "{why}");
    assert!(card(dir, "gone").contains("was not compared"), "{}", card(dir, "gone"));
}

#[test]
fn for_a_quantised_base_it_is_said_which_weights_it_is_merged_into() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), "quantization: nf4");
    let ran = lorasweep(dir.path(), &["export", "results/s", "--merge", "--to", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let said = "The adapter was trained on an nf4 base and is merged into the unquantised weights";
    assert!(ran.stdout.contains(said), "{}", ran.stdout);
    assert!(ran.stdout.contains("of an nf4 base with the adapter differ by"), "{}", ran.stdout);
    assert!(card(dir.path(), "out").contains(said));
    let found = &origin(dir.path(), "out")["merged"];
    assert_eq!(found["trained_on"], "an nf4 base");
    let reported = origin(dir.path(), "out")["eval_loss"].as_f64().unwrap();
    let adapter_loss = found["adapter_loss"].as_f64().unwrap();
    assert!((adapter_loss - reported).abs() < 1e-3, "{found}, reported {reported}");
}
