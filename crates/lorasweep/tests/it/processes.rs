//! The processes of a running sweep: seen, asked to end, refused twice, and what becomes of them
//! when something is in their way.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]
#![cfg(unix)]

use std::fs;
#[cfg(target_os = "linux")]
use std::path::Path;
use std::process::{Child, Command, Output};

use crate::common::{is_training, lorasweep, prepare, start, status, wait_until};
use store::SweepFolder;

fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
}

fn said(child: Child) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_running_sweep_is_seen_refused_a_second_time_cancelled_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), 6, "checkpoint_seconds: 60");
    let mut driver = start(dir.path());
    wait_until("it trains", || is_training(dir.path()));

    let seen = status(dir.path());
    let worker = &seen["workers"][0];
    assert_eq!((&worker["worker"], &worker["device"]), (&"worker-001".into(), &"cpu".into()));
    assert_ne!(worker["pid"].as_u64(), Some(driver.id().into()), "a process of its own");
    assert_eq!(worker["trials"], serde_json::json!([1, 2]));

    let second = lorasweep(dir.path(), &["run", "s.yaml"]);
    assert_eq!(second.code, 1);
    let holder = format!("is being run by process {} on", driver.id());
    assert!(second.stderr.contains(&holder), "{}", second.stderr);

    let cancelled = lorasweep(dir.path(), &["cancel", "s.yaml"]);
    assert_eq!(cancelled.code, 0, "{}", cancelled.stderr);
    assert_eq!(driver.wait().unwrap().code(), Some(130));
    let seen = status(dir.path());
    assert_eq!((&seen["state"], &seen["workers"]), (&"interrupted".into(), &serde_json::json!([])));
    let saved = dir.path().join("results/s/trials/trial-001/checkpoint/manifest.json");
    assert!(saved.is_file());

    let again = lorasweep(dir.path(), &["run", "s.yaml", "--quiet"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    let state = SweepFolder::open(dir.path().join("results/s")).unwrap().state().unwrap();
    assert!(state.finished && state.trials.values().all(|trial| trial.outcome().is_some()));
}

#[test]
fn a_worker_that_gives_no_sign_of_life_is_ended_and_its_trials_go_on() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), 3, "heartbeat_seconds: 10, checkpoint_seconds: 1");
    let driver = start(dir.path());
    wait_until("it trains", || is_training(dir.path()));
    let pid = status(dir.path())["workers"][0]["pid"].to_string();
    signal("-STOP", &pid);
    let (code, stderr) = said(driver);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("worker-001 was lost: it gave no sign of life for 10 s"), "{stderr}");
    let folder = SweepFolder::open(dir.path().join("results/s")).unwrap();
    assert_eq!(folder.state().unwrap().lost_workers.len(), 1);
    let page = fs::read_to_string(dir.path().join("results/s/report.html")).unwrap();
    assert!(page.contains("gave no sign of life"));
}

#[test]
fn a_model_that_no_worker_can_load_ends_the_sweep_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), 1, "devices: 2");
    let weights = dir.path().join("quickstart/base/model.safetensors");
    let length = weights.metadata().unwrap().len();
    fs::File::options().write(true).open(&weights).unwrap().set_len(length / 2).unwrap();
    let ran = lorasweep(dir.path(), &["run", "s.yaml", "--quiet"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("model.safetensors"), "{}", ran.stderr);
}

/// In a mount namespace of its own, where the system allows one.
#[test]
fn on_a_full_disk_the_sweep_says_so_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), 30, "checkpoint_seconds: 1");
    fs::create_dir(dir.path().join("results")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=200k tmpfs results || exit 77\n\
         {0} check s.yaml >/dev/null; echo refused $? >&2\n\
         {0} run s.yaml --quiet; echo refused $? >&2\n\
         ls results >&2; echo nothing was begun >&2\n\
         mount -o remount,size=1500k results\n\
         {0} run s.yaml --quiet; echo full $? >&2\n\
         mount -o remount,size=64m results\n\
         {0} run s.yaml --quiet; echo room $? >&2\n\
         cat results/s/report.txt",
        env!("CARGO_BIN_EXE_lorasweep")
    );
    let ran = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", &script])
        .current_dir(dir.path())
        .output();
    let Ok(ran) = ran else { return };
    let stderr = String::from_utf8_lossy(&ran.stderr);
    if ran.status.code() == Some(77) || stderr.contains("unshare failed") {
        println!("not tested: this system allows no mounts of one's own");
        return;
    }
    assert!(stderr.contains("No space left on device"), "{stderr}");
    let refused = "no room for one checkpoint of each of the 2 trials in training in `results/s`: ";
    assert_eq!(stderr.matches(refused).count(), 2, "{stderr}");
    assert!(stderr.contains("refused 28\nnothing was begun\n"), "{stderr}");
    assert_eq!(stderr.matches("refused 28\n").count(), 2, "{stderr}");
    assert!(stderr.contains("full 28\n") && stderr.contains("room 0"), "{stderr}");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("001"), "the report is there");
}

/// Nothing is lost where a process may take less memory than it needs, and what cannot fit is refused
/// or trained with less company.
#[test]
#[cfg(target_os = "linux")]
fn a_limit_on_a_processs_memory_is_planned_with_and_a_sweep_goes_on_without_it() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), 2, "checkpoint_seconds: 1");
    let limited = |kib, command: &str| within(kib, command, dir.path());
    let (code, said) = limited(600_000, "check s.yaml");
    assert_eq!(code, Some(0), "{said}");
    // 586 MiB in all, whatever the machine has.
    let free = said.split("; ").find_map(|part| part.split_once(" MiB are free beside"));
    let free: f64 = free.unwrap_or_else(|| panic!("{said}")).0.parse().unwrap();
    assert!((100.0..586.0).contains(&free), "{free}: {said}");

    // Enough to load the program; whether it is enough to train is the allocator's business.
    limited(110_000, "run s.yaml --quiet");
    let (code, said) = limited(4_000_000, "run s.yaml --quiet");
    assert_eq!(code, Some(0), "{said}");
    let state = SweepFolder::open(dir.path().join("results/s")).unwrap().state().unwrap();
    assert!(state.finished && state.trials.len() == 2);
}

/// How a command ended that may map so many KiB, and what it said.
#[cfg(target_os = "linux")]
fn within(kib: u32, command: &str, dir: &Path) -> (Option<i32>, String) {
    let script = format!("ulimit -v {kib} && exec \"$0\" {command}");
    let output = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_lorasweep")])
        .current_dir(dir)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Whatever memory there is: a command does its work or says why not, and ends with a code of `--help`'s. No
/// signal ends it, and what a sweep has is there and resumes as if nothing had been.
#[test]
#[cfg(target_os = "linux")]
fn a_process_that_gets_no_memory_says_so_and_nothing_of_the_sweep_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), 2, "checkpoint_seconds: 1");
    let alone = lorasweep(dir.path(), &["run", "s.yaml", "--quiet", "--results", "alone"]);
    assert_eq!(alone.code, 0, "{}", alone.stderr);
    let loads = |kib: &u32| within(*kib, "--version", dir.path()).0 == Some(0);
    let least = (40_000..1_000_000).step_by(2_000).find(loads).expect("enough to load the program");

    let mut aborted = 0;
    let mut ended = |kib: u32, command: &str| {
        let (code, said) = within(kib, command, dir.path());
        let known = [0, 1, 2, 3, 12, 28].map(Some);
        assert!(known.contains(&code), "{command} with {kib} KiB: {code:?}: {said}");
        assert!(code == Some(0) || said.contains("error: "), "{command} with {kib} KiB: {said}");
        let is_told = said.contains("the program was aborted; the line before says why")
            && said.contains("Nothing that a sweep finished is lost");
        assert!(code != Some(12) || is_told, "{command} with {kib} KiB: {said}");
        aborted += u32::from(code == Some(12));
    };
    for kib in (least..least + 48_000).step_by(6_000) {
        ended(kib, "check s.yaml");
        ended(kib, "report alone/s");
        ended(kib, "export alone/s --best --to out --force");
    }
    for kib in (least..least + 48_000).step_by(16_000) {
        ended(kib, "run s.yaml --quiet");
    }
    assert!(aborted > 0, "no limit was low enough to try anything");

    let again = lorasweep(dir.path(), &["run", "s.yaml", "--quiet"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    let losses = |results: &str| {
        let state = SweepFolder::open(dir.path().join(results)).unwrap().state().unwrap();
        let best = |trial: &spec::TrialState| trial.best().map(|best| best.eval_loss);
        assert!(state.finished);
        state.trials.values().map(best).collect::<Vec<_>>()
    };
    // Rounding depends on which trials share a step.
    for (own, alone) in losses("results/s").iter().zip(losses("alone/s")) {
        let (own, alone) = (own.expect("it ended"), alone.expect("it ended"));
        assert!((own / alone - 1.0).abs() < 1e-6, "{own} against {alone}");
    }
    let exported =
        lorasweep(dir.path(), &["export", "alone/s", "--best", "--to", "out", "--force"]);
    assert_eq!(exported.code, 0, "{}", exported.stderr);
}
