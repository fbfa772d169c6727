//! Prompts with completions as transformers tokenises them, for tokenizers of six kinds
//! (`scripts/golden/make_tokens_golden.py` writes what is expected).

use std::fs;
use std::path::Path;

use data::{PreparedData, prepare};
use serde_json::{Value, json};
use spec::{DataSettings, ValidationSource};

const FOLDER: &str = "tests/golden_tokens";

fn golden() -> Value {
    let text = fs::read_to_string(Path::new(FOLDER).join("golden.json")).expect("golden values");
    serde_json::from_str(&text).expect("golden values are JSON")
}

fn prepared(kind: &str, rows: &[Value]) -> PreparedData {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("rows.jsonl");
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    fs::write(&path, lines.join("\n")).expect("writing the rows");
    let settings = DataSettings::new(&path, ValidationSource::File(path.clone()));
    prepare(&settings, &Path::new(FOLDER).join(kind), 512).unwrap_or_else(|e| panic!("{kind}: {e}"))
}

fn ids(case: &Value) -> Vec<u32> {
    let list = case["input_ids"].as_array().expect("a list of ids");
    list.iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// Completions that are blank are refused before they are tokenised.
fn usable(cases: &Value) -> Vec<&Value> {
    let cases = cases.as_array().expect("a list of rows").iter();
    cases.filter(|case| !case["completion"].as_str().expect("a text").trim().is_empty()).collect()
}

#[test]
fn a_prompt_and_its_completion_are_tokenised_as_one_text() {
    for (kind, cases) in golden().as_object().expect("kinds by name") {
        let cases = usable(&cases["rows"]);
        let rows: Vec<Value> = cases
            .iter()
            .map(|case| json!({"prompt": case["prompt"], "completion": case["completion"]}))
            .collect();
        let data = prepared(kind, &rows);
        assert_eq!(data.train.examples.len(), cases.len(), "{kind}");
        for (example, case) in data.train.examples.iter().zip(&cases) {
            let (end, text) = example.input_ids.split_last().expect("an end token");
            assert_eq!(text, ids(case), "{kind}: {case}");
            assert_eq!(data.report.model.names[end], data.report.model.eos);
            let first = example.loss_mask.iter().position(|target| *target);
            let expected = case["first_target"].as_u64().expect("a place") as usize;
            assert_eq!(first, Some(expected.max(1)), "{kind}: {case}");
            assert!(example.loss_mask[expected.max(1)..].iter().all(|target| *target));
        }
        let inside = cases.iter().filter(|case| case["is_inside"] == true).count();
        assert_eq!(data.report.files[0].notes.shared_tokens.rows, inside, "{kind}");
        assert!(inside > 0, "{kind}");
    }
}

#[test]
fn special_tokens_in_a_text_are_read_as_transformers_reads_them() {
    for (kind, cases) in golden().as_object().expect("kinds by name") {
        let cases = cases["texts"].as_array().expect("a list of texts");
        let rows: Vec<Value> = cases.iter().map(|case| json!({"text": case["text"]})).collect();
        let data = prepared(kind, &rows);
        for (example, case) in data.train.examples.iter().zip(cases) {
            assert_eq!(example.input_ids[..example.input_ids.len() - 1], ids(case), "{kind}");
        }
    }
}

#[test]
fn a_beginning_and_an_end_that_the_text_has_are_not_written_twice() {
    let rows = [
        json!({"prompt": "<s>code: house", "completion": " big</s>"}),
        json!({"prompt": "code: house", "completion": " big"}),
    ];
    let data = prepared("metaspace", &rows);
    let [with, without] = &data.train.examples[..] else { panic!("two rows") };
    let mut bos_and_text = with.input_ids.clone();
    bos_and_text.retain(|id| *id == 1 || *id == 2);
    assert_eq!(bos_and_text, [1, 2]);
    assert_eq!(with.targets(), without.targets());
    // Once as a training row and once as a validation row.
    let warnings = data.report.warnings().join("\n");
    assert!(warnings.contains("2 rows begin with `<s>`"), "{warnings}");
    assert!(warnings.contains("2 rows end in `</s>`"), "{warnings}");
}
