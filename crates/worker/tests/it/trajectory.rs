//! Trials that differ in `epochs` alone train their common steps once.

use crate::common::trainer::{DECAY_STEPS, STEPS_PER_EPOCH};
use crate::common::{Run, World, config, outcome, run, sharing_trials};
use spec::{
    Continued, Event, LrScheduler, Outcome, SaveStrategy, SweepState, TrialConfig, TrialId,
    TrialState,
};
use store::SweepFolder;
use worker::Finish;

fn of(lr_scheduler: LrScheduler, epochs: &[u32]) -> Vec<TrialConfig> {
    let trial = |epochs: &u32| TrialConfig { lr_scheduler, ..config(0.2, *epochs) };
    epochs.iter().map(trial).collect()
}

fn ran(trials: Vec<TrialConfig>, capacity: usize) -> Run {
    let results = tempfile::tempdir().unwrap();
    let run = run(results.path(), &World::new(trials, capacity));
    assert_eq!(run.finish.as_ref().unwrap(), &Finish::Completed);
    let forks = std::fs::read_dir(results.path().join("s/trials")).unwrap();
    assert!(forks.flatten().all(|trial| !trial.path().join("fork").exists()), "a fork is left");
    run
}

fn steps_taken(run: &Run) -> u32 {
    run.events.iter().filter(|e| matches!(e, Event::Trained { .. })).count() as u32
}

/// What a trial went through, whoever took its steps.
fn history(state: &SweepState, id: u32) -> TrialState {
    let trial = &outcome(state)[id as usize - 1];
    TrialState { continues: None, ..trial.clone() }
}

#[test]
fn a_grid_over_epochs_with_a_constant_rate_trains_the_longest_trial_alone() {
    for capacity in [1, 3] {
        let shared = ran(of(LrScheduler::Constant, &[1, 2, 3, 4]), capacity);
        assert_eq!(steps_taken(&shared), 4 * STEPS_PER_EPOCH);
        assert_eq!(shared.state.trained_tokens(), 4 * 6 * 64);
    }
}

#[test]
fn with_a_decay_the_stable_part_is_trained_once_and_each_decay_for_itself() {
    let shared = ran(of(LrScheduler::WarmupStableDecay, &[1, 2, 4]), 2);
    let trunk = 4 * STEPS_PER_EPOCH - DECAY_STEPS;
    assert_eq!(steps_taken(&shared), trunk + 3 * DECAY_STEPS);
}

#[test]
fn a_schedule_that_depends_on_the_end_shares_nothing() {
    let linear = ran(of(LrScheduler::Linear, &[1, 2]), 2);
    assert_eq!(steps_taken(&linear), 3 * STEPS_PER_EPOCH);
    assert!(linear.state.trials.values().all(|trial| trial.continues.is_none()));
}

#[test]
fn a_trial_that_shares_its_steps_has_the_losses_it_has_alone() {
    let trials = sharing_trials();
    let shared = ran(trials.clone(), 3);
    for (id, trial) in (1..).zip(&trials) {
        let alone = ran(vec![trial.clone()], 1);
        let (ours, mut theirs) = (history(&shared.state, id), history(&alone.state, 1));
        theirs.trial.id = TrialId(id);
        assert_eq!(ours, theirs, "trial {id}");
    }
}

#[test]
fn a_longer_trial_says_whom_it_continues_and_from_where() {
    let shared = ran(of(LrScheduler::Constant, &[1, 3]), 2);
    let continues = shared.state.trials[&TrialId(2)].continues;
    assert_eq!(continues, Some(Continued { trial: TrialId(1), steps: STEPS_PER_EPOCH }));
    assert_eq!(shared.state.trials[&TrialId(2)].trained_tokens(), 2 * 6 * 64);
}

#[test]
fn a_shorter_trial_proposed_after_a_longer_one_takes_no_step() {
    let results = tempfile::tempdir().unwrap();
    let late = of(LrScheduler::Constant, &[3, 2]);
    let run = run(results.path(), &World::new(late, 1));
    assert_eq!(steps_taken(&run), 3 * STEPS_PER_EPOCH);
    let shorter = &run.state.trials[&TrialId(2)];
    assert_eq!(shorter.outcome(), Some(&Outcome::Completed));
    assert_eq!(shorter.last().unwrap().step, 2 * STEPS_PER_EPOCH);
    assert_eq!(shorter.trained_tokens(), 0);
    // Its best evaluation is not the longer one's, so that nobody has kept its adapter.
    assert!(!results.path().join("s/trials/trial-002/adapter").exists());
}

#[test]
fn a_shorter_trial_has_its_adapter_from_the_epochs_that_a_longer_one_kept() {
    let results = tempfile::tempdir().unwrap();
    let world = World {
        save_strategy: SaveStrategy::Epoch,
        ..World::new(of(LrScheduler::Constant, &[3, 2]), 1)
    };
    run(results.path(), &world).finish.unwrap();
    let trials = results.path().join("s/trials");
    let of_longer =
        std::fs::read(trials.join("trial-001/epochs/epoch-002/adapter_config.json")).unwrap();
    assert_eq!(
        std::fs::read(trials.join("trial-002/adapter/adapter_config.json")).unwrap(),
        of_longer
    );
}

#[test]
fn the_epochs_of_a_trial_that_goes_on_from_another_are_kept_once() {
    let results = tempfile::tempdir().unwrap();
    let world = World {
        save_strategy: SaveStrategy::Epoch,
        ..World::new(of(LrScheduler::Constant, &[1, 3]), 2)
    };
    run(results.path(), &world).finish.unwrap();
    let kept = |trial: &str| {
        let epochs = results.path().join("s/trials").join(trial).join("epochs");
        let mut names: Vec<_> =
            std::fs::read_dir(epochs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(kept("trial-001"), ["epoch-001"]);
    assert_eq!(kept("trial-002"), ["epoch-002", "epoch-003"]);
    let folder = SweepFolder::open(results.path().join("s")).unwrap();
    let first = folder.adapter_at(&folder.state().unwrap(), TrialId(2), STEPS_PER_EPOCH).unwrap();
    assert!(first.starts_with(results.path().join("s/trials/trial-001")), "{}", first.display());
}

#[test]
fn a_longer_trial_of_one_that_diverged_diverges_without_a_step() {
    let diverging = |epochs| TrialConfig {
        learning_rate: 9.0,
        lr_scheduler: LrScheduler::Constant,
        ..config(9.0, epochs)
    };
    let run = ran(vec![diverging(2), diverging(4)], 2);
    let ends: Vec<_> = run.state.trials.values().map(|t| t.outcome().unwrap()).collect();
    assert!(matches!(ends[0], Outcome::Diverged { .. }));
    assert_eq!(ends[0], ends[1]);
    assert_eq!(run.state.trials[&TrialId(2)].trained_tokens(), 0);
}
