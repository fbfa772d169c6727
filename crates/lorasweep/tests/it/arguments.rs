//! Exit codes, help and messages for wrong arguments.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use std::fs;

use crate::common::lorasweep;

#[test]
fn help_names_every_command_and_every_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let ran = lorasweep(dir.path(), &["--help"]);
    assert_eq!(ran.code, 0);
    for word in ["init", "check", "run", "status", "report", "export", "Exit codes:", "  130  "] {
        assert!(ran.stdout.contains(word), "{word} is missing in:\n{}", ran.stdout);
    }
}

#[test]
fn the_version_says_what_the_binary_was_built_for() {
    let dir = tempfile::tempdir().unwrap();
    let ran = lorasweep(dir.path(), &["--version"]);
    assert!(ran.stdout.starts_with(&format!("lorasweep {} (", env!("CARGO_PKG_VERSION"))));
    assert!(ran.stdout.contains("CPU"), "{}", ran.stdout);
}

#[test]
fn a_missing_sweep_file_is_named_and_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["check", "run"] {
        let ran = lorasweep(dir.path(), &[command, "none.yaml"]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.starts_with("error: failed to read the sweep file `none.yaml`"));
        assert!(ran.stderr.contains("help: `lorasweep init FILE`"), "{}", ran.stderr);
    }
}

#[test]
fn a_sweep_file_with_mistakes_shows_the_place_exits_2_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bad.yaml"), "name: bad\nmethd: grid\n").unwrap();
    let ran = lorasweep(dir.path(), &["run", "bad.yaml"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("bad.yaml:2:1"), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    assert!(!dir.path().join("results").exists());
}

#[test]
fn unknown_arguments_exit_2() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(lorasweep(dir.path(), &["run", "x.yaml", "--epochs", "3"]).code, 2);
    assert_eq!(lorasweep(dir.path(), &["train"]).code, 2);
    let both = ["export", "x", "--best", "--trial", "3", "--to", "y"];
    assert_eq!(lorasweep(dir.path(), &both).code, 2);
}

#[test]
fn errors_are_coloured_only_when_asked_for_without_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let plain = lorasweep(dir.path(), &["report", "none"]);
    let coloured = lorasweep(dir.path(), &["report", "none", "--color", "always"]);
    assert!(!plain.stderr.contains('\x1b'), "{:?}", plain.stderr);
    assert!(coloured.stderr.starts_with("\x1b[1;31merror:\x1b[0m "), "{:?}", coloured.stderr);
}

#[test]
fn init_writes_a_sweep_once_and_names_the_next_command() {
    let dir = tempfile::tempdir().unwrap();
    let ran = lorasweep(dir.path(), &["init", "mine.yaml", "--model", "my/model"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("lorasweep check mine.yaml"), "{}", ran.stdout);
    let text = fs::read_to_string(dir.path().join("mine.yaml")).unwrap();
    assert!(text.contains("\nmodel: \"my/model\""), "{text}");
    fs::write(dir.path().join("mine.yaml"), "kept").unwrap();
    let again = lorasweep(dir.path(), &["init", "mine.yaml"]);
    assert_eq!(again.code, 2);
    assert!(again.stderr.contains("`mine.yaml` exists already"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(dir.path().join("mine.yaml")).unwrap(), "kept");
    assert_eq!(lorasweep(dir.path(), &["init", "mine.yaml", "--force"]).code, 0);
}

#[test]
fn a_sweep_of_init_names_the_schema_beside_it_which_is_the_one_that_schema_prints() {
    let dir = tempfile::tempdir().unwrap();
    let printed = lorasweep(dir.path(), &["schema"]).stdout;
    for (arguments, sweep) in
        [(["init", "mine.yaml"], "mine.yaml"), (["init", "--quickstart"], "quickstart.yaml")]
    {
        assert_eq!(lorasweep(dir.path(), &arguments).code, 0);
        let text = fs::read_to_string(dir.path().join(sweep)).unwrap();
        let first = text.lines().next().unwrap_or_default();
        let named = first.strip_prefix("# yaml-language-server: $schema=").unwrap_or_default();
        let schema = fs::read_to_string(dir.path().join(named)).unwrap();
        assert_eq!(schema.trim_end(), printed.trim_end(), "{sweep}");
        fs::remove_file(dir.path().join(named)).unwrap();
    }
}

#[test]
fn the_quickstart_is_in_the_binary_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ran = lorasweep(dir.path(), &["init", "--quickstart", "try"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(dir.path().join("try/quickstart.yaml").is_file());
    assert!(ran.stdout.contains("lorasweep run try/quickstart.yaml"), "{}", ran.stdout);
    let again = lorasweep(dir.path(), &["init", "--quickstart", "try"]);
    assert_eq!(again.code, 2);
    let checked = lorasweep(dir.path(), &["check", "try/quickstart.yaml", "--json"]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    let found: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    assert!(found["trials"].as_u64().unwrap() > 1);
    assert!(found["memory_total"].as_u64().unwrap() > 0);
}

#[test]
fn what_init_writes_is_short_and_check_accepts_it_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(lorasweep(dir.path(), &["init", "--quickstart", "."]).code, 0);
    let given = ["--model", "quickstart/base", "--data", "quickstart/train.jsonl"];
    let init = |more: &[&str]| lorasweep(dir.path(), &[&["init"], more, &given[..]].concat());
    assert_eq!(init(&["a.yaml"]).code, 0);
    fs::create_dir(dir.path().join("sub")).unwrap();
    assert_eq!(init(&["sub/b.yaml"]).code, 0, "paths are relative to the sweep file's folder");
    let lines = fs::read_to_string(dir.path().join("a.yaml")).unwrap().lines().count();
    assert!(lines <= 28, "{lines} lines");
    for file in ["a.yaml", "sub/b.yaml"] {
        let ran = lorasweep(dir.path(), &["check", file]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    assert_eq!(init(&["--full", "c.yaml"]).code, 0);
    let full = fs::read_to_string(dir.path().join("c.yaml")).unwrap();
    assert!(full.contains("\n# replicates: 2\n") && full.lines().count() > 100, "{full}");
}

#[test]
fn completions_and_man_pages_name_every_command() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let ran = lorasweep(dir.path(), &["completions", shell]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains("retry") && ran.stdout.contains("--add"), "{shell}");
    }
    assert_eq!(lorasweep(dir.path(), &["completions", "--man", "man"]).code, 0);
    let page = fs::read_to_string(dir.path().join("man/lorasweep-run.1")).unwrap();
    assert!(page.contains(r"\-\-add"), "{page}");
    assert!(dir.path().join("man/lorasweep.1").is_file());
}

#[test]
fn every_command_takes_the_sweep_file_or_the_results_folder() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    assert_eq!(lorasweep(dir.path(), &["init", "--quickstart", "sub"]).code, 0);
    let text = "name: q\nmethod: grid\nparameters: {rank: [4]}\nmodel: quickstart/base\ndata: {train: \
                quickstart/train.jsonl, validation: quickstart/validation.jsonl}\ntrain: {batch_size: \
                64, epochs: 1}\nexecutor: {device: cpu}\n";
    fs::write(dir.path().join("sub/q.yaml"), text).unwrap();
    assert_eq!(lorasweep(dir.path(), &["run", "sub/q.yaml", "--quiet"]).code, 0);
    for sweep in ["sub/q.yaml", "results/q", "results"] {
        for command in [
            &["check", sweep][..],
            &["data", sweep],
            &["run", sweep],
            &["status", sweep],
            &["explain", sweep],
            &["report", sweep],
            &["convert", sweep, "--csv", "out.csv", "--force"],
            &["compare", sweep, ":1"],
            &["export", sweep, "--to", "adapter", "--force"],
            &["stop", sweep, "1"],
            &["retry", sweep],
            &["cancel", sweep],
        ] {
            let ran = lorasweep(dir.path(), command);
            assert_eq!(ran.code, 0, "{command:?}: {}", ran.stderr);
        }
    }
    let ran = lorasweep(dir.path(), &["convert", "results/q"]);
    assert_eq!(ran.code, 2);
    for target in ["--tensorboard", "--optuna", "--mlflow", "--csv", "--parquet"] {
        assert!(ran.stderr.contains(target), "{target}: {}", ran.stderr);
    }
}
