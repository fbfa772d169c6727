//! What is evaluated, when, and what the losses of single examples say.

use std::collections::BTreeMap;

use spec::{TrainSettings, TrialId};
use trainer::engine::TrainingSets;
use trainer::plan::Packing;

use super::{History, engine, load, record, run, sets, trial};
use crate::support;

#[test]
fn the_base_is_evaluated_without_any_adapter() {
    let mut engine = engine(2, &TrainSettings::default());
    let before = engine.evaluate_base(None).expect("evaluated");
    engine.admit(&trial(1), None).expect("admitted");
    for _ in 0..3 {
        engine.step().expect("a step");
    }
    assert_eq!(engine.evaluate_base(None).expect("evaluated"), before);
    assert!(before.retention_loss.is_some() && before.rise_stderr.is_none());
    // The losses of groups have the mean that the evaluation has, to the digits that are kept.
    let groups = before.group_nll.iter().map(|nll| f64::from(*nll)).sum::<f64>();
    let targets = engine.base_example_losses(None).expect("examples").targets.iter().sum::<u32>();
    assert!((groups / f64::from(targets) / before.eval_loss - 1.0).abs() < 1e-3);
}

#[test]
fn every_epoch_and_every_n_steps_are_evaluated_once() {
    let mut settings = TrainSettings::default();
    settings.eval.eval_steps = Some(2);
    let history = &run(1, &[trial(1)], &settings)[&TrialId(1)];
    let steps: Vec<u32> = history.evaluations.iter().map(|e| e.step).collect();
    // 11 examples in batches of 4: 3 steps an epoch, 6 in all.
    assert_eq!(steps, [2, 3, 4, 6]);
    let epochs: Vec<f64> = history.evaluations.iter().map(|e| e.epoch).collect();
    assert!((epochs[1] - 1.0).abs() < 1e-12 && (epochs[3] - 2.0).abs() < 1e-12);
}

#[test]
fn losses_of_single_examples_add_up_to_the_validation_loss() {
    let mut engine = engine(1, &TrainSettings::default());
    let base = engine.evaluate_base(None).expect("base");
    engine.admit(&trial(1), None).expect("admitted");
    assert_eq!(engine.example_losses(TrialId(1)), None, "nothing was evaluated yet");
    let mut histories = BTreeMap::new();
    while histories.get(&TrialId(1)).is_none_or(|h: &History| h.outcome.is_none()) {
        record(&mut histories, engine.step().expect("a step"));
    }
    let evaluations = histories[&TrialId(1)].evaluations.iter();
    let best = evaluations.map(|e| e.eval_loss).fold(f64::INFINITY, f64::min);
    let of_base = engine.base_example_losses(None);
    for (examples, mean) in [(of_base, base.eval_loss), (engine.example_losses(TrialId(1)), best)] {
        let examples = examples.expect("losses");
        assert_eq!(examples.targets.len(), 5);
        let nll: f64 = examples.nll.iter().map(|x| f64::from(*x)).sum();
        let targets: u32 = examples.targets.iter().sum();
        assert!((nll / f64::from(targets) / mean - 1.0).abs() < 1e-6);
    }
}

#[test]
fn a_saved_adapter_gives_held_out_rows_the_loss_that_its_slot_gave_them() {
    let model = support::golden_dir("llama").join("model");
    let data = TrainingSets { test: Some(sets().validation), ..sets() };
    let settings = TrainSettings::default();
    let mut engine = load(&model, data, &settings, Packing::default()).expect("the engine loads");
    let base = engine.evaluate_base(None).expect("base");
    engine.admit(&trial(1), None).expect("admitted");
    let mut histories = BTreeMap::new();
    while histories.get(&TrialId(1)).is_none_or(|h: &History| h.outcome.is_none()) {
        record(&mut histories, engine.step().expect("a step"));
    }
    let dir = tempfile::tempdir().expect("a folder");
    assert!(engine.save_best(TrialId(1), dir.path()).expect("saved"));
    let evaluations = histories[&TrialId(1)].evaluations.iter();
    let best = evaluations.min_by(|a, b| a.eval_loss.total_cmp(&b.eval_loss)).expect("evaluated");
    for (adapter, expected) in [(None, &base), (Some(dir.path()), best)] {
        let test =
            engine.evaluate_test(adapter, None).expect("evaluated").expect("there are test rows");
        assert_eq!(test.examples, 5);
        assert!((test.loss / expected.eval_loss - 1.0).abs() < 1e-6);
        assert!((test.loss_stderr / expected.eval_loss_stderr - 1.0).abs() < 1e-6);
    }
}

#[test]
fn a_sweep_without_held_out_rows_tests_nothing() {
    let data = TrainingSets { test: None, ..sets() };
    let model = support::golden_dir("llama").join("model");
    let settings = TrainSettings::default();
    let engine = load(&model, data, &settings, Packing::default());
    assert_eq!(engine.expect("the engine loads").evaluate_test(None, None).expect("fine"), None);
}
