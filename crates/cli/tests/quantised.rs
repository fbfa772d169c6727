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
         data: {{train: train.jsonl, validation: validation.jsonl}}\n\
         train: {{epochs: 2, batch_size: 4, max_seq_len: 64}}\nexecutor: {{devices: cpu}}\n",
        from.join("base").display()
    );
    fs::write(dir.join(format!("{name}.yaml")), text).unwrap();
}

/// The losses of the untouched base and of the trial.
fn losses(dir: &Path, name: &str, line: &str) -> (f64, f64) {
    write_sweep(dir, name, line);
    let ran = lorasweep(dir, &["run", &format!("{name}.yaml"), "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let status = lorasweep(dir, &["status", &format!("results/{name}"), "--json"]).stdout;
    let status: Value = serde_json::from_str(&status).unwrap();
    let ranking = fs::read_to_string(dir.join("results").join(name).join("ranking.json")).unwrap();
    let ranking: Value = serde_json::from_str(&ranking).unwrap();
    let loss = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{status} {ranking}"));
    (loss(&status[0]["base_eval_loss"]), loss(&ranking["verdict"]["best"]["eval_loss"]))
}

#[test]
fn losses_on_quantised_weights_are_near_those_on_the_files_and_the_adapter_is_the_bases() {
    let dir = tempfile::tempdir().unwrap();
    let (base, trained) = losses(dir.path(), "plain", "");
    assert!(trained < base);
    for (name, most) in [("int8", 0.01), ("q8_0", 0.01), ("nf4", 0.1)] {
        let (quantised, then) = losses(dir.path(), name, &format!("quantization: {name}"));
        assert!((quantised - base).abs() < most, "{name}: {quantised} instead of {base}");
        assert!((then - trained).abs() < most, "{name}: {then} instead of {trained}");
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
