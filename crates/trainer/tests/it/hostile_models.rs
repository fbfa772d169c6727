//! Model folders and adapters that were damaged or made to do harm: an error that says what is
//! wrong, in bounded memory; never a panic, never a file outside the folder, nothing executed.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use spec::{BaseSettings, DataSettings, ValidationSource};
use tempfile::TempDir;
use trainer::backend::cpu::Cpu;
use trainer::model::{DecoderConfig, Model};
use trainer::peft;

const FOLDER: &str = "tests/golden/llama/model";

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("it is there")).expect("it is JSON")
}

/// A copy of the golden model that may be spoilt.
fn model() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    copy(Path::new(FOLDER), dir.path());
    dir
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("it is a folder") {
        let path = entry.expect("it can be read").path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("it can be copied");
        }
    }
}

fn load(dir: &Path) -> Result<(), String> {
    let backend = Cpu::<f32>::new();
    Model::load(&backend, dir, &BaseSettings::default())
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Values that a number, a word or a list in a config may be replaced with.
fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(
            &[0_u64, 1, 2, 3, 7, 1 << 20, 1 << 32, 1 << 40, 1 << 62, u64::MAX][..]
        )
        .prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(&["", "llama", "qwen3", "gelu", "../x", "\u{0}"][..])
            .prop_map(Value::from),
        Just(json!([])),
        Just(
            json!({"rope_type": "llama3", "factor": 0, "low_freq_factor": 1, "high_freq_factor": 2,
                    "original_max_position_embeddings": 0})
        ),
    ]
}

/// Some keys of a file, by their places, with what to put there (`None` removes the key).
fn changes() -> impl Strategy<Value = Vec<(f64, Option<Value>)>> {
    prop::collection::vec((0.0..1.0_f64, prop::option::weighted(0.9, anything())), 1..4)
}

fn change(path: &Path, changes: Vec<(f64, Option<Value>)>) {
    let mut json = json_of(path);
    let object = json.as_object_mut().expect("an object");
    for (share, value) in changes {
        let names: Vec<String> = object.keys().cloned().collect();
        let Some(name) = names.get((share * names.len() as f64) as usize) else { continue };
        match value {
            Some(value) => object.insert(name.clone(), value),
            None => object.remove(name),
        };
    }
    fs::write(path, json.to_string()).expect("it can be written");
}

/// A safetensors file of this header.
fn safetensors(header: &str, length: u64, data: usize) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

proptest! {
    #[test]
    fn a_config_of_anything_is_refused_or_its_model_is_loaded(changes in changes()) {
        let dir = model();
        change(&dir.path().join("config.json"), changes);
        if let Ok(config) = DecoderConfig::read(dir.path()) {
            prop_assert!(config.parameters() > 0);
        }
        if let Err(error) = load(dir.path()) {
            prop_assert!(!error.is_empty());
        }
    }

    #[test]
    fn changed_bytes_in_a_weight_file_are_an_error_or_other_weights(
        changes in prop::collection::vec((0..2000_usize, any::<u8>()), 1..6),
    ) {
        let dir = model();
        let path = dir.path().join("model.safetensors");
        let mut bytes = fs::read(&path).expect("it is there");
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        fs::write(&path, bytes).expect("it can be written");
        let _ = load(dir.path());
    }

    #[test]
    fn a_weight_file_cut_anywhere_is_refused(share in 0.0..1.0_f64) {
        let dir = model();
        let path = dir.path().join("model.safetensors");
        let bytes = fs::read(&path).expect("it is there");
        fs::write(&path, &bytes[..(share * bytes.len() as f64) as usize]).expect("it can be written");
        prop_assert!(load(dir.path()).is_err());
    }

    #[test]
    fn any_header_is_refused(
        header in prop_oneof![
            any::<String>(),
            prop::sample::select(&[
                r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#,
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}}"#,
                r#"{"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}"#,
                "{}",
            ][..]).prop_map(str::to_owned),
        ],
        length in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
        data in 0..20_usize,
    ) {
        let dir = model();
        let length = length.unwrap_or(header.len() as u64);
        fs::write(dir.path().join("model.safetensors"), safetensors(&header, length, data))
            .expect("it can be written");
        prop_assert!(load(dir.path()).is_err());
    }

    #[test]
    fn an_adapter_of_anything_is_refused_or_loaded(
        changes in changes(),
        bytes in prop::collection::vec((0..3000_usize, any::<u8>()), 0..3),
    ) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        copy(&Path::new(FOLDER).join("../adapter"), dir.path());
        change(&dir.path().join("adapter_config.json"), changes);
        let path = dir.path().join("adapter_model.safetensors");
        let mut weights = fs::read(&path).expect("it is there");
        for (at, byte) in bytes {
            weights[at] = byte;
        }
        fs::write(&path, weights).expect("it can be written");
        let config = DecoderConfig::read(Path::new(FOLDER)).expect("the golden model is whole");
        if let Ok(adapter) = peft::load(dir.path(), &config) {
            prop_assert_eq!(adapter.values.len(), adapter.layout.len);
        }
    }

    #[test]
    fn an_index_of_anything_is_refused(
        map in prop::collection::btree_map("[a-z.]{0,12}", anything(), 0..4),
    ) {
        let dir = model();
        fs::remove_file(dir.path().join("model.safetensors")).expect("it was there");
        let index = json!({"metadata": {}, "weight_map": map});
        fs::write(dir.path().join("model.safetensors.index.json"), index.to_string())
            .expect("it can be written");
        prop_assert!(load(dir.path()).is_err());
    }

    #[test]
    fn a_tokenizer_that_was_changed_is_refused_or_used(
        changes in prop::collection::vec((0.0..1.0_f64, prop::sample::select(&b"{}[]\":,0a\\ \xff"[..])), 1..4),
    ) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        copy(Path::new("../data/tests/bad_data/model"), dir.path());
        let path = dir.path().join("tokenizer.json");
        let mut bytes = fs::read(&path).expect("it is there");
        let length = bytes.len() as f64;
        for (share, byte) in changes {
            bytes[(share * length) as usize] = byte;
        }
        fs::write(&path, bytes).expect("it can be written");
        prepare(dir.path())?;
    }

    #[test]
    fn a_tokenizer_with_keys_of_anything_is_refused_or_used(
        section in prop::sample::select(&["model", "pre_tokenizer", "decoder", "normalizer", "post_processor", "added_tokens"][..]),
        key in prop::sample::select(&["type", "vocab", "merges", "unk_token", "pattern", "id", "content"][..]),
        value in anything(),
        whole in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        copy(Path::new("../data/tests/bad_data/model"), dir.path());
        let path = dir.path().join("tokenizer.json");
        let mut json = json_of(&path);
        match json[section].as_object_mut() {
            Some(object) if !whole => { object.insert(key.to_owned(), value); }
            _ => json[section] = value,
        }
        fs::write(&path, json.to_string()).expect("it can be written");
        prepare(dir.path())?;
    }
}

fn settings(train: std::path::PathBuf, validation: ValidationSource) -> DataSettings {
    DataSettings {
        train,
        validation,
        retention: None,
        test: None,
        columns: std::collections::BTreeMap::new(),
        packing: false,
    }
}

/// Prepares a few rows with the model's tokenizer.
fn prepare(model: &Path) -> Result<(), TestCaseError> {
    let rows = model.join("rows.jsonl");
    fs::write(&rows, "{\"text\": \"a b\"}\n{\"text\": \"c\"}\n{\"text\": \"d e\"}\n")
        .expect("it can be written");
    let validation = ValidationSource::Fraction(0.5);
    let settings = settings(rows, validation);
    if let Err(error) = data::prepare(&settings, model, 32) {
        prop_assert!(!error.to_string().is_empty());
    }
    Ok(())
}

#[test]
fn a_model_larger_than_any_is_refused_before_anything_is_allocated() {
    for key in [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "head_dim",
    ] {
        let mut config = json_of(&Path::new(FOLDER).join("config.json"));
        config[key] = json!(1_u64 << 62);
        let error = DecoderConfig::parse(&config.to_string()).expect_err(key);
        assert!(error.contains(key), "{key}: {error}");
    }
}

#[test]
fn an_index_cannot_name_a_file_outside_the_models_folder() {
    let dir = model();
    let weights = dir.path().join("model.safetensors");
    let outside = dir.path().join("../outside.safetensors");
    for name in ["../outside.safetensors", "/etc/passwd", "a/../../x.safetensors", "..", ""] {
        fs::remove_file(&weights).ok();
        let index = json!({"weight_map": {"model.norm.weight": name}});
        fs::write(dir.path().join("model.safetensors.index.json"), index.to_string())
            .expect("it can be written");
        let error = load(dir.path()).expect_err(name);
        assert!(error.contains("outside") || error.contains("names no file"), "{name}: {error}");
    }
    assert!(!outside.exists());
}

#[test]
fn pickled_weights_are_refused_with_the_reason() {
    // Would make a file when it was unpickled.
    let dir = model();
    let made = dir.path().join("made");
    let pickle = format!("cos\nsystem\n(S'touch {}'\ntR.", made.display());
    fs::remove_file(dir.path().join("model.safetensors")).expect("it was there");
    for name in ["pytorch_model.bin", "consolidated.00.pth", "model.pt", "model.ckpt"] {
        let path = dir.path().join(name);
        fs::write(&path, &pickle).expect("it can be written");
        let error = load(dir.path()).expect_err(name);
        assert!(error.contains(name) && error.contains("run code"), "{error}");
        fs::remove_file(path).expect("it was there");
    }
    let index = json!({"weight_map": {"model.norm.weight": "pytorch_model-1.bin"}});
    fs::write(dir.path().join("model.safetensors.index.json"), index.to_string())
        .expect("writable");
    fs::write(dir.path().join("pytorch_model-1.bin"), &pickle).expect("it can be written");
    let error = load(dir.path()).expect_err("a shard of another kind");
    assert!(error.contains("run code"), "{error}");

    let adapter = tempfile::tempdir().expect("a temporary folder");
    copy(&Path::new(FOLDER).join("../adapter"), adapter.path());
    fs::remove_file(adapter.path().join("adapter_model.safetensors")).expect("it was there");
    fs::write(adapter.path().join("adapter_model.bin"), &pickle).expect("it can be written");
    let config = DecoderConfig::read(Path::new(FOLDER)).expect("the golden model is whole");
    let error = peft::load(adapter.path(), &config).expect_err("a pickled adapter");
    assert!(error.to_string().contains("run code"), "{error}");
    assert!(!made.exists(), "nothing is executed");
}

#[test]
fn a_chat_template_cannot_hold_the_machine_up() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    copy(Path::new("../data/tests/bad_data/model"), dir.path());
    let rows = dir.path().join("rows.jsonl");
    let row = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
    fs::write(&rows, format!("{row}\n{}\n", row.replace("\"b\"", "\"c\""))).expect("writable");
    for template in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}x{% endfor %}{% endfor %}{% endfor %}",
        "{{ 'x' * 99999999999 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ] {
        fs::write(dir.path().join("chat_template.jinja"), template).expect("writable");
        let validation = ValidationSource::Fraction(0.5);
        let settings = settings(rows.clone(), validation);
        assert!(data::prepare(&settings, dir.path(), 32).is_err(), "{template}");
    }
}

/// Loads the golden model with a GGUF file of these bytes as its weights.
fn load_gguf(bytes: &[u8]) -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("weights.gguf");
    fs::write(&path, bytes).expect("written");
    let base = BaseSettings { weights: Some(path), quantization: None };
    Model::load(&Cpu::<f32>::new(), Path::new(FOLDER), &base)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

fn gguf() -> Vec<u8> {
    fs::read("tests/golden_quantised/llama.gguf").expect("the golden file")
}

#[test]
fn a_gguf_file_cut_anywhere_is_refused() {
    let whole = gguf();
    assert_eq!(load_gguf(&whole), Ok(()));
    for len in (0..2000).chain([whole.len() / 2, whole.len() - 33]) {
        let error = load_gguf(&whole[..len]).expect_err("cut off");
        assert!(error.contains("weights.gguf"), "{error}");
    }
}

proptest! {
    #[test]
    fn changed_bytes_in_a_gguf_files_header_are_an_error_or_another_model(
        changes in prop::collection::vec((0..1800_usize, any::<u8>()), 1..5),
    ) {
        let mut bytes = gguf();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let _ = load_gguf(&bytes);
    }

    #[test]
    fn a_gguf_header_of_large_numbers_is_refused(at in 8..1800_usize, number in prop::sample::select(
        &[u64::MAX, u64::MAX / 2, 1 << 62, 1 << 40, 1 << 32][..],
    )) {
        let mut bytes = gguf();
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        let _ = load_gguf(&bytes);
    }
}
