//! What the journal promises across crashes, damage and versions.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use crate::common::{finished, identity, proposed, trained};
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
    let help = error.help().unwrap();
    assert!(help.contains("nothing was changed") && !help.contains("head -n"), "{help}");
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

/// The lines of the first journal file.
fn lines(results: &std::path::Path) -> (std::path::PathBuf, Vec<String>) {
    let path = results.join("s/journal/driver-1.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    (path, text.lines().map(str::to_owned).collect())
}

#[test]
fn a_line_ends_with_its_checksum_and_is_json() {
    let results = tempfile::tempdir().unwrap();
    open(results.path()).dir.record(&history()).unwrap();
    for line in lines(results.path()).1 {
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let crc = value["crc"].as_str().unwrap();
        assert!(line.ends_with(&format!(",\"crc\":\"{crc}\"}}")) && crc.len() == 8, "{line}");
    }
}

#[test]
fn a_changed_number_is_an_error_that_names_the_line_and_what_to_do() {
    let results = tempfile::tempdir().unwrap();
    open(results.path()).dir.record(&history()).unwrap();
    let (path, mut all) = lines(results.path());
    let changed = all[2].replace("\"grad_norm\":0.1", "\"grad_norm\":0.3");
    assert_ne!(changed, all[2]);
    all[2] = changed;
    fs::write(&path, all.join("\n") + "\n").unwrap();
    let error = SweepFolder::open(results.path().join("s")).unwrap().state().unwrap_err();
    assert!(error.to_string().starts_with("line 3 of the journal `"), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "its checksum is wrong");
    assert!(error.help().unwrap().contains("from a copy"), "{error:?}");
}

#[test]
fn a_journal_of_versions_without_checksums_is_read_and_may_go_on_with_them() {
    let results = tempfile::tempdir().unwrap();
    let history = history();
    open(results.path()).dir.record(&history).unwrap();
    let (path, all) = lines(results.path());
    let without: Vec<String> = all
        .iter()
        .enumerate()
        .map(|(number, line)| match number % 3 {
            0 => line.clone(),
            _ => format!("{}}}", line.split(",\"line\":").next().unwrap()),
        })
        .collect();
    fs::write(&path, without.join("\n") + "\n").unwrap();
    let mut opened = open(results.path());
    assert_eq!(opened.state, SweepState::from_events(&history));
    opened.dir.record(&[proposed(9)]).unwrap();
    assert_eq!(opened.dir.folder().events().unwrap().len(), history.len() + 1);
}

/// Reading and resuming refuse the journal with `said`, and change nothing in it.
fn assert_refused(results: &std::path::Path, said: &str) {
    let (path, before) = lines(results);
    let errors = [
        SweepFolder::open(results.join("s")).unwrap().state().unwrap_err(),
        SweepDir::look(results, &identity(1)).unwrap_err(),
        SweepDir::open(results, &identity(1), "").unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.help().unwrap().contains("nothing was changed"), "{error:?}");
    }
    assert_eq!(lines(results), (path, before));
}

#[test]
fn a_line_that_was_removed_from_the_middle_is_named() {
    for removed in 0..history().len() - 1 {
        let results = tempfile::tempdir().unwrap();
        open(results.path()).dir.record(&history()).unwrap();
        let (path, mut all) = lines(results.path());
        all.remove(removed);
        fs::write(&path, all.join("\n") + "\n").unwrap();
        let (line, then) = (removed + 1, removed + 2);
        let said = format!(
            "driver-1.jsonl` are missing or out of place: line {line} was written as line {then}"
        );
        assert_refused(results.path(), &said);
    }
}

#[test]
fn lines_that_were_exchanged_or_doubled_are_named() {
    for change in [
        |all: &mut Vec<String>| all.swap(3, 5),
        |all: &mut Vec<String>| all.insert(3, all[2].clone()),
    ] {
        let results = tempfile::tempdir().unwrap();
        open(results.path()).dir.record(&history()).unwrap();
        let (path, mut all) = lines(results.path());
        change(&mut all);
        fs::write(&path, all.join("\n") + "\n").unwrap();
        assert_refused(results.path(), "missing or out of place: line 4 was written as line");
    }
}

#[test]
fn a_journal_file_that_is_gone_while_later_ones_are_there_is_named() {
    for removed in 1..=2 {
        let results = tempfile::tempdir().unwrap();
        for events in history().chunks(5) {
            open(results.path()).dir.record(events).unwrap();
        }
        let moved = results.path().join("aside");
        fs::rename(results.path().join(format!("s/journal/driver-{removed}.jsonl")), &moved)
            .unwrap();
        let error = SweepDir::open(results.path(), &identity(1), "").unwrap_err();
        assert!(
            error.to_string().contains(&format!("driver-{removed}.jsonl` is missing")),
            "{error}"
        );
        assert!(error.help().unwrap().contains("from a copy"), "{error:?}");
    }
}

#[test]
fn a_file_that_a_version_without_numbers_of_lines_began_is_gone_on_with_and_read() {
    let results = tempfile::tempdir().unwrap();
    open(results.path()).dir.record(&history()).unwrap();
    let (path, all) = lines(results.path());
    let without = |line: &String| format!("{}}}", line.split(",\"line\":").next().unwrap());
    fs::write(&path, all.iter().map(without).collect::<Vec<_>>().join("\n") + "\n").unwrap();
    let join = || SweepDir::join(results.path(), &identity(1), "", Duration::ZERO).unwrap();
    for id in 8..=9 {
        join().dir.record(&[proposed(id)]).unwrap();
    }
    let (_, all) = lines(results.path());
    assert!(
        all.last().unwrap().contains(&format!(",\"line\":{},", history().len() + 2)),
        "{all:?}"
    );
    assert_eq!(join().dir.folder().events().unwrap().len(), history().len() + 2);
}

#[test]
fn a_journal_cut_within_its_first_line_is_refused_when_trials_have_left_something() {
    let results = tempfile::tempdir().unwrap();
    {
        let mut opened = open(results.path());
        opened.dir.record(&history()).unwrap();
        let adapter = |dir: &std::path::Path| {
            fs::write(dir.join("adapter_config.json"), "{}")?;
            Ok(true)
        };
        opened.dir.save_adapter(spec::TrialId(1), adapter).unwrap();
    }
    let (path, all) = lines(results.path());
    let cut = &all[0][..40];
    fs::write(&path, cut).unwrap();
    let folder = SweepFolder::open(results.path().join("s")).unwrap();
    let errors = [
        folder.state().unwrap_err(),
        SweepDir::look(results.path(), &identity(1)).unwrap_err(),
        SweepDir::open(results.path(), &identity(1), "").unwrap_err(),
    ];
    for error in errors {
        let said = error.to_string();
        assert!(
            said.contains("driver-1.jsonl`, which ends within line 1: trial 001 left"),
            "{said}"
        );
        assert!(error.help().unwrap().contains("nothing was changed"), "{error:?}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), cut, "the file is as it was found");
}

#[test]
fn a_worker_whose_journal_is_cut_within_its_first_line_has_lost_the_ends_of_its_trials() {
    let results = tempfile::tempdir().unwrap();
    let mut opened = open(results.path());
    opened.dir.record(&[proposed(1)]).unwrap();
    let trial = SweepState::from_events(&[proposed(1)]).trials[&spec::TrialId(1)].clone();
    opened.dir.write_trial(&trial, &store::TrialTables::default()).unwrap();
    let folder = SweepFolder::open(results.path().join("s")).unwrap();
    folder.state().expect("tables may be written before the end is recorded");
    fs::write(results.path().join("s/journal/worker-001-1.jsonl"), "{\"v\":5,\"at").unwrap();
    let said = folder.state().unwrap_err().to_string();
    assert!(said.contains("worker-001-1.jsonl`, which ends within line 1: trial 001"), "{said}");
}

#[test]
fn a_finished_sweep_with_a_trial_that_has_not_ended_has_lost_records() {
    let results = tempfile::tempdir().unwrap();
    open(results.path()).dir.record(&[proposed(1), proposed(2), Event::SweepFinished]).unwrap();
    let said = SweepFolder::open(results.path().join("s")).unwrap().state().unwrap_err();
    assert!(said.to_string().contains("001, 002"), "{said}");
    let again = SweepDir::open(results.path(), &identity(1), "name: s\n");
    assert!(again.is_err(), "nor is it trained");
}

#[test]
fn the_line_that_a_dead_driver_left_unfinished_is_named_when_it_is_cut() {
    let results = tempfile::tempdir().unwrap();
    open(results.path()).dir.record(&history()).unwrap();
    let (path, all) = lines(results.path());
    fs::write(&path, format!("{}\n{}", all[0], &all[1][..10])).unwrap();
    let cut = open(results.path()).cut;
    assert_eq!(cut, [store::TornLine { path, line: 2, bytes: 10 }]);
    assert_eq!(open(results.path()).cut, []);
}

proptest! {
    #![proptest_config(few_cases())]

    /// One changed bit anywhere in a journal is an error, or cuts its last line.
    #[test]
    fn a_changed_bit_never_changes_what_a_journal_says(share in 0.0..1.0_f64, bit in 0..8_u32) {
        let results = tempfile::tempdir().unwrap();
        let history = history();
        open(results.path()).dir.record(&history).unwrap();
        let path = results.path().join("s/journal/driver-1.jsonl");
        let mut bytes = fs::read(&path).unwrap();
        let at = (share * bytes.len() as f64) as usize;
        bytes[at] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();
        match SweepFolder::open(results.path().join("s")).unwrap().events() {
            Ok(events) => prop_assert_eq!(&events[..], &history[..history.len() - 1]),
            Err(error) => prop_assert!(error.to_string().contains("driver-1.jsonl"), "{}", error),
        }
    }
}
