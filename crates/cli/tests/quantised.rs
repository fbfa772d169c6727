//! A sweep on a base whose weights are quantised, from `check` to the exported adapter.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::lorasweep;
use serde_json::Value;

fn quickstart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sweeps/quickstart").canonicalize().unwrap()
}

/// A sweep of one trial on the embedded base, its weights as `line` says.
fn write_sweep(dir: &Path, name: &str, line: &str) {
    let from = quickstart();
    for (file, rows) in [("train.jsonl", 24), ("validation.jsonl", 60)] {
        let text = fs::read_to_string(from.join(file)).unwrap();
        let lines: String = text.split_inclusive('\n').take(rows).collect();
        fs::write(dir.join(file), lines).unwrap();
    }
    let text = format!(
        "method: grid\nmodel: {}\n{line}\nparameters: {{rank: 4, learning_rate: 0.002}}\n\
         data: {{train: train.jsonl, validation: validation.jsonl, retention: {}}}\n\
         train: {{epochs: 2, batch_size: 4, max_seq_len: 64}}\nexecutor: {{devices: cpu}}\n",
        from.join("base").display(),
        from.join("retention.jsonl").display()
    );
    fs::write(dir.join(format!("{name}.yaml")), text).unwrap();
}

/// What a sweep measured.
struct Losses {
    /// Of the untouched base on what it was trained on.
    retention: f64,
    /// Of the untouched base on the rows that are new to it.
    base: f64,
    /// Of the trial on these.
    trained: f64,
}

fn losses(dir: &Path, name: &str, line: &str) -> Losses {
    write_sweep(dir, name, line);
    let ran = lorasweep(dir, &["run", &format!("{name}.yaml"), "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ranking = fs::read_to_string(dir.join("results").join(name).join("ranking.json")).unwrap();
    let ranking: Value = serde_json::from_str(&ranking).unwrap();
    let rows = ranking["rows"].as_array().unwrap();
    let base = rows.iter().find(|row| row["trial"] == 0).unwrap();
    let loss = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{ranking:#}"));
    Losses {
        retention: loss(&base["retention_loss"]),
        base: loss(&base["eval_loss"]),
        trained: loss(&ranking["verdict"]["best"]["eval_loss"]),
    }
}

#[test]
fn losses_on_quantised_weights_are_near_those_on_the_files_and_the_adapter_is_the_bases() {
    let dir = tempfile::tempdir().unwrap();
    let plain = losses(dir.path(), "plain", "");
    assert!(plain.trained < plain.base);
    for (name, most) in [("int8", 0.005), ("q8_0", 0.005), ("nf4", 0.02)] {
        let ours = losses(dir.path(), name, &format!("quantization: {name}"));
        // What the base knows well shows best what its codes have lost.
        let off = (ours.retention - plain.retention).abs();
        assert!(0.0 < off && off < most, "{name}: off by {off}");
        let (base, trained) = (ours.base - plain.base, ours.trained - plain.trained);
        assert!(base.abs().max(trained.abs()) < 5.0 * most, "{name}: off by {base}, {trained}");
        let adapter = dir.path().join("results").join(name).join("best/adapter_config.json");
        let adapter: Value = serde_json::from_str(&fs::read_to_string(adapter).unwrap()).unwrap();
        let named = adapter["base_model_name_or_path"].as_str().unwrap();
        assert_eq!(Path::new(named), quickstart().join("base"));
    }
}

#[test]
fn check_says_how_the_weights_are_held_and_what_cannot_be_quantised() {
    let dir = tempfile::tempdir().unwrap();
    write_sweep(dir.path(), "nf4", "quantization: nf4");
    let ran = lorasweep(dir.path(), &["check", "nf4.yaml"]);
    let said = "linear layers as nf4, embedding and output head as f16";
    assert!(ran.stdout.contains(said), "{}{}", ran.stdout, ran.stderr);
    write_sweep(dir.path(), "q4", "quantization: q4_k");
    let ran = lorasweep(dir.path(), &["check", "q4.yaml"]);
    assert!(ran.code != 0 && ran.stderr.contains("blocks of 256 values"), "{}", ran.stderr);
}
