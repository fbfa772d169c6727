//! `check` says what `run` refuses, in the same words and with the same exit code.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Ran, lorasweep};
use serde_json::{Value, json};

fn quickstart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/quickstart").canonicalize().unwrap()
}

/// A sweep of one trial on a copy of the embedded base that may be spoilt.
fn write_sweep(dir: &Path, more: &str) {
    fs::create_dir(dir.join("model")).unwrap();
    for entry in fs::read_dir(quickstart().join("base")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.join("model").join(path.file_name().unwrap())).unwrap();
    }
    for (file, rows) in [("train.jsonl", 8), ("validation.jsonl", 8)] {
        let text = fs::read_to_string(quickstart().join(file)).unwrap();
        let lines: String = text.split_inclusive('\n').take(rows).collect();
        fs::write(dir.join(file), lines).unwrap();
    }
    let text = format!(
        "name: spoilt\nmethod: grid\nmodel: model\nparameters: {{rank: 2}}\n\
         data: {{train: train.jsonl, validation: validation.jsonl}}\n\
         train: {{epochs: 1, max_seq_len: 64}}\n{more}"
    );
    fs::write(dir.join("sweep.yaml"), text).unwrap();
}

fn change_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// Renames a tensor to a name of the same length.
fn rename_tensor(dir: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let path = dir.join("model/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    fs::write(&path, bytes).unwrap();
}

/// What both say, which is the same.
fn refusal(dir: &Path) -> String {
    let [check, run]: [Ran; 2] = ["check", "run"].map(|c| lorasweep(dir, &[c, "sweep.yaml"]));
    assert_eq!((check.code, run.code), (2, 2), "{}\n{}", check.stderr, run.stderr);
    assert_eq!(check.stderr, run.stderr);
    assert!(!dir.join("results").exists(), "nothing was started");
    check.stderr
}

#[test]
fn an_untied_model_without_a_head_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_sweep(dir.path(), "");
    rename_tensor(dir.path(), "lm_head.weight", "xx_head.weight");
    let said = refusal(dir.path());
    assert!(said.contains("there is no tensor `lm_head.weight`"), "{said}");
}

#[test]
fn a_head_that_the_configuration_ties_is_used_and_both_commands_say_so() {
    let dir = tempfile::tempdir().unwrap();
    write_sweep(dir.path(), "");
    let found = |name: &str| -> Value {
        let args = ["check", "sweep.yaml", "--json", "--results", "elsewhere"];
        let ran = lorasweep(dir.path(), &args);
        assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let untied = found("untied");
    let base_loss = || {
        let ran = lorasweep(dir.path(), &["run", "sweep.yaml", "--quiet", "--fresh"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let ranking = fs::read_to_string(dir.path().join("results/spoilt/ranking.json")).unwrap();
        let ranking: Value = serde_json::from_str(&ranking).unwrap();
        let rows = ranking["rows"].as_array().unwrap().clone();
        let base = rows.into_iter().find(|row| row["trial"] == 0).unwrap();
        (base["eval_loss"].clone(), ran.stderr)
    };
    let (loss, quiet) = base_loss();
    change_json(&dir.path().join("model/config.json"), |config| {
        config["tie_word_embeddings"] = true.into();
    });
    let tied = found("tied");
    assert_eq!(tied["parameters"], untied["parameters"]);
    assert_eq!(tied["memory"]["memory"]["base"], untied["memory"]["memory"]["base"]);
    let says =
        |text: &str| text.contains("`lm_head.weight` differs from `model.embed_tokens.weight`");
    assert!(tied["warnings"].as_array().unwrap().iter().any(|w| says(w.as_str().unwrap())));
    let (same, said) = base_loss();
    assert_eq!(same, loss);
    assert!(says(&said) && !says(&quiet), "{said}");
}

#[test]
fn a_token_that_the_model_has_no_embedding_for_is_refused_with_its_row() {
    let dir = tempfile::tempdir().unwrap();
    write_sweep(dir.path(), "");
    change_json(&dir.path().join("model/tokenizer.json"), |tokenizer| {
        let token = json!({
            "id": 1024, "content": "<|more|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        });
        tokenizer["added_tokens"].as_array_mut().unwrap().push(token);
    });
    let path = dir.path().join("validation.jsonl");
    let mut rows: Vec<String> =
        fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    for at in [2, 5] {
        let mut row: Value = serde_json::from_str(&rows[at]).unwrap();
        let text = row.as_object_mut().unwrap().values_mut().find(|v| v.is_string()).unwrap();
        *text = format!("{}<|more|>", text.as_str().unwrap()).into();
        rows[at] = row.to_string();
    }
    fs::write(&path, rows.join("\n")).unwrap();
    let said = refusal(dir.path());
    let wanted = "gives the token 1024 (`<|more|>`) in validation line 3 and 1 more row, but the \
                  model has 1024 embeddings";
    assert!(said.contains(wanted), "{said}");
}

#[test]
fn mistakes_of_rows_weights_and_trials_are_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    write_sweep(dir.path(), "");
    rename_tensor(dir.path(), "model.norm.weight", "model.mron.weight");
    fs::write(dir.path().join("train.jsonl"), "").unwrap();
    let said = refusal(dir.path());
    assert!(said.matches("error:").count() == 2, "{said}");
    assert!(said.contains("`model.norm.weight`") && said.contains("train.jsonl"), "{said}");
}

#[test]
fn an_adapter_that_the_model_cannot_carry_is_refused_where_jobs_would_train_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let jobs = "executor: {type: slurm}\nmethod: random\nrun_cap: 1\n";
    write_sweep(dir.path(), "");
    let path = dir.path().join("sweep.yaml");
    let text = fs::read_to_string(&path).unwrap().replace("method: grid\n", jobs);
    let text = text.replace(
        "{rank: 2}",
        "{rank: 2, target_modules: [[q_proj], [k_proj], [v_proj], [qkv_proj]]}",
    );
    fs::write(&path, text).unwrap();
    let ran = lorasweep(dir.path(), &["check", "sweep.yaml"]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(ran.stderr.contains("has no separate `qkv_proj`"), "{}", ran.stderr);
}

#[test]
fn results_of_another_sweep_under_this_name_are_refused_by_both_and_may_go_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    write_sweep(dir.path(), "");
    let identity = store::Identity::new("spoilt", "another", [].into(), json!({}));
    store::SweepDir::open(&dir.path().join("results"), &identity, "").unwrap();
    let check = lorasweep(dir.path(), &["check", "sweep.yaml"]);
    let run = lorasweep(dir.path(), &["run", "sweep.yaml", "--quiet"]);
    assert_eq!((check.code, run.code), (2, 2), "{}", check.stderr);
    assert!(check.stderr.contains("holds the results of a different sweep"), "{}", check.stderr);
    assert_eq!(check.stderr, run.stderr);
    assert!(check.stdout.contains("1 trials") && !check.stdout.contains("Next:"), "what it found");
    let ran = lorasweep(dir.path(), &["check", "sweep.yaml", "--results", "elsewhere"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("lorasweep run sweep.yaml --results elsewhere"), "{}", ran.stdout);
    assert!(!dir.path().join("elsewhere").exists());
}

#[test]
fn a_sweep_that_another_process_runs_is_refused_by_both() {
    let dir = tempfile::tempdir().unwrap();
    write_sweep(dir.path(), "");
    let identity = store::Identity::new("spoilt", "another", [].into(), json!({}));
    let held = store::SweepDir::open(&dir.path().join("results"), &identity, "").unwrap();
    for command in ["check", "run"] {
        let ran = lorasweep(dir.path(), &[command, "sweep.yaml"]);
        assert_eq!(ran.code, 1, "{command}");
        assert!(ran.stderr.contains("is being run by process"), "{}", ran.stderr);
    }
    drop(held);
}

#[test]
fn a_command_sweep_whose_folder_is_another_sweeps_is_refused_by_both() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = "name: e\nmethod: grid\nparameters: {rank: [2]}\nmodel: x\ndata: {train: x}\n\
                 executor: {type: command, command: 'true {{trial_dir}}'}\n";
    fs::write(dir.path().join("e.yaml"), sweep).unwrap();
    let identity = store::Identity::new("e", "another", [].into(), json!({}));
    store::SweepDir::open(&dir.path().join("results"), &identity, "").unwrap();
    for command in ["check", "run"] {
        let ran = lorasweep(dir.path(), &[command, "e.yaml"]);
        assert_eq!(ran.code, 2, "{command}");
        assert!(ran.stderr.contains("holds the results of a different sweep"), "{}", ran.stderr);
    }
}

#[test]
fn a_file_that_the_index_of_the_weights_names_and_that_is_not_there_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_sweep(dir.path(), "");
    let model = dir.path().join("model");
    fs::rename(model.join("model.safetensors"), dir.path().join("elsewhere")).unwrap();
    let index = json!({ "weight_map": { "lm_head.weight": "model-00001-of-00002.safetensors" } });
    fs::write(model.join("model.safetensors.index.json"), index.to_string()).unwrap();
    let said = refusal(dir.path());
    let names = "names the file `model-00001-of-00002.safetensors`, which is not there";
    assert!(said.contains(names), "{said}");
}

#[test]
fn what_the_sweep_takes_on_disk_is_said_beside_what_is_free() {
    let dir = tempfile::tempdir().unwrap();
    write_sweep(dir.path(), "");
    let ran = lorasweep(dir.path(), &["check", "sweep.yaml"]);
    let line = ran.stdout.lines().find(|line| line.starts_with("disk: ")).unwrap();
    assert!(line.contains("for checkpoints of 1 trial at a time"), "{line}");
    assert!(line.ends_with("are free in `results`"), "{line}");
    let json = lorasweep(dir.path(), &["check", "sweep.yaml", "--json"]).stdout;
    let found: Value = serde_json::from_str(&json).unwrap();
    for what in ["/disk/adapters/bytes", "/disk/checkpoints/bytes_each", "/disk/free"] {
        assert!(found.pointer(what).and_then(Value::as_u64) > Some(0), "{what}: {json}");
    }
}

#[test]
fn a_warmup_that_no_trial_ends_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    write_sweep(dir.path(), "");
    let file = dir.path().join("sweep.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("epochs: 1,", "epochs: 1, warmup_steps: 30,")).unwrap();
    let ran = lorasweep(dir.path(), &["check", "sweep.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let said = "a trial of 1 steps never reaches its learning rate: `train.warmup_steps` is 30";
    assert!(ran.stderr.contains(said) || ran.stdout.contains(said), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn replicates_are_counted_beside_the_trials_whose_steps_are_known() {
    let dir = tempfile::tempdir().unwrap();
    write_sweep(dir.path(), "replicates: {seeds: 2, top: 1}\n");
    let ran = lorasweep(dir.path(), &["check", "sweep.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("\n1 trials, 1 steps "), "{}", ran.stdout);
    let more = "\nand 2 more of the best configurations under other seeds (`replicates`)";
    assert!(ran.stdout.contains(more), "{}", ran.stdout);
}
