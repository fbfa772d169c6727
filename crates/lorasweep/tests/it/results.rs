//! status, report and export on a sweep that was interrupted.

use std::fs;

use crate::common::{interrupted_sweep, lorasweep};
use serde_json::Value;

#[test]
fn status_tells_what_has_ended_and_what_has_not() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    for path in ["results", "results/small"] {
        let ran = lorasweep(dir.path(), &["status", path]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let first = ran.stdout.lines().next().unwrap();
        let expected = "small: interrupted, 2 of 4 trials ended, best 003 with eval_loss 1.0000";
        assert_eq!(first, expected);
        assert!(ran.stdout.contains("10/10"), "{}", ran.stdout);
    }
    let json = lorasweep(dir.path(), &["status", "--json"]).stdout;
    let sweeps: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(sweeps[0]["trials"][2]["status"], "running");
    assert_eq!(sweeps[0]["trials"][1]["status"], "completed");
}

#[test]
fn status_of_a_sweep_that_is_being_run_names_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let folder = store::SweepFolder::open(interrupted_sweep(dir.path())).unwrap();
    let identity = folder.identity().unwrap();
    let held = store::SweepDir::open(&dir.path().join("results"), &identity, "").unwrap();
    let ran = lorasweep(dir.path(), &["status"]);
    assert!(ran.stdout.starts_with("small: running"), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("by process {} on ", std::process::id())));
    drop(held);
}

const EXTERNAL: &str = "name: small\nmethod: grid\nmodel: any\n\
                        data: {train: any.jsonl}\nparameters: {rank: [2, 4]}\n\
                        executor: {type: external}\n";

#[test]
fn results_under_another_name_are_reported_and_not_begun_anew_beside_themselves() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("small.yaml"), EXTERNAL).unwrap();
    let asked = lorasweep(dir.path(), &["ask", "small.yaml"]);
    assert_eq!(asked.code, 0, "{}", asked.stderr);
    let line = r#"{"trial": 1, "epoch": 1, "eval_loss": 1.5}"#;
    assert_eq!(lorasweep(dir.path(), &["tell", "small.yaml", line]).code, 0);
    let moved = dir.path().join("results/small.old-1");
    #[allow(clippy::disallowed_methods, reason = "a person moves a folder")]
    fs::rename(dir.path().join("results/small"), &moved).unwrap();
    let state = || store::SweepFolder::open(&moved).unwrap().state().unwrap();
    let before = state();
    let there = ["results/small.old-1"];
    let here = ["."];
    for (place, words) in [
        (dir.path(), [&["run"][..], &there].concat()),
        (dir.path(), [&["ask"][..], &there].concat()),
        (&moved, [&["run"][..], &here, &["--add", r#"{"rank": 8}"#]].concat()),
        (&moved, [&["retry"][..], &here, &["1"]].concat()),
    ] {
        let ran = lorasweep(place, &words);
        assert_eq!(ran.code, 2, "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("holds the sweep `small`"), "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("rename the folder to `small`"), "{}", ran.stderr);
    }
    assert_eq!(state(), before);
    assert_eq!(fs::read_dir(dir.path().join("results")).unwrap().count(), 1);
    assert!(!moved.join("requests").exists() && !moved.join("small").exists());
    for command in ["report", "status"] {
        assert_eq!(lorasweep(&moved, &[command, "."]).code, 0);
    }
}

#[test]
fn what_is_asked_of_a_sweep_that_has_not_begun_is_refused_and_nothing_is_made_for_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("small.yaml"), EXTERNAL).unwrap();
    for words in
        [&["cancel", "small.yaml"][..], &["stop", "small.yaml", "3"], &["retry", "small.yaml"]]
    {
        let ran = lorasweep(dir.path(), words);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("`results/small` is not there"), "{}", ran.stderr);
        assert!(ran.stderr.contains("`--results DIR`"), "{}", ran.stderr);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn status_where_there_is_no_sweep_says_what_would_be_one() {
    let dir = tempfile::tempdir().unwrap();
    let ran = lorasweep(dir.path(), &["status"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("error: there is no sweep at `results`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("help: "), "{}", ran.stderr);
}

#[test]
fn report_rebuilds_every_derived_file_and_prints_the_ranking() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    let ran = lorasweep(dir.path(), &["report", "results/small"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let text = fs::read_to_string(sweep.join("report.txt")).unwrap();
    assert!(ran.stdout.starts_with(&text), "{}\n---\n{text}", ran.stdout);
    for file in ["report.html", "ranking.csv", "ranking.json", "best/adapter_config.json"] {
        assert!(sweep.join(file).is_file(), "{file}");
    }
    let plots: Vec<_> = fs::read_dir(sweep.join("plots")).unwrap().collect();
    assert!(plots.len() >= 4, "{plots:?}");
    let json = lorasweep(dir.path(), &["report", "results/small", "--json"]).stdout;
    let ranking: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(ranking["rows"][0]["trial"], 3);
}

#[test]
fn export_takes_the_best_adapter_there_is_and_says_where_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    let ran = lorasweep(dir.path(), &["export", "results/small", "--to", "out/mine"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let out = dir.path().join("out/mine");
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert_eq!(read("adapter_model.safetensors"), "weights 2");
    assert_eq!(read("tokenizer.json"), "{}");
    let origin: Value = serde_json::from_str(&read("lorasweep.json")).unwrap();
    assert_eq!(origin["trial"], 2);
    assert_eq!(origin["step"], 5);
    assert_eq!(origin["eval_loss"], 1.5);
    let config: Value = serde_json::from_str(&read("adapter_config.json")).unwrap();
    let base = config["base_model_name_or_path"].as_str().unwrap();
    assert_eq!(base, dir.path().join("model").to_str().unwrap());
    assert_eq!(config["r"], 8);
    assert!(read("README.md").contains("# small, trial 002"));
    let sums = read("SHA256SUMS");
    let names: Vec<_> = sums.lines().filter_map(|line| line.split_once("  ")).collect();
    assert!(names.iter().all(|(sum, name)| sum.len() == 64 && out.join(name).is_file()));
    assert_eq!(names.len() + 1, fs::read_dir(&out).unwrap().count());
}

#[test]
fn an_export_that_fails_half_way_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    // The model has no config.json, which GGUF and merging need.
    for form in ["--gguf", "--merge"] {
        let ran = lorasweep(dir.path(), &["export", "results/small", form, "--to", "out/mine"]);
        assert_ne!(ran.code, 0);
        assert!(ran.stderr.contains("config.json"), "{}", ran.stderr);
        let left = fs::read_dir(dir.path().join("out")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{form}");
    }
}

#[test]
fn a_sweep_is_converted_for_other_tools_and_nothing_is_overwritten_unasked() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    let convert = |more: &[&str]| {
        let mut args = vec!["convert", "results/small", "--tensorboard", "events"];
        args.extend(["--optuna", "study.log", "--csv", "all.csv"]);
        args.extend(["--mlflow", "mlruns", "--parquet", "tables"]);
        args.extend(more);
        lorasweep(dir.path(), &args)
    };
    let ran = convert(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("all.csv").lines().count(), 1 + 3 * (2 + 1));
    let created = read("study.log").lines().filter(|l| l.contains("\"op_code\":4")).count();
    assert_eq!(created, 3);
    let runs = fs::read_dir(dir.path().join("events")).unwrap();
    assert_eq!(runs.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 1 + 3);
    let tables = fs::read_dir(dir.path().join("tables")).unwrap();
    let names = tables.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| !name.starts_with('.')).count(), 2);
    let experiments = || fs::read_dir(dir.path().join("mlruns")).unwrap().count();
    assert_eq!(experiments(), 1);
    fs::create_dir(dir.path().join("mlruns/0")).unwrap();
    assert_eq!(convert(&[]).code, 2);
    assert_eq!(convert(&["--force"]).code, 0);
    assert_eq!(experiments(), 2, "others' stay");
    let again = lorasweep(dir.path(), &["convert", "results/small", "--mlflow", "mlruns"]);
    assert_eq!(again.code, 2, "{}", again.stderr);
    fs::write(dir.path().join("events/notes.txt"), "mine").unwrap();
    assert_eq!(convert(&["--force"]).code, 2);
    assert_eq!(read("events/notes.txt"), "mine");
    let nothing = lorasweep(dir.path(), &["convert", "results/small"]);
    assert_eq!(nothing.code, 2, "one of the forms must be asked for");
}

#[test]
fn two_trials_are_set_side_by_side_with_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    let ran = lorasweep(dir.path(), &["compare", "results/small:1", ":2"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let rates = ran.stdout.lines().find(|line| line.starts_with("learning_rate")).unwrap();
    assert_eq!(rates.split_whitespace().collect::<Vec<_>>(), ["learning_rate", "1e-4", "1e-3"]);
    assert!(!ran.stdout.contains("batch_size"), "it is the same in both");
    assert!(ran.stdout.contains("only their means"), "{}", ran.stdout);
    let unknown = lorasweep(dir.path(), &["compare", "results/small:1", ":9"]);
    assert_eq!(unknown.code, 2);
}

#[test]
fn export_replaces_an_export_only_when_forced_and_never_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    let export = |trial: &str, to: &str, more: &[&str]| {
        let args = [&["export", "results/small", "--trial", trial, "--to", to], more].concat();
        lorasweep(dir.path(), &args)
    };
    assert_eq!(export("1", "mine", &[]).code, 0);
    assert_eq!(export("2", "mine", &[]).code, 2);
    let weights = || fs::read_to_string(dir.path().join("mine/adapter_model.safetensors")).unwrap();
    assert_eq!(weights(), "weights 1");
    assert_eq!(export("2", "mine", &["--force"]).code, 0);
    assert_eq!(weights(), "weights 2");
    let ran = export("2", "model", &["--force"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("it has no lorasweep.json"), "{}", ran.stderr);
    assert!(dir.path().join("model/tokenizer.json").is_file());
}

#[test]
fn export_of_an_epoch_takes_what_was_kept_of_it_and_its_card_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    let export = |trial: &str, epoch: &str| {
        let args = ["export", "results/small", "--trial", trial, "--epoch", epoch, "--to", "mine"];
        lorasweep(dir.path(), &[&args[..], &["--force"]].concat())
    };
    // Trial 1 came lowest at the end of its epoch.
    assert_eq!(export("1", "1").code, 0);
    let read = |name: &str| fs::read_to_string(dir.path().join("mine").join(name)).unwrap();
    assert_eq!(read("adapter_model.safetensors"), "weights 1");

    let not_kept = export("2", "1");
    assert_eq!(not_kept.code, 1);
    let there_is = "was not kept: there is that of its best evaluation, at epoch 0.50";
    assert!(not_kept.stderr.contains(there_is), "{}", not_kept.stderr);
    assert!(not_kept.stderr.contains("save_strategy: epoch"), "{}", not_kept.stderr);
    let unknown = export("2", "7");
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("trial 002 has no epoch 7: the last"), "{}", unknown.stderr);

    let kept = sweep.join("trials/trial-002/epochs/epoch-001");
    fs::create_dir_all(&kept).unwrap();
    fs::copy(
        sweep.join("trials/trial-002/adapter/adapter_config.json"),
        kept.join("adapter_config.json"),
    )
    .unwrap();
    fs::write(kept.join("adapter_model.safetensors"), b"\x02\0\0\0\0\0\0\0{}").unwrap();
    let ran = export("2", "1");
    assert_eq!(ran.stdout, "Exported trial 002, epoch 1, to mine\n", "{}", ran.stderr);
    assert_eq!(read("adapter_model.safetensors"), "\x02\0\0\0\0\0\0\0{}");
    let origin: Value = serde_json::from_str(&read("lorasweep.json")).unwrap();
    assert_eq!((&origin["epoch"], &origin["eval_loss"]), (&1.0.into(), &1.7.into()));
    assert_eq!(origin["is_best_evaluation"], false);
    let card = read("README.md");
    assert!(card.contains("| 1.7000 ± 0.0100 |"), "{card}");
    assert!(card.contains("1.00; its run came lowest at epoch 0.50, with 1.5000"), "{card}");
}

#[test]
fn export_says_why_a_trial_has_no_adapter() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    let export = |trial: &str| {
        lorasweep(dir.path(), &["export", "results/small", "--trial", trial, "--to", "x"])
    };
    let running = export("3");
    assert_eq!(running.code, 1);
    assert!(running.stderr.contains("trial 003 has no adapter yet: it has not ended"));
    let unknown = export("9");
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("has no trial 009"), "{}", unknown.stderr);
    assert!(!dir.path().join("x").exists());
}
