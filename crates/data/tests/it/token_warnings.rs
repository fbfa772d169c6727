//! What rows teach that a trained adapter would do wrong later, and what is said of it.

use std::fs;
use std::path::Path;

use data::{DataError, PreparedData, prepare};
use spec::{DataSettings, ValidationSource};

/// Byte-level: `<s>` is 0, `</s>` 1 and `<|im_end|>` a token of its own.
const MODEL: &str = "tests/bad_data/model";

/// The rows prepared with the tests' model and further files beside its own.
fn prepared(files: &[(&str, &str)], rows: &str, limit: usize) -> Result<PreparedData, DataError> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for file in fs::read_dir(MODEL).expect("the tests' model") {
        let file = file.expect("a file").path();
        fs::copy(&file, dir.path().join(file.file_name().expect("a name"))).expect("copying it");
    }
    for (name, text) in files {
        fs::write(dir.path().join(name), text).expect("writing a file of the model");
    }
    let (train, validation) = (dir.path().join("train.jsonl"), dir.path().join("other.jsonl"));
    fs::write(&train, rows).expect("writing the rows");
    fs::write(&validation, "{\"text\": \"other\"}\n").expect("writing a row");
    prepare(&DataSettings::new(&train, ValidationSource::File(validation)), dir.path(), limit)
}

fn warnings(files: &[(&str, &str)], rows: &str, limit: usize) -> String {
    prepared(files, rows, limit).expect("usable rows").report.warnings().join("\n")
}

const ROWS: &str = "{\"prompt\": \"ask\", \"completion\": \" one\"}\n\
                    {\"prompt\": \"ask\", \"completion\": \" two and some more words\"}\n";
const CHAT: &str = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, \
                    {\"role\": \"assistant\", \"content\": \"b\"}]}\n";

#[test]
fn an_end_token_that_generate_does_not_stop_at_is_named() {
    let told = warnings(&[("config.json", r#"{"eos_token_id": 5}"#)], ROWS, 100);
    assert!(told.contains("2 rows end in `</s>` (id 1)"), "{told}");
    assert!(told.contains("(eos_token_id in config.json): add 1 to it"), "{told}");
    let stops = [
        ("config.json", r#"{"eos_token_id": 5}"#),
        ("generation_config.json", r#"{"eos_token_id": [5, 1]}"#),
    ];
    assert_eq!(warnings(&stops, ROWS, 100), "");
}

#[test]
fn rows_longer_than_the_models_positions_are_counted_with_the_remedy() {
    let config = [("config.json", r#"{"eos_token_id": 1, "max_position_embeddings": 10}"#)];
    let told = warnings(&config, ROWS, 100);
    assert!(told.contains("has more tokens than the model has positions"), "{told}");
    assert!(told.contains("set `train.max_seq_len` to 10"), "{told}");
    assert!(!warnings(&config, ROWS, 10).contains("positions"));
}

#[test]
fn rows_that_are_cut_before_their_end_are_counted() {
    let told = warnings(&[], ROWS, 12);
    assert!(told.contains("1 row is cut before the end token"), "{told}");
    assert!(told.contains("line 2"), "{told}");
}

#[test]
fn a_template_that_writes_no_end_is_named_and_one_that_does_is_not() {
    let template = |end: &str| {
        format!(
            "{{% for m in messages %}}{{{{ m.role }}}}:{{{{ m.content }}}}{end}{{% endfor %}}\
             {{% if add_generation_prompt %}}assistant:{{% endif %}}"
        )
    };
    let (without, with) = (template(";"), template("</s>\n"));
    let told = warnings(&[("chat_template.jinja", &without)], CHAT, 100);
    assert!(told.contains("1 row teaches no end token"), "{told}");
    let told = warnings(&[("chat_template.jinja", &with)], CHAT, 100);
    assert!(!told.contains("end token"), "{told}");
}

#[test]
fn a_template_that_doubles_a_token_is_named() {
    let template = "<s>{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}</s>\
                    {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
    let files = [
        ("tokenizer_config.json", r#"{"bos_token": "<s>", "eos_token": "</s>"}"#),
        ("chat_template.jinja", template),
    ];
    let told = warnings(&files, CHAT, 100);
    assert!(told.contains("two beginning tokens"), "{told}");
}

#[test]
fn raw_prompts_beside_a_chat_template_are_warned_of_unless_they_have_its_marks() {
    let template = [("chat_template.jinja", "{{ messages }}")];
    let told = warnings(&template, ROWS, 100);
    assert!(told.contains("2 rows are written without the model's chat template"), "{told}");
    let marked = "{\"prompt\": \"<|im_start|>user\\nask<|im_end|>\\n\", \"completion\": \"a\"}\n";
    assert!(!warnings(&template, marked, 100).contains("chat template"));
    assert_eq!(warnings(&[], ROWS, 100), "");
}

#[test]
fn added_tokens_of_tokenizer_config_are_read_and_a_wrong_id_is_refused() {
    let size = {
        let text = fs::read_to_string(Path::new(MODEL).join("tokenizer.json")).expect("a file");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let added = json["added_tokens"].as_array().expect("a list").iter();
        let last = added.map(|token| token["id"].as_u64().expect("an id")).max().unwrap_or(0) + 1;
        last.max(json["model"]["vocab"].as_object().expect("a vocabulary").len() as u64)
    };
    let config = |id: u64| {
        format!(
            r#"{{"eos_token": "</s>", "added_tokens_decoder":
                {{"{id}": {{"content": "<|new|>", "special": true}}}}}}"#
        )
    };
    let rows = "{\"prompt\": \"<|new|>\", \"completion\": \"a\"}\n";
    let data = prepared(&[("tokenizer_config.json", &config(size))], rows, 100).expect("a token");
    assert!(data.train.examples[0].input_ids.contains(&(size as u32)));
    let refused = prepared(&[("tokenizer_config.json", &config(size + 9))], rows, 100);
    let told = refused.expect_err("another id").to_string();
    assert!(told.contains("tokenizer_config.json") && told.contains("`<|new|>`"), "{told}");
}
