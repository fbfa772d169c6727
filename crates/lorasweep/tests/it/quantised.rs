//! Sweeps on a base whose weights are quantised, for all trials or as a parameter of theirs, from
//! `check` to the exported adapter.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::lorasweep;
use serde_json::Value;
use spec::Event;
use store::SweepFolder;

fn quickstart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/quickstart").canonicalize().unwrap()
}

/// A sweep of one trial on the embedded base, its weights as `line` says.
fn write_sweep(dir: &Path, name: &str, line: &str) {
    write(dir, name, line, "rank: 4, learning_rate: 0.002", "epochs: 2");
}

/// A sweep on the embedded base.
fn write(dir: &Path, name: &str, line: &str, parameters: &str, train: &str) {
    let from = quickstart();
    for (file, rows) in [("train.jsonl", 24), ("validation.jsonl", 60)] {
        let text = fs::read_to_string(from.join(file)).unwrap();
        let lines: String = text.split_inclusive('\n').take(rows).collect();
        fs::write(dir.join(file), lines).unwrap();
    }
    let text = format!(
        "method: grid\nmodel: {}\n{line}\nparameters: {{{parameters}}}\n\
         data: {{train: train.jsonl, validation: validation.jsonl, retention: {}}}\n\
         train: {{{train}, batch_size: 4, max_seq_len: 64}}\n\
         executor: {{devices: cpu, checkpoint_seconds: 1}}\n",
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

/// Trials that differ in `epochs` alone continue one another.
const SWEPT: &str = "rank: [2, 4], epochs: [1, 3], learning_rate: 0.002";
const OPEN_ENDED: &str = "lr_scheduler: constant, warmup_ratio: 0";

fn ranking(dir: &Path, name: &str) -> Value {
    let text = fs::read_to_string(dir.join("results").join(name).join("ranking.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The losses of a sweep's runs by quantization (`form` where they have none), rank and epochs:
/// validation, its change in retention, and the last one.
fn runs(dir: &Path, name: &str, form: &str) -> BTreeMap<(String, u64, u64), [f64; 3]> {
    let ranking = ranking(dir, name);
    let rows = ranking["rows"].as_array().unwrap().iter().filter(|row| row["trial"] != 0);
    let number = |value: &Value| value.as_f64().unwrap();
    rows.map(|row| {
        let config = &row["config"];
        let form = config["quantization"].as_str().unwrap_or(form).to_owned();
        let key = (form, config["rank"].as_u64().unwrap(), config["epochs"].as_u64().unwrap());
        let losses = ["eval_loss", "retention_change", "last_eval_loss"];
        (key, losses.map(|loss| number(&row[loss])))
    })
    .collect()
}

fn assert_close(
    ours: &BTreeMap<(String, u64, u64), [f64; 3]>,
    theirs: &BTreeMap<(String, u64, u64), [f64; 3]>,
) {
    for (key, losses) in theirs {
        for (a, b) in ours[key].iter().zip(losses) {
            assert!((a - b).abs() < 1e-4, "{key:?}: {:?} and {losses:?}", ours[key]);
        }
    }
}

fn run(dir: &Path, name: &str) {
    let ran = lorasweep(dir, &["run", &format!("{name}.yaml"), "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn forms_of_the_base_are_compared_in_one_sweep_as_in_a_sweep_for_each() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "swept", "", &format!("quantization: [nf4, none], {SWEPT}"), OPEN_ENDED);
    write(dir, "stored", "", SWEPT, OPEN_ENDED);
    write(dir, "nf4", "quantization: nf4", SWEPT, OPEN_ENDED);
    let checked = lorasweep(dir, &["check", "swept.yaml", "--json"]);
    let checked: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(checked["weights"]["linear_layers"], serde_json::json!(["f16", "nf4"]));
    let base = |name: &str| {
        let ran = lorasweep(dir, &["check", &format!("{name}.yaml"), "--json"]);
        let found: Value = serde_json::from_str(&ran.stdout).unwrap();
        found["memory"]["memory"]["base"].as_u64().unwrap()
    };
    let said = lorasweep(dir, &["check", "swept.yaml"]).stdout;
    assert!(said.contains("base in 2 forms"), "{said}");
    assert_eq!(base("swept"), base("stored") + base("nf4"));

    for name in ["swept", "stored", "nf4"] {
        run(dir, name);
    }
    let swept = runs(dir, "swept", "");
    assert_eq!(swept.len(), 8);
    assert_close(&swept, &runs(dir, "stored", "none"));
    assert_close(&swept, &runs(dir, "nf4", "nf4"));
    assert_ne!(swept[&("none".into(), 2, 1)], swept[&("nf4".into(), 2, 1)]);

    let found = ranking(dir, "swept");
    // What the ranking is measured against is the base as it is stored.
    let of_base = |ranking: &Value| {
        let rows = ranking["rows"].as_array().unwrap();
        rows.iter().find(|row| row["trial"] == 0).unwrap()["eval_loss"].as_f64().unwrap()
    };
    let (ours, stored) = (of_base(&found), of_base(&ranking(dir, "stored")));
    assert!((ours - stored).abs() < 1e-6, "{ours} and {stored}");
    let findings = found["verdict"]["findings"].as_array().unwrap();
    let said = findings.iter().find(|finding| finding["kind"] == "quantization").unwrap();
    let nf4 = format!("untouched {:.4}", of_base(&ranking(dir, "nf4")));
    assert!(said["evidence"].as_str().unwrap().contains(&nf4), "{said:#}");
    let table = fs::read_to_string(dir.join("results/swept/ranking.csv")).unwrap();
    assert!(table.lines().next().unwrap().contains(",quantization,"), "{table}");

    // Shared steps stay within a form.
    let state = SweepFolder::open(dir.join("results/swept")).unwrap().state().unwrap();
    let form = |id| state.trials[&id].trial.config.quantization;
    let continued = state.trials.values().filter_map(|t| Some((t.trial.id, t.continues?.trial)));
    let continued: Vec<_> = continued.collect();
    assert_eq!(continued.len(), 4);
    assert!(continued.iter().all(|(own, other)| form(*own) == form(*other)), "{continued:?}");

    let on_nf4 = state.trials.keys().find(|id| form(**id).is_some_and(|f| f.name() == "nf4"));
    let number = on_nf4.unwrap().to_string();
    let ran = lorasweep(dir, &["export", "results/swept", "--trial", &number, "--to", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let card = fs::read_to_string(dir.join("out/README.md")).unwrap();
    assert!(card.contains("| trained on | an nf4 base"), "{card}");
}

#[test]
#[cfg(unix)]
fn trials_go_on_on_the_form_of_the_base_that_they_began_on_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let parameters = "quantization: [none, int8], rank: [2, 4], epochs: 20, learning_rate: 0.002";
    for name in ["whole", "killed"] {
        write(dir, name, "", parameters, OPEN_ENDED);
    }
    run(dir, "whole");
    let mut driver = Command::new(env!("CARGO_BIN_EXE_lorasweep"))
        .args(["run", "killed.yaml", "--quiet"])
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let saved = |events: &[Event]| events.iter().any(|e| matches!(e, Event::Checkpointed { .. }));
    let folder = loop {
        std::thread::sleep(Duration::from_millis(20));
        assert!(driver.try_wait().unwrap().is_none(), "it ended before a checkpoint");
        let Ok(folder) = SweepFolder::open(dir.join("results/killed")) else { continue };
        if folder.events().is_ok_and(|events| saved(&events)) {
            break folder;
        }
    };
    for holder in folder.workers().unwrap().iter().filter_map(|worker| worker.holder().unwrap()) {
        let pid = holder.pid.to_string();
        Command::new("kill").args(["-9", &pid]).stderr(Stdio::null()).status().unwrap();
    }
    driver.kill().unwrap();
    driver.wait().unwrap();
    run(dir, "killed");
    let resumed = |event: &Event| matches!(event, Event::TrialStarted { from_step: 1.., .. });
    assert!(folder.events().unwrap().iter().any(resumed), "nothing resumed from a checkpoint");
    assert_close(&runs(dir, "killed", ""), &runs(dir, "whole", ""));
}
