//! Steps that are limited: by memory, and by tokens.

use std::collections::BTreeMap;

use spec::{Admission, BaseSettings, Event, TrainSettings, Trainer, Trial, TrialId};
use trainer::backend::Backend;
use trainer::backend::cpu::Cpu;
use trainer::engine::Packed;
use trainer::plan::Packing;

use super::{History, assert_same, record, run, sets, trial};
use crate::support;

/// An engine whose matrices may take this many bytes.
fn limited(bytes: usize, slots: usize) -> Packed<Cpu<f32>> {
    let model = support::golden_dir("llama").join("model");
    let packing = Packing { slots, ..Packing::default() };
    Packed::load(
        Cpu::with_limit(bytes),
        &model,
        &BaseSettings::default(),
        sets(),
        &TrainSettings::default(),
        packing,
    )
    .expect("the engine loads")
}

/// Trains all trials at once and counts the times memory ran out.
pub fn run_limited<B: Backend>(
    engine: &mut Packed<B>,
    trials: &[Trial],
) -> (BTreeMap<TrialId, History>, u32) {
    for trial in trials {
        engine.admit(trial, None).expect("admitted");
    }
    let (mut histories, mut out_of_memory) = (BTreeMap::new(), 0);
    while histories.values().filter(|h: &&History| h.outcome.is_some()).count() < trials.len() {
        let (shortages, rest): (Vec<_>, Vec<_>) = engine
            .step()
            .expect("a step")
            .into_iter()
            .partition(|e| matches!(e, Event::OutOfMemory { .. }));
        out_of_memory += shortages.len() as u32;
        record(&mut histories, rest);
    }
    (histories, out_of_memory)
}

#[test]
fn a_step_that_does_not_fit_is_taken_in_smaller_ones_and_changes_no_trial() {
    let trials = [trial(1), trial(2), trial(3)];
    let mut free = limited(usize::MAX, 3);
    let (expected, none) = run_limited(&mut free, &trials);
    assert_eq!(none, 0);
    let peak = free.backend().peak_bytes();
    let mut least = peak;
    for percent in [80, 60, 50] {
        let mut tight = limited(peak * percent / 100, 3);
        let (histories, shortages) = run_limited(&mut tight, &trials);
        for trial in &trials {
            assert_same(&histories[&trial.id], &expected[&trial.id], 1e-5, "with less memory");
        }
        assert!(tight.backend().peak_bytes() <= peak * percent / 100);
        // What was learnt holds: a smaller step is not tried larger again.
        assert!(shortages < 12, "{shortages} shortages at {percent} %");
        least = least.min(tight.packing().tokens_per_step);
    }
    assert!(least < Packing::default().tokens_per_step, "memory never ran out");
}

#[test]
fn a_trial_for_which_there_is_no_room_waits_and_the_others_keep_theirs() {
    let mut alone = limited(usize::MAX, 1);
    alone.admit(&trial(1), None).expect("admitted");
    let mut engine = limited(2 * alone.backend().peak_bytes(), 1000);
    let refused = (1..1000)
        .find(|id| engine.admit(&trial(*id), None).expect("not an error") == Admission::NoRoom)
        .expect("memory is not endless");
    assert!(refused > 1);
    assert_eq!(engine.capacity() as u32, refused - 1);
    engine.release(TrialId(1));
    let again = engine.admit(&trial(refused), None).expect("a place is free");
    assert_eq!(again, Admission::Admitted { from_step: 0, total_steps: 6 });
}

#[test]
fn long_sequences_of_many_trials_take_turns() {
    let model = support::golden_dir("llama").join("model");
    let packing = Packing { slots: 3, tokens_per_step: 16, ..Packing::default() };
    let settings = TrainSettings::default();
    let trials = [trial(1), trial(2), trial(3)];
    let mut engine = Packed::load(
        Cpu::<f32>::new(),
        &model,
        &BaseSettings::default(),
        sets(),
        &settings,
        packing,
    )
    .expect("the engine loads");
    let (histories, _) = run_limited(&mut engine, &trials);
    let together = run(3, &trials, &settings);
    for trial in &trials {
        assert_same(&histories[&trial.id], &together[&trial.id], 1e-5, "in turns");
    }
}
