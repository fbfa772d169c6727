//! Statistics of scores: against scipy and statsmodels (`scripts/golden/make_scores_golden.py`), and what
//! holds for all scores.

use curves::{Interval, Measured, examples_needed, mcnemar_mid_p, optimism};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    single: Vec<Single>,
    paired: Vec<Paired>,
}

#[derive(Deserialize)]
struct Single {
    scores: Vec<f64>,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Paired {
    first: Vec<f64>,
    second: Vec<f64>,
    low: f64,
    high: f64,
    mid_p: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/scores.json")).expect("scores.json")
}

#[test]
fn the_interval_of_a_mean_score_is_wilsons_as_statsmodels_computes_it() {
    for case in golden().single {
        let Interval { low, high, .. } = Measured::Scores(&case.scores).interval();
        let is_near = (low - case.low).abs() < 1e-6 && (high - case.high).abs() < 1e-6;
        assert!(is_near, "{:?}: {low}..{high}, not {}..{}", case.scores, case.low, case.high);
    }
}

#[test]
fn the_mid_p_value_of_two_runs_is_that_of_scipy_and_statsmodels() {
    for case in golden().paired {
        let apart = Measured::Scores(&case.first).against(&Measured::Scores(&case.second)).unwrap();
        let p = apart.p.unwrap();
        assert!((p - case.mid_p).abs() < 1e-9, "{p} is not {}", case.mid_p);
        assert_eq!(apart.is_tied, case.mid_p > 0.05);
    }
}

#[test]
fn the_interval_of_a_difference_of_0_1_scores_is_that_of_bonett_and_price() {
    for case in golden().paired {
        let apart = Measured::Scores(&case.first).against(&Measured::Scores(&case.second)).unwrap();
        // Student's quantile is an approximation.
        let is_near = (apart.low - case.low).abs() < 2e-3 && (apart.high - case.high).abs() < 2e-3;
        assert!(is_near, "{}..{}, not {}..{}", apart.low, apart.high, case.low, case.high);
    }
}

#[test]
fn few_examples_that_one_run_alone_gets_right_do_not_tell_it_from_the_other() {
    assert!(mcnemar_mid_p(4, 0) > 0.05);
    assert!(mcnemar_mid_p(5, 0) < 0.05);
    assert_eq!(mcnemar_mid_p(3, 3), 1.0);
    assert_eq!(mcnemar_mid_p(0, 0), 1.0);
    assert!(mcnemar_mid_p(60_000, 40_000) < 1e-6);
}

#[test]
fn scores_that_are_all_right_or_all_wrong_are_not_sure() {
    for score in [0.0, 1.0] {
        let scores = [score; 20];
        let measured = Measured::Scores(&scores);
        let Interval { low, high, .. } = measured.interval();
        assert!(high - low > 0.1, "{low}..{high}");
        assert!(measured.variance() > 1e-4);
    }
}

#[test]
fn losses_and_scores_of_another_range_have_students_interval() {
    let nll = [2.0, 4.0, 6.0, 1.0];
    let targets = [1.0, 2.0, 2.0, 1.0];
    let of_losses = Measured::Losses { nll: &nll, targets: &targets };
    assert!((of_losses.mean() - 13.0 / 6.0).abs() < 1e-12);
    let grades = [7.0, 9.0, 8.0, 10.0, 2.0];
    let of_grades = Measured::Scores(&grades);
    // scipy.stats.t.interval(0.95, 4, 7.2, scipy.stats.sem(grades))
    let Interval { low, high, .. } = of_grades.interval();
    assert!((low - 3.362).abs() < 0.03 && (high - 11.038).abs() < 0.03, "{low}..{high}");
    let other = Measured::Scores(&[7.0; 5]);
    assert!(of_grades.against(&other).unwrap().is_tied);
    assert_eq!(of_losses.against(&other), None);
    assert_eq!(of_grades.against(&Measured::Scores(&[1.0; 4])), None);
}

#[test]
fn the_examples_needed_fall_with_the_square_of_the_difference() {
    let needed = examples_needed(0.1, 0.05 * 0.05, 100).unwrap();
    assert_eq!(needed, 197);
    assert_eq!(examples_needed(0.2, 0.05 * 0.05, 100), Some(50));
    assert_eq!(examples_needed(0.0, 0.05 * 0.05, 100), None);
}

/// 30 runs that are all right in 60 of 100: the best of them looks better, and the correction takes most
/// of that away.
#[test]
fn the_best_of_many_equal_runs_is_expected_near_what_all_of_them_are() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut best, mut expected) = (0.0, 0.0);
    for _ in 0..40 {
        let mut run = || -> Vec<f64> {
            (0..80).map(|_| f64::from(u8::from(random.random_bool(0.6)))).collect()
        };
        let runs: Vec<Vec<f64>> = (0..30).map(|_| run()).collect();
        let measured: Vec<Measured> = runs.iter().map(|run| Measured::Scores(run)).collect();
        let highest = measured.iter().map(Measured::mean).fold(0.0, f64::max);
        best += highest / 40.0;
        expected += (highest - optimism(&measured).unwrap()) / 40.0;
    }
    assert!(best > 0.68, "{best}");
    assert!((expected - 0.6).abs() < 0.03, "{expected}");
}

/// As many of 95 % intervals hold the truth as they say, within what 2000 draws tell.
#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for (p, n) in [(0.5, 30), (0.1, 60), (0.95, 100)] {
        for is_binary in [true, false] {
            let mut held = 0;
            for _ in 0..2000 {
                let mut score = || {
                    if is_binary {
                        return f64::from(u8::from(random.random_bool(p)));
                    }
                    // Mean p as well: uniform within the range around it that fits.
                    p + (random.random::<f64>() * 2.0 - 1.0) * f64::min(p, 1.0 - p)
                };
                let scores: Vec<f64> = (0..n).map(|_| score()).collect();
                let Interval { low, high, .. } = Measured::Scores(&scores).interval();
                held += u32::from(low <= p && p <= high);
            }
            assert!((1840..=2000).contains(&held), "{held} of 2000 at {p}, {n}, {is_binary}");
        }
    }
}

fn scores() -> impl Strategy<Value = Vec<f64>> {
    let binary = prop_oneof![Just(0.0), Just(1.0)];
    let any =
        prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0, Just(f64::MIN_POSITIVE), Just(1.0 - 1e-16)];
    prop_oneof![proptest::collection::vec(binary, 1..60), proptest::collection::vec(any, 1..60),]
}

proptest! {
    #[test]
    fn no_interval_of_scores_leaves_their_range_or_its_mean(scores in scores()) {
        let measured = Measured::Scores(&scores);
        let Interval { mean, low, high } = measured.interval();
        prop_assert!(0.0 <= low && low <= mean + 1e-12 && mean <= high + 1e-12 && high <= 1.0);
        prop_assert!(measured.variance() > 0.0 && measured.variance() <= 0.25);
    }

    #[test]
    fn the_other_way_round_everything_is_the_other_way_round(
        pairs in proptest::collection::vec((0.0..=1.0_f64, 0.0..=1.0_f64), 1..40), is_binary: bool
    ) {
        let value = |x: f64| if is_binary { x.round() } else { x };
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(a, b)| (value(*a), value(*b))).unzip();
        let forth = Measured::Scores(&a).against(&Measured::Scores(&b)).unwrap();
        let back = Measured::Scores(&b).against(&Measured::Scores(&a)).unwrap();
        prop_assert!((forth.difference + back.difference).abs() < 1e-12);
        prop_assert!((forth.low + back.high).abs() < 1e-9 && (forth.stderr - back.stderr).abs() < 1e-12);
        prop_assert_eq!((forth.is_tied, forth.p), (back.is_tied, back.p));
        prop_assert!(-1.0 <= forth.low && forth.low <= forth.difference);
        prop_assert!(forth.difference <= forth.high && forth.high <= 1.0);
    }

    #[test]
    fn a_run_is_tied_with_itself(scores in scores()) {
        let measured = Measured::Scores(&scores);
        let apart = measured.against(&measured).unwrap();
        prop_assert!(apart.is_tied && apart.difference == 0.0 && apart.stderr > 0.0);
    }

    #[test]
    fn a_correction_is_never_a_gain_and_never_leaves_the_range(
        runs in proptest::collection::vec(proptest::collection::vec(0.0..=1.0_f64, 12), 1..6)
    ) {
        let measured: Vec<Measured> = runs.iter().map(|run| Measured::Scores(run)).collect();
        let best = measured.iter().map(Measured::mean).fold(0.0, f64::max);
        let optimism = optimism(&measured).unwrap();
        prop_assert!(optimism >= 0.0 && best - optimism >= -1e-12);
    }
}
