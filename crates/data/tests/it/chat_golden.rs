//! Conversations rendered and masked as transformers does it, for templates of ten shapes
//! (`scripts/golden/make_chat_golden.py` writes what is expected).

use std::fs;
use std::path::Path;

use data::{DataError, Example, PreparedData, prepare};
use serde_json::{Value, json};
use spec::{DataSettings, ValidationSource};

const FOLDER: &str = "tests/golden_chat";

fn shapes() -> Vec<(String, Value)> {
    let text = fs::read_to_string(Path::new(FOLDER).join("golden.json")).expect("golden values");
    let golden: Value = serde_json::from_str(&text).expect("golden values are JSON");
    let shapes = golden["shapes"].as_object().expect("shapes by name");
    shapes.iter().map(|(name, shape)| (name.clone(), shape.clone())).collect()
}

fn cases<'a>(shape: &'a Value, what: &str) -> &'a [Value] {
    shape[what].as_array().expect("a list of cases")
}

/// A row as its file has it, with the keys of tools in the order in which they are to be printed.
fn row(case: &Value) -> &str {
    case["row"].as_str().expect("a line")
}

/// Prepares the rows with a model of that shape, whose template is given.
fn prepared(shape: &Value, template: &str, rows: &[&str]) -> Result<PreparedData, DataError> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).expect("writing a file of the model");
    };
    fs::copy(Path::new(FOLDER).join("tokenizer.json"), dir.path().join("tokenizer.json"))
        .expect("copying the tokenizer");
    let tokens = json!({"bos_token": shape["bos_token"], "eos_token": shape["eos_token"]});
    write("tokenizer_config.json", &tokens.to_string());
    write("chat_template.jinja", template);
    write("rows.jsonl", &rows.join("\n"));
    let path = dir.path().join("rows.jsonl");
    let settings = DataSettings::new(&path, ValidationSource::File(path.clone()));
    prepare(&settings, dir.path(), 4096)
}

fn expected(case: &Value) -> Example {
    let numbers = |field: &str| -> Vec<u64> {
        let list = case[field].as_array().expect("a list");
        list.iter().map(|number| number.as_u64().expect("a whole number")).collect()
    };
    let input_ids = numbers("input_ids").into_iter().map(|id| id as u32).collect();
    let loss_mask = numbers("assistant_masks").into_iter().map(|target| target == 1).collect();
    Example { input_ids, loss_mask }
}

/// The rows of all cases, in the order of the cases, equal transformers' with this template.
fn assert_as_transformers(name: &str, shape: &Value, template: &str) {
    let cases = cases(shape, "cases");
    let rows: Vec<&str> = cases.iter().map(row).collect();
    let data = prepared(shape, template, &rows).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(data.report.files[0].skipped, [], "{name}");
    for (index, (case, found)) in cases.iter().zip(&data.train.examples).enumerate() {
        let wanted = expected(case);
        let text = &case["text"];
        assert_eq!(found.input_ids, wanted.input_ids, "{name} {index}: {text}");
        assert_eq!(found.loss_mask, wanted.loss_mask, "{name} {index}: {text}");
    }
}

#[test]
fn tokens_and_masks_are_those_of_transformers() {
    let shapes = shapes();
    assert!(shapes.len() >= 8);
    for (name, shape) in &shapes {
        assert_as_transformers(name, shape, shape["template"].as_str().expect("a template"));
    }
}

/// Most published templates have no generation blocks; the same turns are found without them.
#[test]
fn masks_are_the_same_where_the_template_does_not_mark_them() {
    for (name, shape) in &shapes() {
        let template = shape["template"].as_str().expect("a template");
        let plain = template.replace("endgeneration", "endif").replace("generation %", "if true %");
        let plain = plain.replace("generation -%", "if true -%");
        assert_as_transformers(name, shape, &plain);
    }
}

#[test]
fn what_a_template_refuses_is_refused_with_its_words() {
    for (name, shape) in &shapes() {
        for case in cases(shape, "refused") {
            let template = shape["template"].as_str().expect("a template");
            let error = prepared(shape, template, &[row(case)]).err();
            let told = error.unwrap_or_else(|| panic!("{name} takes {case}")).to_string();
            let words = case["message"].as_str().expect("a message");
            assert!(told.contains(words), "{name}: {told} lacks {words}");
        }
    }
}
