//! A sweep whose process dies, at any moment and repeatedly, ends like one that was left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::{
    Fuse, World, config, five_trials, outcome, ranking, run, run_until_killed, sharing_trials,
};
use proptest::prelude::*;
use spec::{Event, SaveStrategy, SweepState, TrialId};
use store::SweepFolder;
use worker::Finish;

/// What a sweep that was left alone came to.
struct Undisturbed {
    state: SweepState,
    adapters: EpochAdapters,
    /// The moments at which it could have died.
    moments: u32,
}

/// What is kept of each trial at the end of each epoch.
type EpochAdapters = BTreeMap<(TrialId, u32), String>;

fn undisturbed(world: World) -> Undisturbed {
    let results = tempfile::tempdir().unwrap();
    let fuse = Fuse::never();
    let save_strategy = SaveStrategy::Epoch;
    let run = run(results.path(), &World { fuse: fuse.clone(), save_strategy, ..world });
    assert_eq!(run.finish.unwrap(), Finish::Completed);
    let adapters = epoch_adapters(results.path());
    Undisturbed { state: run.state, adapters, moments: fuse.burnt() }
}

/// The adapter of every journalled evaluation at an epoch's end, whoever kept it.
fn epoch_adapters(results: &Path) -> EpochAdapters {
    let folder = SweepFolder::open(results.join("s")).unwrap();
    let state = folder.state().unwrap();
    let mut found = BTreeMap::new();
    for trial in state.trials.values() {
        for evaluation in &trial.evaluations {
            let Some(epoch) = evaluation.whole_epoch() else { continue };
            let id = trial.trial.id;
            let adapter = folder.adapter_at(&state, id, evaluation.step);
            let adapter = adapter.unwrap_or_else(|| panic!("trial {id}, epoch {epoch} is lost"));
            let text = fs::read_to_string(adapter.join("adapter_config.json")).unwrap();
            let values: Vec<f64> = serde_json::from_str(&text).unwrap();
            assert_eq!(values[0], f64::from(evaluation.step), "trial {id}, epoch {epoch}");
            found.insert((id, epoch), text);
        }
    }
    found
}

fn journal(results: &Path) -> Vec<Event> {
    SweepFolder::open(results.join("s")).unwrap().events().unwrap()
}

/// No trial starts after its end unless it was promoted, none ends twice, and none starts before it
/// is proposed.
fn check_order(events: &[Event]) -> Result<(), TestCaseError> {
    let (mut proposed, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for event in events {
        match event {
            Event::TrialProposed { trial, .. } => {
                prop_assert!(proposed.insert(trial.id), "proposed twice: {:?}", trial.id);
            }
            Event::TrialStarted { trial, .. } => {
                prop_assert!(proposed.contains(trial), "started before proposed: {trial:?}");
                prop_assert!(!ended.contains(trial), "started after its end: {trial:?}");
            }
            Event::TrialFinished { trial, .. } => {
                prop_assert!(ended.insert(*trial), "ended twice: {trial:?}");
            }
            Event::TrialPromoted { trial, .. } => {
                prop_assert!(ended.remove(trial), "promoted before its end: {trial:?}");
            }
            _ => {}
        }
    }
    Ok(())
}

proptest! {
    // Each case syncs hundreds of files.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_sweep_killed_anywhere_and_often_ends_like_one_left_alone(
        kills in prop::collection::vec(0.0..1.0_f64, 1..4),
        capacity in 1_usize..4,
        often in any::<bool>(),
        prunes in any::<bool>(),
        shares in any::<bool>(),
        promotes in any::<bool>(),
    ) {
        let bound = prunes.then_some(1.9);
        let trials = if shares { sharing_trials() } else { five_trials() };
        let calm = World { bound, promotes, ..World::new(trials.clone(), capacity) };
        let Undisturbed { state: expected, adapters, moments } = undisturbed(calm);
        let results = tempfile::tempdir().unwrap();
        let checkpoint_every = if often { Duration::ZERO } else { Duration::MAX };
        let world = |fuse| {
            let save_strategy = SaveStrategy::Epoch;
            let world = World::new(trials.clone(), capacity);
            World { bound, promotes, checkpoint_every, save_strategy, fuse, ..world }
        };
        for share in kills {
            let fuse = Fuse::after((share * f64::from(moments)) as u32);
            run_until_killed(results.path(), &world(fuse));
            epoch_adapters(results.path());
        }
        let last = run(results.path(), &world(Fuse::never()));
        prop_assert!(matches!(last.finish, Ok(Finish::Completed | Finish::AlreadyFinished)));
        prop_assert_eq!(outcome(&last.state), outcome(&expected));
        prop_assert_eq!(ranking(&last.state), ranking(&expected));
        prop_assert_eq!(epoch_adapters(results.path()), adapters);
        let events = journal(results.path());
        check_order(&events)?;
        let folder = SweepFolder::open(results.path().join("s")).unwrap();
        prop_assert_eq!(folder.state().unwrap(), last.state);
    }
}

#[test]
fn every_journalled_end_has_its_adapter_on_disk_whenever_the_process_died() {
    let Undisturbed { moments, .. } = undisturbed(World::new(five_trials(), 2));
    for moment in (0..moments).step_by(9) {
        let results = tempfile::tempdir().unwrap();
        let fuse = Fuse::after(moment);
        let checkpoint_every = Duration::MAX;
        let world = World { checkpoint_every, fuse, ..World::new(five_trials(), 2) };
        run_until_killed(results.path(), &world);
        let folder = SweepFolder::open(results.path().join("s")).unwrap();
        for trial in folder.state().unwrap().trials.values() {
            if trial.outcome().is_some() && trial.best().is_some() {
                let adapter = folder.adapter(trial.trial.id).expect("an adapter");
                assert!(adapter.join("adapter_config.json").is_file(), "killed at moment {moment}");
            }
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_warned_of_and_the_trial_starts_again() {
    let (results, left_alone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trials = vec![config(0.2, 2)];
    let world = World { stop_after_events: Some(8), ..World::new(trials.clone(), 1) };
    assert_eq!(run(results.path(), &world).finish.unwrap(), Finish::Interrupted);
    let dir = results.path().join("s/trials/trial-001/checkpoint");
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "ckpt") {
            fs::write(path, "[1, 7.0, null]").unwrap();
        }
    }
    let again = run(results.path(), &World::new(trials.clone(), 1));
    assert_eq!(again.finish.unwrap(), Finish::Completed);
    assert!(again.warnings[0].contains("trial 001 starts again from its beginning"));
    let expected = run(left_alone.path(), &World::new(trials, 1));
    assert_eq!(outcome(&again.state), outcome(&expected.state));
}

#[test]
fn a_stopped_sweep_goes_on_from_its_checkpoints_without_taking_a_step_twice() {
    let results = tempfile::tempdir().unwrap();
    let checkpoint_every = Duration::MAX;
    let stop_after_events = Some(20);
    let world =
        World { checkpoint_every, stop_after_events, ..World::new(vec![config(0.1, 9)], 1) };
    assert_eq!(run(results.path(), &world).finish.unwrap(), Finish::Interrupted);
    let again = run(results.path(), &World { stop_after_events: None, ..world });
    assert_eq!(again.finish.unwrap(), Finish::Completed);
    let mut steps = BTreeSet::new();
    for event in journal(results.path()) {
        if let Event::Trained { trial, point } = event {
            assert_eq!(trial, TrialId(1));
            assert!(steps.insert(point.step), "step {} was taken twice", point.step);
        }
    }
    assert_eq!(steps.len(), 54);
}
