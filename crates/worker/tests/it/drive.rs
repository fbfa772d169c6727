//! What the drive loop does with trials that end, fail, are pruned, or win.

use crate::common;
use crate::common::trainer::{FAILING_RANK, REFUSED_RANK};
use crate::common::{World, config, five_trials, outcome, run};
use spec::{Event, Outcome, StopReason, TrialConfig, TrialId};
use worker::{Finish, WorkerError};

fn with_rank(rank: u32) -> TrialConfig {
    TrialConfig { rank, ..config(0.1, 1) }
}

fn outcomes(run: &common::Run) -> Vec<&Outcome> {
    run.state.trials.values().map(|t| t.outcome().expect("an end")).collect()
}

#[test]
fn a_finished_sweep_run_again_does_nothing() {
    let results = tempfile::tempdir().unwrap();
    let world = World::new(five_trials(), 2);
    let first = run(results.path(), &world);
    let again = run(results.path(), &world);
    assert_eq!(again.finish.unwrap(), Finish::AlreadyFinished);
    assert_eq!(again.events, []);
    assert_eq!(again.state, first.state);
}

#[test]
fn a_slot_that_becomes_free_is_filled_before_the_next_step() {
    let results = tempfile::tempdir().unwrap();
    let lengths = [1, 3, 2, 2, 1];
    let trials = lengths.map(|epochs| config(0.1, epochs)).to_vec();
    let run = run(results.path(), &World::new(trials, 2));
    let full = run.occupancy.iter().take_while(|&&n| n == 2).count();
    assert!(run.occupancy[full..].iter().all(|&n| n == 1), "{:?}", run.occupancy);
    // 9 epochs of 6 steps over two slots; only the last trial's rest may run alone.
    assert_eq!(run.occupancy.iter().sum::<usize>(), 54);
    assert!(run.occupancy.len() - full <= 6, "{:?}", run.occupancy);
}

#[test]
fn packing_does_not_change_any_result() {
    let alone = tempfile::tempdir().unwrap();
    let packed = tempfile::tempdir().unwrap();
    let one = run(alone.path(), &World::new(five_trials(), 1));
    let four = run(packed.path(), &World::new(five_trials(), 4));
    assert_eq!(outcome(&one.state), outcome(&four.state));
}

#[test]
fn a_pruned_trial_carries_its_reason_and_keeps_its_best_adapter() {
    let results = tempfile::tempdir().unwrap();
    let trials = vec![config(0.9, 3), config(0.001, 3), config(0.8, 3)];
    let run = run(results.path(), &World { bound: Some(2.0), ..World::new(trials, 3) });
    assert_eq!(run.finish.as_ref().unwrap(), &Finish::Completed);
    let ends = outcomes(&run);
    assert_eq!((ends[0], ends[2]), (&Outcome::Completed, &Outcome::Completed));
    match ends[1] {
        Outcome::Stopped { reason: StopReason::EarlyTerminate { reason } } => {
            assert!(reason.ends_with("is above 2"), "{reason}");
        }
        other => panic!("expected a stop, got {other:?}"),
    }
    assert_eq!(run.state.trials[&TrialId(2)].evaluations.len(), 2);
    assert!(results.path().join("s/trials/trial-002/adapter/adapter_config.json").is_file());
}

#[test]
fn a_promoted_trial_goes_on_from_its_stop_and_ends_as_if_it_had_never_been_stopped() {
    let trials = vec![config(0.9, 3), config(0.001, 3), config(0.8, 3), config(0.002, 2)];
    let (results, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World { bound: Some(2.0), promotes: true, ..World::new(trials.clone(), 2) };
    let promoted = run(results.path(), &world);
    let straight = run(other.path(), &World::new(trials, 2));
    assert_eq!(promoted.finish.as_ref().unwrap(), &Finish::Completed);
    assert_eq!(outcomes(&promoted), [&Outcome::Completed; 4]);
    for (promoted, straight) in promoted.state.trials.values().zip(straight.state.trials.values()) {
        assert_eq!(promoted.train_points, straight.train_points, "no step was taken twice");
        assert_eq!(promoted.evaluations, straight.evaluations);
    }
    let [once] = &promoted.state.trials[&TrialId(2)].promotions[..] else {
        panic!("promoted once")
    };
    assert_eq!((once.step, once.reason.as_str()), (4, "all others have ended"));
    let steps = promoted.events.iter().filter(|e| matches!(e, Event::Trained { .. })).count();
    assert_eq!(steps, 11 * 6);
    for trial in 1..=4 {
        let dir = results.path().join(format!("s/trials/trial-00{trial}"));
        assert!(
            !dir.join("checkpoint").exists() && dir.join("adapter/adapter_config.json").is_file()
        );
    }
}

#[test]
fn what_is_stopped_for_good_leaves_no_checkpoint_and_what_is_paused_only_until_the_end() {
    for promotes in [false, true] {
        let results = tempfile::tempdir().unwrap();
        // Two trials: the test's rule has nothing to promote yet.
        let trials = vec![config(0.9, 3), config(0.001, 3)];
        let world = World { bound: Some(2.0), promotes, ..World::new(trials, 2) };
        let run = run(results.path(), &world);
        let is = |wanted: fn(&Event) -> bool| run.events.iter().filter(|e| wanted(e)).count();
        let kept = is(|event| matches!(event, Event::CheckpointKept { .. }));
        let dropped = is(|event| matches!(event, Event::CheckpointDropped { .. }));
        assert_eq!((kept, dropped), (usize::from(promotes), usize::from(promotes)));
        assert!(!results.path().join("s/trials/trial-002/checkpoint").exists());
        assert!(run.state.trials.values().all(|trial| trial.paused().is_none()));
    }
}

#[test]
fn only_the_best_of_many_paused_trials_keep_their_checkpoints() {
    let results = tempfile::tempdir().unwrap();
    // The first trial runs beside all others, one after the other.
    let mut trials = vec![config(0.9, 10)];
    trials.extend((1..=12).map(|i| config(0.001 * f64::from(i), 2)));
    let stop_after_events = Some(306);
    let world = World { bound: Some(2.0), promotes: true, ..World::new(trials, 2) };
    let run = run(results.path(), &World { stop_after_events, ..world });
    assert_eq!(run.finish.as_ref().unwrap(), &Finish::Interrupted);
    let paused: Vec<u32> =
        run.state.trials.values().filter(|t| t.paused().is_some()).map(|t| t.trial.id.0).collect();
    assert_eq!(paused, [6, 7, 8, 9, 10, 11, 12, 13], "higher rates have come further");
    for trial in 2..=13 {
        let dir = results.path().join(format!("s/trials/trial-{trial:03}/checkpoint"));
        assert_eq!(dir.exists(), trial > 5, "trial {trial}");
    }
}

#[test]
fn a_trial_that_does_not_fit_and_one_that_breaks_do_not_hurt_the_others() {
    let results = tempfile::tempdir().unwrap();
    let trials =
        vec![with_rank(REFUSED_RANK), config(0.1, 1), with_rank(FAILING_RANK), config(0.2, 1)];
    let run = run(results.path(), &World::new(trials, 2));
    assert_eq!(run.finish.as_ref().unwrap(), &Finish::Completed);
    let failed = |error: &str| Outcome::Failed { error: error.into() };
    let expected = [
        &failed("rank 99 does not fit"),
        &Outcome::Completed,
        &failed("out of memory"),
        &Outcome::Completed,
    ];
    assert_eq!(outcomes(&run), expected);
}

#[test]
fn a_sweep_in_which_every_trial_fails_ends_with_the_cause() {
    let results = tempfile::tempdir().unwrap();
    let trials = vec![with_rank(REFUSED_RANK); 20];
    let run = run(results.path(), &World::new(trials, 4));
    match run.finish {
        Err(WorkerError::OnlyFailures { count: 3, trial: TrialId(3), error }) => {
            assert_eq!(error, "rank 99 does not fit");
        }
        other => panic!("expected OnlyFailures, got {other:?}"),
    }
}

#[test]
fn after_a_shared_step_fails_its_trials_go_on_alone_and_none_is_blamed() {
    let results = tempfile::tempdir().unwrap();
    let trials = vec![config(0.1, 2), config(0.2, 2), config(0.3, 2)];
    let world = World { fail_shared_step: Some(4), ..World::new(trials.clone(), 2) };
    let disturbed = run(results.path(), &world);
    assert_eq!(disturbed.finish.as_ref().unwrap(), &Finish::Completed);
    assert_eq!(disturbed.warnings.len(), 1);
    assert!(disturbed.warnings[0].contains("ran out of memory"), "{:?}", disturbed.warnings);
    let after = &disturbed.occupancy[4..];
    assert_eq!(after[..9], [1; 9], "the first suspect runs alone to its end");
    let other = tempfile::tempdir().unwrap();
    let calm = run(other.path(), &World::new(trials, 2));
    assert_eq!(outcome(&disturbed.state), outcome(&calm.state));
}

#[test]
fn reaching_the_target_ends_the_sweep_and_starts_nothing_more() {
    let results = tempfile::tempdir().unwrap();
    let world = World { target: Some(1.0), ..World::new(vec![config(0.9, 9); 6], 2) };
    let first = run(results.path(), &world);
    assert_eq!(first.finish.as_ref().unwrap(), &Finish::Completed);
    assert_eq!(first.state.trials.len(), 2);
    let won = Outcome::Stopped { reason: StopReason::TargetReached { target: 1.0 } };
    assert_eq!(outcomes(&first), [&won, &won]);
    assert_eq!(run(results.path(), &world).finish.unwrap(), Finish::AlreadyFinished);
}

#[test]
fn the_base_model_is_evaluated_once_however_often_the_sweep_is_launched() {
    let results = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let world = World { stop_after_events: Some(6), ..World::new(five_trials(), 2) };
        run(results.path(), &world);
    }
    let folder = store::SweepFolder::open(results.path().join("s")).unwrap();
    let events = folder.events().unwrap();
    let base = events.iter().filter(|e| matches!(e, Event::BaseEvaluated { .. })).count();
    assert_eq!(base, 1);
    assert!(results.path().join("s/base/base.json").is_file());
}

#[test]
fn an_ended_trial_leaves_its_tables_and_no_checkpoint() {
    let results = tempfile::tempdir().unwrap();
    run(results.path(), &World::new(vec![config(0.1, 1)], 1)).finish.unwrap();
    let trial = results.path().join("s/trials/trial-001");
    let read = |name: &str| std::fs::read_to_string(trial.join(name)).unwrap();
    assert_eq!(read("metrics.csv"), "3 evaluations\n");
    assert_eq!(read("steps.csv"), "6 steps, base true\n");
    let json: serde_json::Value = serde_json::from_str(&read("trial.json")).unwrap();
    assert_eq!(json["status"]["outcome"]["kind"], "completed");
    assert_eq!(json["best"]["step"], 6);
    assert!(!trial.join("checkpoint").exists());
}

#[test]
fn trials_of_a_worker_that_waits_in_a_queue_again_go_on_in_another() {
    let alone = tempfile::tempdir().unwrap();
    let expected = run(alone.path(), &World::new(five_trials(), 2));
    for turns in [3, 8, 20] {
        let results = tempfile::tempdir().unwrap();
        let world =
            World { workers: 2, queue_after_turns: vec![turns], ..World::new(five_trials(), 2) };
        let run = run(results.path(), &world);
        assert_eq!(run.finish.unwrap(), Finish::Completed);
        assert_eq!(outcome(&run.state), outcome(&expected.state), "after {turns} turns");
        assert!(run.state.lost_workers.is_empty(), "nobody is to blame");
    }
}

#[test]
fn a_worker_that_ends_tells_for_how_long_it_trained() {
    let results = tempfile::tempdir().unwrap();
    run(results.path(), &World::new(five_trials(), 2)).finish.unwrap();
    let folder = store::SweepFolder::open(results.path().join("s")).unwrap();
    let events = folder.events().unwrap();
    let busy = events.iter().find_map(|event| match event {
        Event::WorkerEnded { busy_seconds, .. } => *busy_seconds,
        _ => None,
    });
    assert!(busy.unwrap() > 0.0);
}
