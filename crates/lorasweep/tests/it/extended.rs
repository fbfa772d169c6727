//! A sweep whose file is changed continues in its folder.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "the tests change their own files")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::{Ran, lorasweep, wait_until};
use serde_json::Value;

/// A sweep file over the quickstart's model and rows; `lines` are what varies.
fn write(dir: &Path, lines: &str) {
    let text = format!(
        "name: s\nmetric: {{name: eval_loss, goal: minimize}}\n\
         model: quickstart/base\ndata:\n  train: quickstart/train.jsonl\n  \
         validation: quickstart/validation.jsonl\n\
         train: {{batch_size: 64, lora_alpha: 16, max_seq_len: 32}}\n{lines}"
    );
    fs::write(dir.join("s.yaml"), text).unwrap();
}

fn quickstart() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(lorasweep(dir.path(), &["init", "--quickstart", "."]).code, 0);
    dir
}

fn run(dir: &Path) -> Ran {
    let ran = lorasweep(dir, &["run", "s.yaml", "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran
}

fn start(dir: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lorasweep"));
    command.args(["run", "s.yaml", "--quiet"]).current_dir(dir).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().unwrap()
}

fn status(dir: &Path) -> Value {
    let ran = lorasweep(dir, &["status", "s.yaml", "--json"]);
    serde_json::from_str::<Value>(&ran.stdout).map_or(Value::Null, |all| all[0].clone())
}

fn ended(dir: &Path) -> u64 {
    status(dir)["finished_trials"].as_u64().unwrap_or(0)
}

/// Runs until one trial more has ended, and kills the driver.
fn run_and_kill(dir: &Path) {
    let before = ended(dir);
    let mut driver = start(dir);
    wait_until("another trial has ended", || {
        ended(dir) > before || driver.try_wait().unwrap().is_some()
    });
    let _ = driver.kill();
    driver.wait().unwrap();
}

/// The ranking: each trial's configuration as text, and its loss; the base model is left out.
fn ranking(dir: &Path) -> Vec<(String, f64)> {
    let ran = lorasweep(dir, &["report", "results/s", "--json"]);
    let report: Value =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
    let rows = report["rows"].as_array().unwrap().iter();
    let runs = rows.filter(|row| !row["config"].is_null() && !is_outside(row));
    runs.map(|row| (row["config"].to_string(), row["eval_loss"].as_f64().unwrap())).collect()
}

fn is_outside(row: &Value) -> bool {
    row["notes"].as_array().unwrap().iter().any(|note| note == "outside_space")
}

/// What a processor rounds differently in other company.
const ROUNDING: f64 = 1e-3;

fn assert_same_ranking(extended: &[(String, f64)], at_once: &[(String, f64)]) {
    let sorted = |rows: &[(String, f64)]| {
        let mut rows = rows.to_vec();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    };
    let (a, b) = (sorted(extended), sorted(at_once));
    assert_eq!(a.len(), b.len(), "{a:?}\n{b:?}");
    for ((config, loss), (other, other_loss)) in a.iter().zip(&b) {
        assert_eq!(config, other);
        assert!((loss - other_loss).abs() < ROUNDING, "{config}: {loss} and {other_loss}");
    }
    for ((one, loss), (other, other_loss)) in extended.iter().zip(at_once) {
        assert!(one == other || (loss - other_loss).abs() < ROUNDING, "{one} in place of {other}");
    }
}

/// Extends a sweep by each of `files` in turn, killed in between, and compares its ranking with that
/// of a sweep that has the last file from the start.
fn extended_like_at_once(files: &[&str]) {
    let (dir, other) = (quickstart(), quickstart());
    let last = files.last().unwrap();
    for file in files {
        write(dir.path(), file);
        run_and_kill(dir.path());
    }
    run(dir.path());
    write(other.path(), last);
    run(other.path());
    assert_same_ranking(&ranking(dir.path()), &ranking(other.path()));
}

#[test]
fn a_grid_that_was_extended_five_ways_ranks_like_the_one_written_that_way_at_once() {
    let file = |cap: &str, ranks: &str, epochs: &str, more: &str| {
        format!(
            "method: grid\n{cap}parameters: {{rank: {ranks}, learning_rate: [0.001, 0.003], epochs: \
             {epochs}}}\n{more}"
        )
    };
    let packed = |n: u32| format!("executor: {{device: cpu, max_packed: {n}}}\n");
    let replicated = format!("{}replicates: {{seeds: 1, top: 1}}\n", packed(2));
    extended_like_at_once(&[
        &file("run_cap: 1\n", "[4]", "[1]", &packed(1)),
        &file("", "[4]", "[1]", &packed(1)),
        &file("", "[4, 8]", "[1]", &packed(1)),
        &file("", "[4, 8]", "[1, 2]", &packed(1)),
        &file("", "[4, 8]", "[1, 2]", &packed(2)),
        &file("", "[4, 8]", "[1, 2]", &replicated),
    ]);
}

#[test]
fn draws_that_were_extended_five_ways_rank_like_those_written_that_way_at_once() {
    for method in ["random", "sobol"] {
        let file = |cap: u32, executor: &str, more: &str| {
            format!(
                "method: {method}\nrun_cap: {cap}\nparameters: {{rank: [4, 8], learning_rate: {{min: \
                 0.001, max: 0.01}}}}\nexecutor: {{device: cpu, {executor}}}\n{more}"
            )
        };
        extended_like_at_once(&[
            &file(2, "max_packed: 1", ""),
            &file(3, "max_packed: 1", ""),
            &file(4, "max_packed: 2", ""),
            &file(4, "max_packed: 2, checkpoint_seconds: 1", ""),
            &file(5, "devices: 2, max_packed: 1", "early_terminate: {type: median, min_iter: 9}\n"),
            &file(5, "max_packed: 2", "replicates: {seeds: 1, top: 1}\n"),
        ]);
    }
}

#[test]
fn what_leaves_the_search_space_stays_in_the_report_marked_and_is_not_ranked_among_the_rest() {
    let dir = quickstart();
    let file = |ranks: &str| {
        format!(
            "method: grid\nparameters: {{rank: {ranks}, learning_rate: [0.001, 0.003]}}\nexecutor: \
             {{device: cpu}}\n"
        )
    };
    write(dir.path(), &file("[4, 8]"));
    run(dir.path());
    write(dir.path(), &file("[8, 2]"));
    let checked = lorasweep(dir.path(), &["check", "s.yaml"]);
    assert!(checked.stdout.contains("parameters.rank: [4,8] -> [8,2]"), "{}", checked.stdout);
    run(dir.path());
    let report = lorasweep(dir.path(), &["report", "s.yaml", "--json"]);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1 + 6);
    let outside: Vec<bool> = rows.iter().map(is_outside).collect();
    assert_eq!(outside, [false, false, false, false, false, true, true]);
    let listed = lorasweep(dir.path(), &["status", "s.yaml"]);
    assert!(listed.stdout.contains("outside the search space"), "{}", listed.stdout);
    write(dir.path(), &file("[8, 4, 2]"));
    run(dir.path());
    assert_eq!(ranking(dir.path()).len(), 6, "what comes back into the space counts again");
}

#[test]
fn what_changes_the_meaning_is_refused_and_warm_start_is_named() {
    let dir = quickstart();
    let lines = "method: grid\nparameters: {rank: [4, 8]}\nexecutor: {device: cpu}\n";
    write(dir.path(), lines);
    run(dir.path());
    let text = fs::read_to_string(dir.path().join("s.yaml")).unwrap();
    for (from, to, named) in [
        ("max_seq_len: 32", "max_seq_len: 16", "train.max_seq_len: 32 -> 16"),
        ("batch_size: 64", "batch_size: 32", "parameters.batch_size: 64 -> 32"),
        ("quickstart/validation.jsonl", "quickstart/train2.jsonl", "validation data"),
        ("method: grid", "method: sobol", "method: \"grid\" -> \"sobol\""),
    ] {
        fs::copy(
            dir.path().join("quickstart/train.jsonl"),
            dir.path().join("quickstart/train2.jsonl"),
        )
        .unwrap();
        fs::write(dir.path().join("s.yaml"), text.replace(from, to)).unwrap();
        let ran = lorasweep(dir.path(), &["run", "s.yaml"]);
        assert_eq!(ran.code, 2, "{to}: {}", ran.stderr);
        assert!(ran.stderr.contains(named), "{named}: {}", ran.stderr);
        assert!(ran.stderr.contains("warm_start"), "{}", ran.stderr);
    }
}

#[test]
fn a_person_adds_stops_and_retries_trials() {
    let dir = quickstart();
    let lines = "method: random\nrun_cap: 1\nparameters: {rank: [4, 8], learning_rate: {min: 0.001, \
                 max: 0.01}}\nexecutor: {device: cpu}\n";
    write(dir.path(), lines);
    let add = |json: &str| lorasweep(dir.path(), &["run", "s.yaml", "--quiet", "--add", json]);
    for (json, named) in [
        (r#"{"rank": 8}"#, "the trial has no `learning_rate`"),
        (r#"{"rank": 8, "lr": 1e-3}"#, "did you mean `learning_rate`"),
        (r#"{"rank": [8], "learning_rate": 0.001}"#, ""),
        (r#"{"rank": 0, "learning_rate": 0.001}"#, "`parameters.rank` must be"),
    ] {
        let ran = add(json);
        let is_read = named.is_empty();
        assert!(is_read || ran.code == 2 && ran.stderr.contains(named), "{json}: {}", ran.stderr);
    }
    let ran = add(r#"{"rank": 16, "learning_rate": 3e-3}"#);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let rows = ranking(dir.path());
    assert!(rows.iter().any(|row| row.0.contains("\"rank\":16")), "{rows:?}");
    let count = rows.len();
    assert_eq!(add(r#"{"rank": 16, "learning_rate": 3e-3}"#).code, 0);
    assert_eq!(ranking(dir.path()).len(), count, "a trial that is there is not added again");

    assert_eq!(lorasweep(dir.path(), &["stop", "s.yaml", "1"]).code, 0, "it has ended already");
    assert_eq!(lorasweep(dir.path(), &["stop", "s.yaml", "99"]).code, 2);
    let before = ranking(dir.path());
    let ran = lorasweep(dir.path(), &["retry", "results/s", "1", "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_same_ranking(&ranking(dir.path()), &before);
    let ran = lorasweep(dir.path(), &["retry", "results/s"]);
    assert!(ran.stdout.contains("No trial has failed"), "{}", ran.stdout);
}

#[test]
fn a_running_trial_that_a_person_stops_ends_and_keeps_what_it_has_learnt() {
    let dir = quickstart();
    let lines = "method: grid\nparameters: {learning_rate: [0.001, 0.002], epochs: [40]}\nexecutor: \
                 {device: cpu, max_packed: 1}\n";
    write(dir.path(), lines);
    let mut driver = start(dir.path());
    wait_until("trial 1 is evaluated", || {
        status(dir.path())["trials"][0]["best_eval_loss"].is_f64()
    });
    let ran = lorasweep(dir.path(), &["stop", "results/s", "1"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(driver.wait().unwrap().success());
    let trials = status(dir.path())["trials"].clone();
    assert_eq!(trials[0]["status"], "stopped by hand");
    assert!(trials[0]["best_eval_loss"].is_f64());
    assert!(dir.path().join("results/s/trials/trial-001/adapter").is_dir());
}
