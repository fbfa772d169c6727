//! What a second siege broke: results that are lost, or taken for something else.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "a test breaks what a person would")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{interrupted_sweep, is_training, lorasweep, prepare, start, wait_until};
use spec::{Event, TrialId};
use store::{SweepDir, SweepFolder};

/// The exit code of a command whose output goes to `stdout`, and what it said on stderr.
fn printed_into(stdout: Stdio, dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let child = Command::new(env!("CARGO_BIN_EXE_lorasweep"))
        .args(args)
        .current_dir(dir)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

const PRINTING: [&[&str]; 8] = [
    &["--help"],
    &["--version"],
    &["status", "results/small"],
    &["status", "results/small", "--json"],
    &["report", "results/small"],
    &["report", "results/small", "--json"],
    &["compare", "results/small:1", ":2"],
    &["convert", "results/small", "--csv", "all.csv", "--force"],
];

#[test]
fn output_that_finds_no_room_is_an_error_of_every_command() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    for args in PRINTING {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let (code, said) = printed_into(full.into(), dir.path(), args);
        assert_eq!(code, Some(28), "{args:?}: {said}");
        assert!(said.contains("failed to write to stdout"), "{args:?}: {said}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    for args in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, said) = printed_into(writer.into(), dir.path(), args);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn in_results_that_were_copied_without_hidden_files_no_report_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    lorasweep(dir.path(), &["report", "results/small"]);
    for name in [".lorasweep-report.json", "plots/.lorasweep-plots.json"] {
        fs::remove_file(sweep.join(name)).unwrap();
    }
    let plot = fs::read_dir(sweep.join("plots")).unwrap().map(|entry| entry.unwrap().path());
    let plot = plot.filter(|path| path.extension().is_some_and(|it| it == "svg")).min().unwrap();
    let mine = [sweep.join("report.txt"), plot];
    for path in &mine {
        fs::write(path, "annotated").unwrap();
    }
    let ran = lorasweep(dir.path(), &["report", "results/small"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for path in &mine {
        assert_eq!(fs::read_to_string(path).unwrap(), "annotated");
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(ran.stderr.contains(name) && ran.stderr.contains("hidden files"), "{}", ran.stderr);
    }
}

#[test]
fn an_export_never_replaces_the_results_of_a_sweep() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    lorasweep(dir.path(), &["report", "results/small"]);
    let best = dir.path().join("results/small/best/lorasweep.json");
    let before = fs::read_to_string(&best).unwrap();
    for to in ["results/small/best", "results/small", "results/../results/small/plots"] {
        let ran = lorasweep(
            dir.path(),
            &["export", "results/small", "--trial", "1", "--to", to, "--force"],
        );
        assert_eq!(ran.code, 2, "{to}: {}", ran.stderr);
        assert!(ran.stderr.contains("belongs to the results of the sweep"), "{}", ran.stderr);
    }
    assert_eq!(fs::read_to_string(&best).unwrap(), before);
    let mine = ["export", "results/small", "--trial", "1", "--to", "results/small/mine"];
    assert_eq!(lorasweep(dir.path(), &mine).code, 0, "beside them there is room for it");
}

#[test]
fn a_merged_model_that_does_not_fit_on_the_disk_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    let path = sweep.join("resolved.json");
    let mut resolved: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    // More than any disk has, in each of two files.
    for shard in
        ["model's model-00001-of-00002.safetensors", "model's model-00002-of-00002.safetensors"]
    {
        resolved["inputs"][shard] = serde_json::json!({ "path": shard, "bytes": u64::MAX });
    }
    fs::write(&path, resolved.to_string()).unwrap();
    fs::create_dir(dir.path().join("there")).unwrap();
    fs::write(dir.path().join("there/mine"), "mine").unwrap();
    for (to, code) in [("out", 28), ("not/there/yet", 28), ("there", 2)] {
        let args = ["export", "results/small", "--trial", "1", "--merge", "--to", to];
        let ran = lorasweep(dir.path(), &args);
        assert_eq!(ran.code, code, "{to}: {}", ran.stderr);
        let said = format!("no room for the merged model in `{to}`");
        assert_eq!(ran.stderr.contains(&said), code == 28, "{}", ran.stderr);
    }
    let is_left = |name: &str| dir.path().join(name).exists();
    assert!(!is_left("out") && !is_left("not"), "a folder is left");
    let args = ["export", "results/small", "--trial", "1", "--to", "out"];
    assert_eq!(lorasweep(dir.path(), &args).code, 0, "the adapter alone fits");
}

#[test]
fn an_export_that_is_replaced_keeps_the_empty_folders_of_a_person() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    let export = |trial| {
        let args = ["export", "results/small", "--trial", trial, "--to", "out", "--force"];
        lorasweep(dir.path(), &args)
    };
    assert_eq!(export("1").code, 0);
    fs::create_dir_all(dir.path().join("out/for later/figures")).unwrap();
    let ran = export("2");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(dir.path().join("out/for later/figures").is_dir());
}

#[test]
fn init_keeps_what_it_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    for edited in ["first", "second"] {
        fs::write(dir.path().join("sweep.yaml"), edited).unwrap();
        let ran = lorasweep(dir.path(), &["init", "--force"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains("sweep.yaml.old-"), "{}", ran.stderr);
    }
    assert_eq!(
        (text("sweep.yaml.old-1"), text("sweep.yaml.old-2")),
        ("first".into(), "second".into())
    );
    assert_eq!(lorasweep(dir.path(), &["init", "--force"]).stderr, "", "nothing has changed");
    assert!(!dir.path().join("sweep.yaml.old-3").exists());
}

#[test]
fn a_damaged_adapter_is_an_error_after_the_ranking_was_shown() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    for trial in ["trial-001", "trial-002"] {
        let weights = sweep.join("trials").join(trial).join("adapter/adapter_model.safetensors");
        fs::write(weights, "other").unwrap();
    }
    let ran = lorasweep(dir.path(), &["report", "results/small"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("its checksum is wrong"), "{}", ran.stderr);
    assert!(ran.stdout.contains("1.5"), "the ranking: {}", ran.stdout);
}

#[test]
fn a_link_in_the_place_of_an_adapter_gives_nothing_away_and_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    let adapter = |trial: &str| sweep.join("trials").join(trial).join("adapter");
    // The trial with the lowest loss ends, and has what looks like an adapter behind a link.
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    for entry in fs::read_dir(adapter("trial-001")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, home.join(path.file_name().unwrap())).unwrap();
    }
    let identity = SweepFolder::open(&sweep).unwrap().identity().unwrap();
    {
        let mut opened = SweepDir::open(&dir.path().join("results"), &identity, "").unwrap();
        let (trial, outcome) = (TrialId(3), spec::Outcome::Completed);
        opened
            .dir
            .record(&[Event::TrialFinished { trial, outcome }, Event::SweepFinished])
            .unwrap();
    }
    fs::create_dir_all(adapter("trial-003").parent().unwrap()).unwrap();
    symlink(&home, adapter("trial-003")).unwrap();
    let told = "trial 003, which the report chose, has no adapter (its adapter folder is gone, or a \
                link is in its place): this is the adapter of trial 002";
    for args in
        [&["report", "results/small"][..], &["export", "results/small", "--best", "--to", "out"]]
    {
        let ran = lorasweep(dir.path(), args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(told), "{args:?}: {}", ran.stderr);
    }
    for written in ["out", "results/small/best"] {
        let weights = dir.path().join(written).join("adapter_model.safetensors");
        assert_eq!(fs::read_to_string(weights).unwrap(), "weights 2", "{written}");
    }
    let ran = lorasweep(dir.path(), &["export", "results/small", "--trial", "3", "--to", "other"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("a link is in its place"), "{}", ran.stderr);
    assert!(!dir.path().join("other").exists());
}

#[test]
fn cancelling_a_sweep_that_has_finished_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    let identity = SweepFolder::open(&sweep).unwrap().identity().unwrap();
    {
        let mut opened = SweepDir::open(&dir.path().join("results"), &identity, "").unwrap();
        let trial = TrialId(3);
        let outcome = spec::Outcome::Completed;
        opened
            .dir
            .record(&[Event::TrialFinished { trial, outcome }, Event::SweepFinished])
            .unwrap();
    }
    let ran = lorasweep(dir.path(), &["cancel", "results/small"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("nothing to cancel"), "{}", ran.stdout);
    assert!(!sweep.join("cancel").exists());
}

#[test]
fn a_link_in_the_place_of_a_table_ends_no_run() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), 1, "max_packed: 1");
    let precious = dir.path().join("precious");
    fs::write(&precious, "mine").unwrap();
    let driver = start(dir.path());
    wait_until("it trains", || is_training(dir.path()));
    let trials = dir.path().join("results/s/trials");
    for name in ["trial-001/metrics.csv", "trial-002/trial.json", "trial-002/steps.csv"] {
        fs::create_dir_all(trials.join(name).parent().unwrap()).unwrap();
        let _ = fs::remove_file(trials.join(name));
        symlink(&precious, trials.join(name)).unwrap();
    }
    let output = driver.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("a table of trial 001 could not be written"), "{said}");
    assert!(trials.join("trial-001/steps.csv").is_file(), "the others are written");
    assert!(dir.path().join("results/s/best/adapter_model.safetensors").is_file());
    assert_eq!(fs::read_to_string(&precious).unwrap(), "mine");
}
