//! Workers die; trials do not get lost, unless it is their fault.

use crate::common;
use crate::common::trainer::{DEADLY_RANK, EVAL_EVERY};
use crate::common::{World, config, five_trials, outcome, ranking, run, sharing_trials};
use proptest::prelude::*;
use spec::{Event, Outcome, TrialConfig, TrialId};
use std::time::Duration;
use worker::{Finish, WorkerError};

fn with_rank(rank: u32) -> TrialConfig {
    TrialConfig { rank, ..config(0.1, 2) }
}

#[test]
fn the_trials_of_a_lost_worker_go_on_from_their_checkpoints_and_end_the_same() {
    let (results, left_alone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World { kill_after_turns: vec![5], ..World::new(five_trials(), 2) };
    let disturbed = run(results.path(), &world);
    assert_eq!(disturbed.finish.as_ref().unwrap(), &Finish::Completed);
    let calm = run(left_alone.path(), &World::new(five_trials(), 2));
    assert_eq!(outcome(&disturbed.state), outcome(&calm.state));
    let [lost] = &disturbed.state.lost_workers[..] else {
        panic!("{:?}", disturbed.state.lost_workers)
    };
    assert_eq!(lost.worker, "worker-001");
    assert!(lost.cause.contains("signal 9"), "{}", lost.cause);
    let resumed = disturbed.events.iter().filter_map(|event| match event {
        Event::TrialStarted { from_step, .. } if *from_step > 0 => Some(*from_step),
        _ => None,
    });
    assert_eq!(resumed.count(), lost.trials.len());
    assert!(disturbed.warnings[0].contains("go on from their checkpoints"));
}

#[test]
fn the_trials_of_a_worker_whose_device_is_lost_go_on_elsewhere_and_none_is_blamed() {
    let left_alone = tempfile::tempdir().unwrap();
    let calm = run(left_alone.path(), &World::new(five_trials(), 2));
    for workers in [1, 2] {
        let results = tempfile::tempdir().unwrap();
        let lose_device_at_step = Some(4);
        let world = World { workers, lose_device_at_step, ..World::new(five_trials(), 2) };
        let disturbed = run(results.path(), &world);
        assert_eq!(disturbed.finish.as_ref().unwrap(), &Finish::Completed);
        assert_eq!(outcome(&disturbed.state), outcome(&calm.state));
        let [lost] = &disturbed.state.lost_workers[..] else {
            panic!("{:?}", disturbed.state.lost_workers)
        };
        assert!(lost.cause.contains("the GPU fell off the bus"), "{}", lost.cause);
        assert_eq!(lost.trials.len(), 2);
    }
}

#[test]
fn a_trial_that_ends_its_worker_again_and_again_fails_with_the_cause_and_hurts_no_other() {
    let results = tempfile::tempdir().unwrap();
    let trials = vec![config(0.1, 1), with_rank(DEADLY_RANK), config(0.2, 2)];
    let checkpoint_every = Duration::MAX;
    let run = run(results.path(), &World { checkpoint_every, ..World::new(trials, 3) });
    assert_eq!(run.finish.as_ref().unwrap(), &Finish::Completed);
    let of = |id| run.state.trials[&TrialId(id)].outcome().unwrap();
    assert_eq!((of(1), of(3)), (&Outcome::Completed, &Outcome::Completed));
    match of(2) {
        Outcome::Failed { error } => {
            assert!(error.starts_with("its worker was lost 3 times"), "{error}");
        }
        other => panic!("expected a failure, got {other:?}"),
    }
    assert_eq!(run.state.lost_workers.len(), 3);
    // From the second loss on it has no company that it could harm.
    assert_eq!(run.state.lost_workers[2].trials, [TrialId(2)]);
}

#[test]
fn workers_that_die_before_they_train_anything_end_the_sweep_with_their_cause() {
    let results = tempfile::tempdir().unwrap();
    let world = World { kill_after_turns: vec![1, 2, 3], ..World::new(five_trials(), 2) };
    match run(results.path(), &world).finish {
        Err(WorkerError::WorkersDie { count: 3, worker, cause, .. }) => {
            assert_eq!(worker, "worker-003");
            assert!(cause.contains("signal 9"), "{cause}");
        }
        other => panic!("expected WorkersDie, got {other:?}"),
    }
}

#[test]
fn several_workers_share_what_is_left_and_come_to_what_one_comes_to() {
    for trials in [five_trials(), sharing_trials()] {
        let (one, three) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let alone = run(one.path(), &World::new(trials.clone(), 4));
        let shared = run(three.path(), &World { workers: 3, ..World::new(trials, 4) });
        assert_eq!(shared.finish.as_ref().unwrap(), &Finish::Completed);
        assert_eq!(ranking(&shared.state), ranking(&alone.state));
        let losses = |run: &common::Run| -> Vec<Vec<(u32, f64)>> {
            let points = |t: &spec::TrialState| {
                t.evaluations.iter().map(|e| (e.step, e.eval_loss)).collect()
            };
            run.state.trials.values().map(points).collect()
        };
        assert_eq!(losses(&shared), losses(&alone));
        let started = |e: &&Event| matches!(e, Event::WorkerStarted { .. });
        assert_eq!(shared.events.iter().filter(started).count(), 3);
    }
}

#[test]
fn a_judged_trial_takes_no_step_before_its_verdict() {
    let results = tempfile::tempdir().unwrap();
    let trials = vec![config(0.001, 3), config(0.9, 3)];
    let run = run(results.path(), &World { bound: Some(2.0), ..World::new(trials, 2) });
    let stopped = &run.state.trials[&TrialId(1)];
    assert!(matches!(stopped.outcome(), Some(Outcome::Stopped { .. })));
    assert_eq!(stopped.train_points.last().unwrap().step, 2 * EVAL_EVERY);
}

proptest! {
    // Each case syncs hundreds of files.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn workers_killed_at_any_turn_change_no_result(
        kills in prop::collection::vec(1_usize..60, 1..6),
        workers in 1_usize..4,
        capacity in 1_usize..4,
        shares in any::<bool>(),
        prunes in any::<bool>(),
    ) {
        let trials = if shares { sharing_trials() } else { five_trials() };
        let bound = prunes.then_some(1.9);
        let (calm, disturbed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let world = World { bound, ..World::new(trials, capacity) };
        let expected = run(calm.path(), &world);
        let world = World { workers, kill_after_turns: kills, max_retries: 100, ..world };
        let killed = run(disturbed.path(), &world);
        prop_assert_eq!(killed.finish.as_ref().unwrap(), &Finish::Completed);
        prop_assert_eq!(ranking(&killed.state), ranking(&expected.state));
        let ends = |run: &common::Run| -> Vec<Option<Outcome>> {
            run.state.trials.values().map(|trial| trial.outcome().cloned()).collect()
        };
        prop_assert_eq!(ends(&killed), ends(&expected));
        let folder = store::SweepFolder::open(disturbed.path().join("s")).unwrap();
        prop_assert_eq!(folder.state().unwrap(), killed.state);
    }
}
