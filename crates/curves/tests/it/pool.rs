//! What the other runs of a sweep add to a run's own probability.

use curves::{Level, Pool, Rise};
use proptest::prelude::*;

/// A run whose levels have these train losses and probabilities.
fn run(levels: &[(f64, f64)]) -> Rise {
    let levels = (2..).zip(levels).map(|(epoch, &(train, probability))| Level {
        epoch: f64::from(epoch),
        train: Some(train),
        probability,
        rise_over_error: 0.0,
    });
    let levels: Vec<Level> = levels.collect();
    let probability = levels.last().map_or(0.0, |level| level.probability);
    Rise {
        probability,
        alone: probability,
        rise: 0.1,
        rise_stderr: 0.05,
        lowest: 1.0,
        onset_epoch: None,
        levels,
    }
}

fn judged(own: &Rise, others: &[Rise]) -> Rise {
    Pool::of(std::iter::once(own).chain(others)).judge(own.clone())
}

#[test]
fn a_run_alone_keeps_its_probability() {
    let own = run(&[(1.0, 0.1), (0.7, 0.4), (0.5, 0.99)]);
    let judged = judged(&own, &[]);
    assert_eq!(judged.levels, own.levels);
    assert_eq!((judged.probability, judged.onset_epoch), (0.99, Some(4.0)));
}

#[test]
fn an_unsure_run_is_heard_with_the_runs_that_trained_as_far() {
    let own = run(&[(1.0, 0.0), (0.5, 0.5)]);
    let rising = vec![run(&[(1.0, 0.0), (0.5, 0.95)]); 3];
    let level = vec![run(&[(1.0, 0.0), (0.5, 0.05)]); 3];
    let (up, down) = (judged(&own, &rising), judged(&own, &level));
    assert!(up.probability > 0.7, "{up:?}");
    assert!(down.probability < 0.3, "{down:?}");
    // What it says by itself stays to be seen.
    assert_eq!((up.alone, down.alone), (0.5, 0.5));
}

#[test]
fn runs_that_did_not_train_as_far_say_nothing() {
    let own = run(&[(1.0, 0.0), (0.3, 0.6)]);
    let early = vec![run(&[(2.0, 0.01), (1.0, 0.01)]); 5];
    assert_eq!(judged(&own, &early).probability, 0.6);
}

#[test]
fn a_train_loss_that_was_not_measured_or_is_no_number_leaves_the_probability() {
    for train in [None, Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(f64::NAN)] {
        let mut own = run(&[(1.0, 0.0), (0.5, 0.6)]);
        own.levels.iter_mut().for_each(|level| level.train = train);
        let others = vec![run(&[(0.5, 0.05)]); 3];
        assert_eq!(judged(&own, &others).probability, 0.6);
        assert_eq!(judged(&others[0], &[own]).probability, 0.05);
    }
}

#[test]
fn a_run_whose_own_rise_is_clear_keeps_its_probability() {
    let mut own = run(&[(1.0, 0.2), (0.5, 0.8)]);
    let level = vec![run(&[(1.0, 0.05), (0.5, 0.05)]); 3];
    let with = |rise_over_error: f64| {
        own.levels[1].rise_over_error = rise_over_error;
        judged(&own, &level).probability
    };
    let said = [0.0, 2.0, 4.0, 8.0].map(with);
    assert!(said.is_sorted(), "{said:?}");
    assert!(said[0] < 0.5, "{said:?}");
    assert!((said[3] - 0.8).abs() < 1e-3, "{said:?}");
}

#[test]
fn a_sure_run_is_not_outvoted() {
    let own = run(&[(1.0, 0.2), (0.5, 0.999)]);
    let level = vec![run(&[(1.0, 0.05), (0.5, 0.05)]); 3];
    assert!(judged(&own, &level).probability > 0.7);
}

proptest! {
    #[test]
    fn the_order_of_runs_changes_nothing(
        runs in prop::collection::vec((0.01..3.0_f64, 0.0..1.0_f64), 2..12),
        turn in 1_usize..12,
    ) {
        let runs: Vec<Rise> = runs.into_iter().map(|level| run(&[level])).collect();
        let mut turned = runs.clone();
        turned.rotate_left(turn % runs.len());
        let (pool, other) = (Pool::of(&runs), Pool::of(&turned));
        for run in &runs {
            let (a, b) = (pool.judge(run.clone()), other.judge(run.clone()));
            prop_assert!((a.probability - b.probability).abs() < 1e-9);
            prop_assert!((0.0..=1.0).contains(&a.probability));
        }
    }

    #[test]
    fn a_surer_neighbour_never_lowers_the_probability(
        own in 0.0..1.0_f64, beside in 0.0..0.9_f64, more in 0.0..0.1_f64,
    ) {
        let own = run(&[(0.5, own)]);
        let less = judged(&own, &[run(&[(0.52, beside)])]).probability;
        let greater = judged(&own, &[run(&[(0.52, beside + more)])]).probability;
        prop_assert!(greater >= less - 1e-12);
    }
}
