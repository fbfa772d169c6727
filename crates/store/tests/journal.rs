//! What the journal promises across crashes, damage and versions.

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write;

use common::{finished, identity, proposed, trained};
use proptest::prelude::*;
use spec::{Event, SweepState};
use store::{StoreError, SweepDir, SweepFolder};

fn open(results: &std::path::Path) -> store::Opened {
    SweepDir::open(results, &identity(1), "name: s\n").unwrap()
}

fn history() -> Vec<Event> {
    let mut events = vec![proposed(1), proposed(2)];
    for step in 1..=5 {
        events.extend([trained(1, step), trained(2, step)]);
    }
    events.push(finished(1));
    events
}

#[test]
fn every_launch_writes_a_file_of_its_own_and_replay_reads_them_in_order() {
    let results = tempfile::tempdir().unwrap();
    let history = history();
    for events in history.chunks(3) {
        open(results.path()).dir.record(events).unwrap();
    }
    let opened = open(results.path());
    assert_eq!(opened.state, SweepState::from_events(&history));
    assert_eq!(opened.dir.folder().events().unwrap(), history);
    let files = fs::read_dir(results.path().join("s/journal")).unwrap().count();
    assert_eq!(files, history.len().div_ceil(3) + 1);
}

#[test]
fn ten_launches_are_read_in_the_order_of_their_numbers_not_of_their_names() {
    let results = tempfile::tempdir().unwrap();
    let events: Vec<_> = (1..=12).map(proposed).collect();
    for event in &events {
        open(results.path()).dir.record(std::slice::from_ref(event)).unwrap();
    }
    let folder = SweepFolder::open(results.path().join("s")).unwrap();
    assert_eq!(folder.events().unwrap(), events);
}

#[test]
fn a_damaged_line_in_the_middle_names_file_and_line() {
    let results = tempfile::tempdir().unwrap();
    open(results.path()).dir.record(&history()).unwrap();
    let path = results.path().join("s/journal/driver-1.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let damaged: Vec<_> = text
        .lines()
        .enumerate()
        .map(|(i, l)| if i == 4 { "{\"v\":1,garbage" } else { l })
        .collect();
    fs::write(&path, damaged.join("\n") + "\n").unwrap();
    let error = SweepDir::open(results.path(), &identity(1), "").unwrap_err();
    assert!(error.to_string().starts_with("line 5 of the journal `"), "{error}");
    assert!(error.to_string().contains("driver-1.jsonl"), "{error}");
    assert!(error.help().unwrap().contains("head -n 4"), "{error:?}");
}

#[test]
fn a_record_of_a_newer_version_is_refused_as_newer_not_as_damaged() {
    let results = tempfile::tempdir().unwrap();
    open(results.path());
    let path = results.path().join("s/journal/driver-1.jsonl");
    let line = "{\"v\":99,\"at_ms\":0,\"event\":{\"type\":\"from_the_future\"}}\n";
    OpenOptions::new().append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
    let error = SweepDir::open(results.path(), &identity(1), "").unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { found: 99, .. }), "{error}");
}

#[test]
fn a_reader_sees_the_complete_lines_while_the_writer_is_in_the_middle_of_one() {
    let results = tempfile::tempdir().unwrap();
    let mut opened = open(results.path());
    opened.dir.record(&[proposed(1)]).unwrap();
    let path = results.path().join("s/journal/driver-1.jsonl");
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"{\"v\":1,\"at").unwrap();
    let folder = SweepFolder::open(results.path().join("s")).unwrap();
    assert_eq!(folder.events().unwrap(), [proposed(1)]);
    assert_eq!(folder.holder().unwrap().unwrap().pid, std::process::id());
}

/// As many as `PROPTEST_CASES` says, else few: every case opens sweeps, and opening syncs to the disk.
fn few_cases() -> ProptestConfig {
    let is_asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    if is_asked_for { ProptestConfig::default() } else { ProptestConfig::with_cases(48) }
}

proptest! {
    #![proptest_config(few_cases())]

    /// Whatever byte a crash cuts the journal at, the events before it are kept, the torn one is
    /// gone, and the next event does not stick to it.
    #[test]
    fn a_journal_cut_at_any_byte_goes_on_with_whole_records(share in 0.0..1.0_f64) {
        let results = tempfile::tempdir().unwrap();
        let history = history();
        open(results.path()).dir.record(&history).unwrap();
        let path = results.path().join("s/journal/driver-1.jsonl");
        let bytes = fs::read(&path).unwrap();
        let cut = (share * bytes.len() as f64) as usize;
        fs::write(&path, &bytes[..cut]).unwrap();
        let whole = String::from_utf8_lossy(&bytes[..cut]).matches('\n').count();

        let mut opened = open(results.path());
        prop_assert_eq!(&opened.state, &SweepState::from_events(&history[..whole]));
        opened.dir.record(&[proposed(9)]).unwrap();
        let mut expected = history[..whole].to_vec();
        expected.push(proposed(9));
        prop_assert_eq!(opened.dir.folder().events().unwrap(), expected);
        prop_assert!(fs::read(&path).unwrap().last().is_none_or(|&b| b == b'\n'));
    }
}
