//! Checkpoints: of a trial itself, and of a shorter one of its trajectory.

use std::collections::BTreeMap;

use spec::{Admission, Event, LrScheduler, TrainSettings, Trainer, Trial, TrialConfig, TrialId};
use trainer::plan;

use super::{History, assert_same, engine, record, run, trial};

#[test]
fn a_trial_resumed_from_any_checkpoint_ends_as_if_never_interrupted() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = trial(1);
    config.config.lora_dropout = 0.2;
    let settings = TrainSettings { micro_batch_size: Some(2), ..TrainSettings::default() };
    let whole = &run(1, &[config.clone()], &settings)[&TrialId(1)];
    for engine_steps in [1, 3, 5, 8] {
        let path = dir.path().join("checkpoint.safetensors");
        let mut histories = BTreeMap::new();
        let mut first = engine(1, &settings);
        first.admit(&config, None).expect("admitted");
        for _ in 0..engine_steps {
            record(&mut histories, first.step().expect("a step"));
        }
        let saved = first.save_checkpoint(TrialId(1), &path).expect("saved");
        drop(first);
        let mut second = engine(1, &settings);
        let admission = second.admit(&config, Some(&path)).expect("resumed");
        assert_eq!(admission, Admission::Admitted { from_step: saved, total_steps: 6 });
        while histories.get(&TrialId(1)).is_none_or(|h| h.outcome.is_none()) {
            record(&mut histories, second.step().expect("a step"));
        }
        assert_same(&histories[&TrialId(1)], whole, 0.0, "resumed");
        assert_eq!(best_adapter(&*second), best_adapter_of(&config, &settings));
    }
}

fn best_adapter(engine: &dyn Trainer) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    assert!(engine.save_best(TrialId(1), dir.path()).expect("saved"));
    std::fs::read(dir.path().join("adapter_model.safetensors")).expect("the adapter")
}

fn best_adapter_of(trial: &Trial, settings: &TrainSettings) -> Vec<u8> {
    let mut engine = engine(1, settings);
    engine.admit(trial, None).expect("admitted");
    while !engine.step().expect("a step").iter().any(|e| matches!(e, Event::TrialFinished { .. })) {
    }
    best_adapter(&*engine)
}

#[test]
fn a_damaged_checkpoint_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("checkpoint.safetensors");
    let mut first = engine(1, &TrainSettings::default());
    first.admit(&trial(1), None).expect("admitted");
    first.save_checkpoint(TrialId(1), &path).expect("saved");
    let whole = std::fs::read(&path).expect("the file");
    for damaged in
        [&whole[..0], &whole[..5], &whole[..whole.len() - 9], &b"not a checkpoint at all"[..]]
    {
        std::fs::write(&path, damaged).expect("written");
        let error = engine(1, &TrainSettings::default()).admit(&trial(1), Some(&path));
        let message = error.expect_err("a damaged file").to_string();
        assert!(message.contains("checkpoint.safetensors"), "{message}");
    }
}

#[test]
fn a_checkpoint_of_another_trial_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("checkpoint.safetensors");
    let mut first = engine(1, &TrainSettings::default());
    first.admit(&trial(1), None).expect("admitted");
    first.save_checkpoint(TrialId(1), &path).expect("saved");
    let mut other = trial(1);
    other.config.learning_rate = 2e-2;
    let message = engine(1, &TrainSettings::default())
        .admit(&other, Some(&path))
        .expect_err("another trial")
        .to_string();
    assert!(message.contains("another trial"), "{message}");
}

/// A trial that continues one of the same trajectory.
fn constant(id: u32, lr_scheduler: LrScheduler, epochs: u32) -> Trial {
    let config = trial(id).config;
    Trial {
        id: TrialId(id),
        config: TrialConfig {
            lr_scheduler,
            epochs,
            warmup_ratio: 0.0,
            lora_dropout: 0.2,
            ..config
        },
    }
}

#[test]
fn a_longer_trial_that_goes_on_from_a_shorter_ones_shared_steps_has_the_losses_it_has_alone() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("fork.safetensors");
    let settings =
        TrainSettings { warmup_steps: Some(2), decay_ratio: 0.3, ..TrainSettings::default() };
    for scheduler in [LrScheduler::Constant, LrScheduler::WarmupStableDecay] {
        let (short, long) = (constant(1, scheduler, 2), constant(2, scheduler, 4));
        let mut first = engine(1, &settings);
        first.admit(&short, None).expect("admitted");
        let shared =
            plan::steps(&short.config, 11, 8.0, &settings).shared.expect("shares its steps");
        let mut histories = BTreeMap::new();
        while histories.get(&TrialId(1)).is_none_or(|h: &History| h.points.len() < shared as usize)
        {
            record(&mut histories, first.step().expect("a step"));
        }
        first.save_checkpoint(TrialId(1), &path).expect("saved");
        let mut second = engine(1, &settings);
        second.admit(&long, Some(&path)).expect("continues");
        while histories.get(&TrialId(2)).is_none_or(|h| h.outcome.is_none()) {
            record(&mut histories, second.step().expect("a step"));
        }
        let alone = &run(1, &[long], &settings)[&TrialId(2)];
        let taken = shared as usize;
        let went_on = History {
            points: [&histories[&TrialId(1)].points[..taken], &histories[&TrialId(2)].points]
                .concat(),
            evaluations: alone
                .evaluations
                .iter()
                .filter(|e| e.step <= shared)
                .chain(&histories[&TrialId(2)].evaluations)
                .cloned()
                .collect(),
            outcome: histories[&TrialId(2)].outcome.clone(),
        };
        assert_same(&went_on, alone, 0.0, "continued");
    }
}

#[test]
fn a_fork_beyond_the_steps_that_two_trials_share_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("fork.safetensors");
    let settings = TrainSettings { decay_ratio: 0.5, ..TrainSettings::default() };
    let scheduler = LrScheduler::WarmupStableDecay;
    let mut first = engine(1, &settings);
    first.admit(&constant(1, scheduler, 2), None).expect("admitted");
    for _ in 0..5 {
        first.step().expect("a step");
    }
    assert_eq!(first.save_checkpoint(TrialId(1), &path).expect("saved"), 5);
    let error = engine(1, &settings).admit(&constant(2, scheduler, 9), Some(&path));
    assert!(error.expect_err("in its decay").to_string().contains("another trial"));
}
