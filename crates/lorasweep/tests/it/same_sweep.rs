//! A sweep resumes only with the model and the data that it began with, whichever process loads them.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "the tests move models about")]

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{Ran, is_training, lorasweep, prepare, start, status, wait_until};
use serde_json::Value;
use store::SweepFolder;

/// A sweep that was interrupted while it trained.
fn interrupted(dir: &Path) {
    prepare(dir, 4, "checkpoint_seconds: 1, max_packed: 1");
    let mut driver = start(dir);
    wait_until("it trains", || is_training(dir));
    assert_eq!(lorasweep(dir, &["cancel", "s.yaml"]).code, 0);
    assert_eq!(driver.wait().unwrap().code(), Some(130));
}

fn resume(dir: &Path) -> Ran {
    lorasweep(dir, &["run", "s.yaml", "--quiet"])
}

fn is_refused(ran: &Ran, names: &str) {
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("different sweep"), "{}", ran.stderr);
    assert!(ran.stderr.contains(names), "{names}: {}", ran.stderr);
}

/// Flips a bit of every 64th byte of the weights; their size stays.
fn change_weights(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize + 8;
    (header + 1..bytes.len()).step_by(64).for_each(|at| bytes[at] ^= 0x80);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_model_or_data_that_changed_in_content_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    interrupted(dir.path());
    let base = dir.path().join("quickstart/base");
    let at = |name: &str| base.join(name);

    let weights = at("model.safetensors");
    let kept = fs::read(&weights).unwrap();
    change_weights(&weights);
    is_refused(&resume(dir.path()), "model.safetensors");
    fs::write(&weights, kept).unwrap();

    for name in [
        "chat_template.jinja",
        "additional_chat_templates/tool_use.jinja",
        "special_tokens_map.json",
        "added_tokens.json",
        "generation_config.json",
    ] {
        assert!(!at(name).exists(), "{name}");
        fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        fs::write(at(name), "{}").unwrap();
        let ran = resume(dir.path());
        is_refused(&ran, name);
        assert!(ran.stderr.contains("was not there then"), "{}", ran.stderr);
        fs::remove_file(at(name)).unwrap();
    }

    fs::rename(at("tokenizer_config.json"), at("aside")).unwrap();
    let ran = resume(dir.path());
    is_refused(&ran, "tokenizer_config.json");
    assert!(ran.stderr.contains("is there no more"), "{}", ran.stderr);
    fs::rename(at("aside"), at("tokenizer_config.json")).unwrap();

    let data = dir.path().join("quickstart/train.jsonl");
    let kept = fs::read_to_string(&data).unwrap();
    fs::write(&data, kept.replacen('e', "a", 1)).unwrap();
    is_refused(&resume(dir.path()), "train.jsonl");
    fs::write(&data, kept).unwrap();

    assert_eq!(resume(dir.path()).code, 0, "all is as it was");
}

#[test]
fn a_model_that_was_moved_or_whose_weights_were_renamed_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    interrupted(dir.path());
    let moved = dir.path().join("elsewhere");
    fs::rename(dir.path().join("quickstart/base"), &moved).unwrap();
    let shard = "model-00001-of-00001.safetensors";
    fs::rename(moved.join("model.safetensors"), moved.join(shard)).unwrap();
    let bytes = fs::read(moved.join(shard)).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let tensors = header.as_object().unwrap().keys().filter(|name| *name != "__metadata__");
    let map: serde_json::Map<_, _> = tensors.map(|name| (name.clone(), shard.into())).collect();
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    fs::write(moved.join("model.safetensors.index.json"), index.to_string()).unwrap();
    let file = dir.path().join("s.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("model: quickstart/base", "model: elsewhere")).unwrap();
    let ran = resume(dir.path());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn data_that_was_moved_is_the_same_and_is_not_listed_beside_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    interrupted(dir.path());
    for name in ["train.jsonl", "validation.jsonl"] {
        let moved = dir.path().join(format!("my-{name}"));
        fs::rename(dir.path().join("quickstart").join(name), moved).unwrap();
    }
    let file = dir.path().join("s.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace("quickstart/train", "my-train");
    let text = text.replace("quickstart/validation", "./my-validation");
    fs::write(&file, text.replace("batch_size: 8", "batch_size: 4")).unwrap();
    let ran = resume(dir.path());
    is_refused(&ran, "batch_size");
    assert!(!ran.stderr.contains("jsonl"), "{}", ran.stderr);
    fs::write(&file, text).unwrap();
    let ran = resume(dir.path());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let exported = ["export", "results/s", "--merge", "--to", "out"];
    let ran = lorasweep(dir.path(), &exported);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("validation rows"), "{}", ran.stdout);
}

/// `resolved.json` as versions wrote it that knew weights by their size, and fewer files.
#[test]
fn a_sweep_that_an_earlier_version_began_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    interrupted(dir.path());
    let path = dir.path().join("results/s/resolved.json");
    let mut old: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    old.as_object_mut().unwrap().remove("has_all_inputs").unwrap();
    let inputs = old["inputs"].as_object_mut().unwrap();
    let weights = inputs["model's model.safetensors"].as_object_mut().unwrap();
    assert!(weights.remove("sha256").is_some() && weights.remove("sampled").is_some());
    fs::write(&path, old.to_string()).unwrap();
    let ran = resume(dir.path());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let new: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(new["inputs"]["model's model.safetensors"]["sha256"].is_string());
}

#[test]
fn a_worker_that_starts_after_its_data_or_model_changed_refuses_them_by_name() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("train.jsonl", |base| {
            let path = base.join("../train.jsonl");
            let text = fs::read_to_string(&path).unwrap();
            let half: Vec<&str> = text.lines().take(text.lines().count() / 2).collect();
            fs::write(&path, half.join("\n")).unwrap();
        }),
        ("model.safetensors", |base| change_weights(&base.join("model.safetensors"))),
        ("chat_template.jinja", |base| fs::write(base.join("chat_template.jinja"), "x").unwrap()),
    ];
    for (name, change) in changes {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), 6, "checkpoint_seconds: 1, max_packed: 1");
        let driver = start(dir.path());
        wait_until("it trains", || is_training(dir.path()));
        change(&dir.path().join("quickstart/base"));
        let pid = status(dir.path())["workers"][0]["pid"].to_string();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        let ran = Ran::from(driver.wait_with_output().unwrap());
        assert_ne!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains(name), "{name}: {}", ran.stderr);
        let folder = SweepFolder::open(dir.path().join("results/s")).unwrap();
        let state = folder.state().unwrap();
        let has_ended = state.trials.values().filter(|trial| trial.outcome().is_some()).count();
        assert_eq!(has_ended, 0, "a trial was trained on other content");
    }
}
