//! What lies in a results folder and is not lorasweep's survives every command, and none of them
//! follows a link or waits for a file that is none.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "a test tidies up after itself")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{interrupted_sweep, is_training, lorasweep, prepare, start, wait_until};
use proptest::prelude::*;

/// A command that hangs does so for ever.
const LONGEST: Duration = Duration::from_secs(60);

/// Folders of a sweep's results, below its own.
const FOLDERS: [&str; 12] = [
    "",
    "plots",
    "plots/runs",
    "journal",
    "workers",
    "trials",
    "trials/trial-001",
    "trials/trial-001/checkpoint",
    "trials/trial-001/claims",
    "trials/trial-001/adapter",
    "trials/trial-001/epochs",
    "best",
];

/// What a person may put there.
#[derive(Debug, Clone, Copy)]
enum Foreign {
    File,
    Folder,
    Link,
    LinkToFolder,
    Fifo,
}

const KINDS: [Foreign; 5] =
    [Foreign::File, Foreign::Folder, Foreign::Link, Foreign::LinkToFolder, Foreign::Fifo];

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Puts something foreign at `path`; links lead into `home`.
fn plant(kind: Foreign, path: &Path, home: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match kind {
        Foreign::File => fs::write(path, "mine").unwrap(),
        Foreign::Folder => {
            fs::create_dir_all(path.join("deeper")).unwrap();
            fs::write(path.join("deeper/file"), "mine").unwrap();
        }
        Foreign::Link => symlink(home.join("precious.txt"), path).unwrap(),
        Foreign::LinkToFolder => symlink(home.join("thesis"), path).unwrap(),
        Foreign::Fifo => make_fifo(path),
    }
}

/// A folder outside of the results with files that must not be touched.
fn home(dir: &Path) -> PathBuf {
    let home = dir.join("home");
    fs::create_dir_all(home.join("thesis/chapters")).unwrap();
    fs::write(home.join("precious.txt"), "precious").unwrap();
    fs::write(home.join("thesis/chapters/one.tex"), "precious").unwrap();
    home
}

/// Everything at and below `path`, links unfollowed, with what it is.
fn listing(path: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let Ok(found) = path.symlink_metadata() else { return all };
    let kind = found.file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            all.extend(listing(&entry.unwrap().path()));
        }
        all.insert(path.to_owned(), "folder".to_owned());
    } else if kind.is_symlink() {
        all.insert(path.to_owned(), format!("link to {}", fs::read_link(path).unwrap().display()));
    } else if kind.is_fifo() {
        all.insert(path.to_owned(), "fifo".to_owned());
    } else {
        let content = fs::read(path).unwrap();
        all.insert(path.to_owned(), String::from_utf8_lossy(&content).into_owned());
    }
    all
}

/// Runs a command, whatever it answers; one that does not end fails the test. Returns its exit code
/// and what it said on stderr.
fn ends(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lorasweep"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.join("stderr.txt")).unwrap())
        .spawn()
        .unwrap();
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), fs::read_to_string(dir.join("stderr.txt")).unwrap());
        }
        if began.elapsed() > LONGEST {
            child.kill().unwrap();
            panic!("{args:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn every_command(dir: &Path, sweep: &str) {
    for args in [
        &["status", sweep][..],
        &["report", sweep],
        &["report", sweep, "--json"],
        &["export", sweep, "--best", "--to", "out", "--force"],
        &["convert", sweep, "--csv", "all.csv", "--tensorboard", "events", "--force"],
        &["compare", &format!("{sweep}:1"), ":2"],
        &["explain", sweep],
        &["cancel", sweep],
        &["report", sweep],
    ] {
        ends(dir, args);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_person_keeps_in_the_results_survives_every_command(
        planted in prop::collection::vec((0..FOLDERS.len(), 0..KINDS.len(), "[a-z]{1,8}(\\.tmp-[a-z0-9]{1,4})?(\\.(pdf|png|svg|jsonl|ckpt))?"), 1..12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let sweep = interrupted_sweep(dir.path());
        lorasweep(dir.path(), &["report", "results/small"]);
        let home = home(dir.path());
        let mut paths = Vec::new();
        for (folder, kind, name) in planted {
            let path = sweep.join(FOLDERS[folder]).join(name);
            if path.symlink_metadata().is_err() {
                plant(KINDS[kind], &path, &home);
                paths.push(path);
            }
        }
        let look = || -> Vec<_> { paths.iter().chain([&home]).map(|path| listing(path)).collect() };
        let before = look();
        every_command(dir.path(), "results/small");
        prop_assert_eq!(look(), before);
    }
}

#[test]
fn report_neither_deletes_nor_writes_through_a_folder_that_is_a_link() {
    for folder in ["plots", "plots/runs", "plots/sub"] {
        let dir = tempfile::tempdir().unwrap();
        let sweep = interrupted_sweep(dir.path());
        lorasweep(dir.path(), &["report", "results/small"]);
        let home = home(dir.path());
        fs::write(home.join("overview.png"), "mine").unwrap();
        fs::write(home.join("trial-001.svg"), "mine").unwrap();
        let link = sweep.join(folder);
        let _ = fs::remove_dir_all(&link);
        symlink(&home, &link).unwrap();
        let before = listing(&home);
        let ran = lorasweep(dir.path(), &["report", "results/small"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(listing(&home), before, "{folder}");
        assert_eq!(
            ran.stderr.contains("it is a symbolic link"),
            folder != "plots/sub",
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn figures_of_a_person_beside_the_plots_stay() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    lorasweep(dir.path(), &["report", "results/small"]);
    let mine = [sweep.join("plots/mine.pdf"), sweep.join("plots/paper/fig1.png")];
    for path in &mine {
        plant(Foreign::File, path, dir.path());
    }
    let ran = lorasweep(dir.path(), &["report", "results/small"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(mine.iter().all(|path| fs::read_to_string(path).is_ok_and(|it| it == "mine")));
}

/// A FIFO or a link to a device blocks, or has no end.
#[test]
fn no_command_waits_for_a_file_that_is_none() {
    let places = [
        "journal/worker-009-1.jsonl",
        "lock",
        "resolved.json",
        "trials/trial-003/checkpoint/manifest.json",
        "plots/.lorasweep-plots.json",
        "ranking.csv",
        "cancel",
    ];
    for place in places {
        for device in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let sweep = interrupted_sweep(dir.path());
            let path = sweep.join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&path);
            if device {
                symlink("/dev/zero", &path).unwrap();
            } else {
                make_fifo(&path);
            }
            every_command(dir.path(), "results/small");
            let still = path.symlink_metadata().unwrap().file_type();
            assert!(still.is_fifo() || still.is_symlink(), "{place} was replaced");
            if place.starts_with("journal") {
                let (code, said) = ends(dir.path(), &["status", "results/small"]);
                assert_eq!(code, Some(1), "{said}");
                assert!(said.contains("worker-009-1.jsonl") && said.contains("help: "), "{said}");
            }
        }
    }
}

#[test]
fn a_sweep_that_is_interrupted_and_resumed_leaves_what_a_person_put_beside_its_files() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), 4, "checkpoint_seconds: 1, max_packed: 1");
    let mut driver = start(dir.path());
    wait_until("it trains", || is_training(dir.path()));
    let sweep = dir.path().join("results/s");
    let saved = sweep.join("trials/trial-001/checkpoint/manifest.json");
    wait_until("a checkpoint is there", || saved.is_file());
    let home = home(dir.path());
    let mut paths = Vec::new();
    for folder in FOLDERS {
        for (number, kind) in KINDS.into_iter().enumerate() {
            let path = sweep.join(folder).join(format!("mine-{number}.tmp-notes"));
            plant(kind, &path, &home);
            paths.push(path);
        }
    }
    let look = || -> Vec<_> { paths.iter().chain([&home]).map(|path| listing(path)).collect() };
    let before = look();
    assert_eq!(lorasweep(dir.path(), &["cancel", "s.yaml"]).code, 0);
    assert_eq!(driver.wait().unwrap().code(), Some(130));
    let ran = lorasweep(dir.path(), &["check", "s.yaml", "--json"]);
    let planned: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let planned = planned["disk"]["checkpoints"]["bytes_each"].as_u64().unwrap();
    let manifest = fs::read_to_string(&saved).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let written = manifest["bytes"].as_u64().unwrap();
    assert!(
        (written..2 * written).contains(&planned),
        "{planned} bytes planned, {written} written"
    );
    let ran = lorasweep(dir.path(), &["run", "s.yaml", "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(look(), before);
}
