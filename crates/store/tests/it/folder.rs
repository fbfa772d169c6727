//! Who may open a sweep's folder, and what survives.

use std::fs;

use crate::common::{evaluated, finished, identity, proposed};
use spec::{Event, Outcome, StopReason, SweepState, TrialId};
use store::{StoreError, SweepDir, SweepFolder, set_aside};

#[test]
fn a_new_folder_holds_the_sweep_file_as_written() {
    let results = tempfile::tempdir().unwrap();
    let opened = SweepDir::open(results.path(), &identity(1), "name: s # mine\n").unwrap();
    assert_eq!(opened.state, SweepState::default());
    let written = fs::read_to_string(results.path().join("s/sweep.yaml")).unwrap();
    assert_eq!(written, "name: s # mine\n");
    assert_eq!(opened.dir.folder().identity().unwrap(), identity(1));
}

#[test]
fn a_different_sweep_of_the_same_name_is_refused_and_nothing_is_changed() {
    let results = tempfile::tempdir().unwrap();
    let mut first = SweepDir::open(results.path(), &identity(1), "one").unwrap();
    first.dir.record(&[proposed(1)]).unwrap();
    drop(first);
    let error = SweepDir::open(results.path(), &identity(2), "two").unwrap_err();
    assert!(error.to_string().contains("\n  - seed: 1 -> 2"), "{error}");
    assert!(error.help().unwrap().contains("--fresh"));
    assert_eq!(fs::read_to_string(results.path().join("s/sweep.yaml")).unwrap(), "one");
    let again = SweepDir::open(results.path(), &identity(1), "one").unwrap();
    assert_eq!(again.state.trials.len(), 1);
}

#[test]
fn setting_aside_keeps_every_former_folder() {
    let results = tempfile::tempdir().unwrap();
    assert_eq!(set_aside(results.path(), "s").unwrap(), None);
    for n in 1..=2 {
        drop(SweepDir::open(results.path(), &identity(n), "").unwrap());
        let aside = set_aside(results.path(), "s").unwrap().unwrap();
        assert_eq!(aside, results.path().join(format!("s.old-{n}")));
        assert_eq!(SweepFolder::open(aside).unwrap().identity().unwrap(), identity(n));
    }
}

#[test]
fn a_sweep_that_is_being_driven_is_neither_opened_nor_set_aside() {
    let results = tempfile::tempdir().unwrap();
    let first = SweepDir::open(results.path(), &identity(1), "").unwrap();
    let second = SweepDir::open(results.path(), &identity(1), "").unwrap_err();
    assert!(matches!(second, StoreError::Locked { .. }), "{second}");
    let moved = set_aside(results.path(), "s").unwrap_err();
    assert!(matches!(moved, StoreError::Locked { .. }), "{moved}");
    drop(first);
    assert!(set_aside(results.path(), "s").unwrap().is_some());
}

#[test]
fn what_dead_processes_left_half_written_is_removed() {
    let results = tempfile::tempdir().unwrap();
    let trial = results.path().join("s/trials/trial-001");
    let mut opened = SweepDir::open(results.path(), &identity(1), "").unwrap();
    opened.dir.record(&[proposed(1)]).unwrap();
    drop(opened);
    fs::create_dir_all(trial.join("adapter.tmp-node-1")).unwrap();
    fs::create_dir_all(trial.join("checkpoint")).unwrap();
    fs::write(trial.join("checkpoint/checkpoint.tmp-node-1"), "half").unwrap();
    let mut opened = SweepDir::open(results.path(), &identity(1), "").unwrap();
    opened.dir.remove_leftovers().unwrap();
    assert!(!trial.join("adapter.tmp-node-1").exists());
    assert!(!trial.join("checkpoint/checkpoint.tmp-node-1").exists());
}

#[test]
fn a_trial_without_anything_to_save_has_no_adapter_folder() {
    let results = tempfile::tempdir().unwrap();
    let mut opened = SweepDir::open(results.path(), &identity(1), "").unwrap();
    assert!(!opened.dir.save_adapter(TrialId(1), |_| Ok(false)).unwrap());
    assert_eq!(opened.dir.folder().adapter(TrialId(1)), None);
    opened
        .dir
        .save_adapter(TrialId(1), |dir| Ok(fs::write(dir.join("a"), "")?).map(|()| true))
        .unwrap();
    assert!(opened.dir.folder().adapter(TrialId(1)).unwrap().join("a").is_file());
}

#[test]
fn the_adapter_of_an_early_stop_is_not_that_of_what_came_after_the_trial_went_on() {
    let results = tempfile::tempdir().unwrap();
    let mut opened = SweepDir::open(results.path(), &identity(1), "").unwrap();
    let id = TrialId(1);
    let reason = || StopReason::EarlyTerminate { reason: "behind".to_owned() };
    let stopped =
        Event::TrialFinished { trial: id, outcome: Outcome::Stopped { reason: reason() } };
    let mut events = vec![
        proposed(1),
        evaluated(1, 4, 2.0),
        Event::CheckpointKept { trial: id, step: 4 },
        stopped,
        Event::TrialPromoted { trial: id, reason: "ahead by now".to_owned(), at: None },
    ];
    opened
        .dir
        .save_adapter(id, |dir| Ok(fs::write(dir.join("a"), "of step 4")?).map(|()| true))
        .unwrap();
    let folder = opened.dir.folder();
    let has_best = |events: &[Event]| {
        let state = SweepState::from_events(events);
        let step = state.trials[&id].best().unwrap().step;
        let at = folder.adapter_at(&state, id, step);
        assert_eq!(folder.best_adapter(&state.trials[&id]), at);
        at.is_some()
    };
    assert!(has_best(&events), "what went on has come no further yet");
    events.push(evaluated(1, 6, 1.0));
    assert!(!has_best(&events), "the adapter of step 4 passed for that of step 6");
    events.push(finished(1));
    assert!(has_best(&events), "its end comes with its adapter");
}

#[test]
fn a_folder_of_somebody_else_is_not_written_into() {
    for name in ["sweep.yaml", "report.html", "plots/mine.png", "trials/one", "best/model"] {
        let results = tempfile::tempdir().unwrap();
        let path = results.path().join("s").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "mine").unwrap();
        let error = SweepDir::open(results.path(), &identity(1), "name: s\n").unwrap_err();
        assert!(matches!(error, StoreError::Occupied { .. }), "{name}: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
    let results = tempfile::tempdir().unwrap();
    fs::create_dir(results.path().join("s")).unwrap();
    fs::write(results.path().join("s/sweep.yaml"), "name: s\n").unwrap();
    fs::write(results.path().join("s/notes.txt"), "mine").unwrap();
    SweepDir::open(results.path(), &identity(1), "name: s\n").unwrap();
    assert_eq!(fs::read_to_string(results.path().join("s/notes.txt")).unwrap(), "mine");
}

#[test]
fn a_folder_that_is_not_a_sweep_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = SweepFolder::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::NotASweep { .. }), "{error}");
}

#[test]
fn settings_outside_the_identity_follow_the_sweep_file() {
    let results = tempfile::tempdir().unwrap();
    drop(SweepDir::open(results.path(), &identity(1), "first").unwrap());
    let mut changed = identity(1);
    changed.sweep["report"] = 3.into();
    let opened = SweepDir::open(results.path(), &changed, "second").unwrap();
    assert_eq!(opened.dir.folder().identity().unwrap(), changed);
    assert_eq!(fs::read_to_string(results.path().join("s/sweep.yaml")).unwrap(), "second");
}

#[test]
fn looking_refuses_what_opening_would_refuse_and_leaves_no_trace() {
    let results = tempfile::tempdir().unwrap();
    assert_eq!(SweepDir::look(results.path(), &identity(1)).unwrap(), None);
    assert!(!results.path().join("s").exists());
    let mut first = SweepDir::open(results.path(), &identity(1), "").unwrap();
    first.dir.record(&[proposed(1)]).unwrap();
    let locked = SweepDir::look(results.path(), &identity(1)).unwrap_err();
    assert!(matches!(locked, StoreError::Locked { .. }), "{locked}");
    drop(first);
    let state = SweepDir::look(results.path(), &identity(1)).unwrap().unwrap().state;
    assert_eq!(state.trials.len(), 1);
    let different = SweepDir::look(results.path(), &identity(2)).unwrap_err();
    assert!(matches!(different, StoreError::DifferentSweep { .. }), "{different}");
}
