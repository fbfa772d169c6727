//! What cannot be loaded is refused by name.

use std::path::Path;

use spec::TrainSettings;
use trainer::plan::Packing;

use super::{load, sets};
use crate::support;

#[test]
fn a_token_outside_the_vocabulary_is_refused_before_training() {
    let mut data = sets();
    data.validation.examples[0].input_ids[0] = 61;
    let model = support::golden_dir("llama").join("model");
    let error = load(&model, data, &TrainSettings::default(), Packing::default());
    let message = error.err().expect("a foreign token").to_string();
    assert!(message.contains("61") && message.contains("tokenizer.json"), "{message}");
}

#[test]
fn broken_model_folders_are_told_by_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let golden = support::golden_dir("llama").join("model");
    let load = |dir: &Path| {
        let error = load(dir, sets(), &TrainSettings::default(), Packing::default());
        error.err().expect("a broken model").to_string()
    };
    assert!(load(dir.path()).contains("config.json"));
    std::fs::copy(golden.join("config.json"), dir.path().join("config.json")).expect("copied");
    assert!(load(dir.path()).contains("model.safetensors"));
    std::fs::write(dir.path().join("pytorch_model.bin"), b"x").expect("written");
    assert!(load(dir.path()).contains("pytorch_model.bin"));
    let weights = std::fs::read(golden.join("model.safetensors")).expect("read");
    std::fs::write(dir.path().join("model.safetensors"), &weights[..weights.len() / 2])
        .expect("written");
    assert!(load(dir.path()).contains("safetensors"));
    let outside = r#"{"weight_map": {"lm_head.weight": "../elsewhere.safetensors"}}"#;
    std::fs::remove_file(dir.path().join("model.safetensors")).expect("removed");
    std::fs::write(dir.path().join("model.safetensors.index.json"), outside).expect("written");
    assert!(load(dir.path()).contains("outside"));
}
