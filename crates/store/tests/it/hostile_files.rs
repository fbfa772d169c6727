//! Files of a results folder that were damaged or written by somebody else: an error that names the
//! file, or what is still whole; never a panic.

use std::fs;
use std::path::Path;

use crate::common::{finished, identity, proposed, trained};
use proptest::prelude::*;
use spec::TrialId;
use store::{Purpose, SweepDir, SweepFolder};
use tempfile::TempDir;

/// A results folder with one sweep that has run for a while.
fn sweep() -> TempDir {
    let results = tempfile::tempdir().unwrap();
    let mut opened = SweepDir::open(results.path(), &identity(1), "").unwrap();
    let history =
        [proposed(1), trained(1, 1), proposed(2), trained(2, 1), trained(1, 2), finished(1)];
    opened.dir.record(&history).unwrap();
    results
}

/// Everything that reads the folder; none of it may panic.
fn read_all(results: &Path) -> Result<(), TestCaseError> {
    let folder = match SweepFolder::open(results.join("s")) {
        Ok(folder) => folder,
        Err(error) => {
            prop_assert!(!error.to_string().is_empty());
            return Ok(());
        }
    };
    for error in [folder.state().err(), folder.identity().err()].into_iter().flatten() {
        prop_assert!(error.to_string().contains(&*results.to_string_lossy()), "{error}");
    }
    let _ = folder.holder();
    for worker in folder.workers().unwrap_or_default() {
        let _ = (worker.beat(), worker.log_tail(20));
    }
    for purpose in [Purpose::Resume, Purpose::Fork] {
        let _ = folder.checkpoint(TrialId(1), purpose);
    }
    if let Err(error) = SweepDir::open(results, &identity(1), "") {
        prop_assert!(!error.to_string().is_empty());
    }
    Ok(())
}

/// Lines that a journal may and may not have.
fn line() -> impl Strategy<Value = Vec<u8>> {
    const LINES: &[&str] = &[
        "",
        "{}",
        "[]",
        "null",
        r#"{"v":1}"#,
        r#"{"v":2,"at_ms":0,"event":{"type":"sweep_finished"}}"#,
        r#"{"v":2,"at_ms":0,"seq":18446744073709551615,"event":{"type":"sweep_finished"}}"#,
        r#"{"v":2,"at_ms":-1,"event":{"type":"sweep_finished"}}"#,
        r#"{"v":4294967295,"at_ms":0,"event":{}}"#,
        r#"{"v":2,"at_ms":0,"event":{"type":"trial_finished","trial":4294967295,"outcome":{"kind":"completed"}}}"#,
        r#"{"v":2,"at_ms":0,"attempt":4294967295,"event":{"type":"checkpointed","trial":1,"step":4294967295}}"#,
        r#"{"v":2,"at_ms":0,"event":{"type":"trial_started","trial":1,"device":"","from_step":9,"total_steps":0,"continues":1}}"#,
        r#"{"v":2,"at_ms":0,"event":{"type":"trials_returned","trials":[7,7],"cause":{"kind":"no_room"},"capacity":0}}"#,
    ];
    prop_oneof![
        4 => prop::sample::select(LINES).prop_map(|line| line.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..60),
        1 => (1..3000_usize).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

/// As many as `PROPTEST_CASES` says, else few: every case opens sweeps, and opening syncs to the disk.
fn few_cases() -> ProptestConfig {
    let is_asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    if is_asked_for { ProptestConfig::default() } else { ProptestConfig::with_cases(48) }
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn changed_bytes_anywhere_are_noticed_or_harmless(
        file in prop::sample::select(&["journal/driver-1.jsonl", "resolved.json", "lock"][..]),
        changes in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..6),
    ) {
        let results = sweep();
        let path = results.path().join("s").join(file);
        let mut bytes = fs::read(&path).unwrap();
        let length = bytes.len();
        for (share, byte) in changes {
            bytes[(share * length as f64) as usize] = byte;
        }
        fs::write(&path, &bytes).unwrap();
        read_all(results.path())?;
    }

    #[test]
    fn a_journal_of_any_lines_is_read_or_refused(
        lines in prop::collection::vec(line(), 0..8),
        name in prop::sample::select(&["driver-2", "worker-001-1", "worker-001-99999999999", "x-1", "-1"][..]),
    ) {
        let results = sweep();
        let path = results.path().join(format!("s/journal/{name}.jsonl"));
        fs::write(path, lines.join(&b"\n"[..])).unwrap();
        read_all(results.path())?;
    }

    #[test]
    fn files_of_workers_and_checkpoints_may_hold_anything(
        content in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            prop::sample::select(&[
                "{\"v\":1,\"file\":\"../../../resolved.json\",\"step\":1,\"bytes\":3,\"sha256\":\"\"}",
                "{\"v\":9}",
                "{\"beats\":1,\"at_ms\":18446744073709551615,\"place\":\"\",\"pid\":0,\"trials\":[]}",
                "\n\n\n",
            ][..]).prop_map(|text| text.as_bytes().to_vec()),
        ],
    ) {
        let results = sweep();
        let root = results.path().join("s");
        for (dir, file) in [
            ("workers/worker-001", "heartbeat.json"),
            ("workers/worker-001", "log.txt"),
            ("workers/worker-001", "alive"),
            ("trials/trial-001/checkpoint", "manifest.json"),
        ] {
            fs::create_dir_all(root.join(dir)).unwrap();
            fs::write(root.join(dir).join(file), &content).unwrap();
        }
        read_all(results.path())?;
    }
}
