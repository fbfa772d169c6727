//! The rule for overfitting, on curves that show one thing each and on noise.

use curves::{Curve, Matrix, Noise, Point, Rise, Shapes, memorizes_from, rise, shared_improvement};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::distr::{Distribution, StandardUniform};
use rand_chacha::ChaCha8Rng;
use spec::{Evaluation, ExampleLosses, SweepState};

const MIN_RISE: f64 = 0.01;

/// A curve with this much noise of its own in every evaluation.
fn curve(losses: &[f64], train: &[f64], error: f64) -> Curve {
    let points = (1..).zip(losses.iter().zip(train)).map(|(n, (&loss, &train))| Point {
        step: 10.0 * f64::from(n),
        epoch: f64::from(n),
        loss,
        train: Some(train),
    });
    let covariance = Matrix::from_fn(losses.len(), |i, j| if i == j { error * error } else { 0.0 });
    Curve::new(points.collect(), Noise { covariance, freedom: Some(149) })
}

/// Train loss that falls steadily.
fn falling(count: usize) -> Vec<f64> {
    (0..count).map(|n| 2.0 * 0.85_f64.powi(n as i32)).collect()
}

fn judge(losses: &[f64], error: f64) -> Rise {
    let curve = curve(losses, &falling(losses.len()), error);
    rise(&curve, &Shapes::general(), MIN_RISE).expect("enough evaluations")
}

/// Twelve evaluations that fall to 1.2 at the sixth and rise from there by `rise` until the end.
fn turning(rise: f64) -> Vec<f64> {
    let of = |n: i32| {
        let down = 1.2 + 2.0 * 0.4_f64.powi(n);
        down + rise * f64::from((n - 5).max(0)) / 6.0
    };
    (0..12).map(of).collect()
}

#[test]
fn a_clear_rise_is_found_with_its_size_and_its_epoch() {
    let found = judge(&turning(0.2), 0.01);
    assert!(found.probability > 0.99, "{found:?}");
    assert!((found.rise - 0.16).abs() < 0.03, "{found:?}");
    assert!(found.rise_stderr < 0.03, "{found:?}");
    let onset = found.onset_epoch.expect("an onset");
    assert!((7.0..=10.0).contains(&onset), "{found:?}");
}

#[test]
fn a_dip_of_one_evaluation_is_no_optimum() {
    let mut losses = turning(0.0);
    losses[7] = 1.1;
    let found = judge(&losses, 0.01);
    assert!(found.probability < 0.5, "{found:?}");
}

#[test]
fn a_peak_at_the_end_is_no_rise() {
    let mut losses = turning(0.0);
    losses[11] = 1.26;
    let found = judge(&losses, 0.01);
    assert!(found.probability < 0.5, "{found:?}");
}

#[test]
fn a_run_that_came_back_did_not_overfit() {
    let losses = [1.9, 1.3, 1.1, 1.1, 1.3, 1.3, 1.2, 1.1, 1.1, 1.1];
    assert!(judge(&losses, 0.01).probability < 0.05);
}

#[test]
fn validation_that_rises_with_the_train_loss_is_not_overfitting() {
    let losses = turning(0.3);
    let unstable = curve(&losses, &losses, 0.01);
    let found = rise(&unstable, &Shapes::general(), MIN_RISE).expect("enough evaluations");
    assert!(found.probability < 0.01, "{found:?}");
}

#[test]
fn one_level_says_nothing() {
    let short = curve(&[1.5, 1.6], &[1.4, 1.2], 0.01);
    assert_eq!(rise(&short, &Shapes::general(), MIN_RISE), None);
    let empty = curve(&[], &[], 0.01);
    assert_eq!(rise(&empty, &Shapes::general(), MIN_RISE), None);
}

#[test]
fn a_run_that_only_rises_above_its_base_overfits_from_the_start() {
    let base = Point { step: 0.0, epoch: 0.0, loss: 2.0, train: Some(2.0) };
    let own = (1..).zip([2.2, 2.4, 2.6, 2.8]).map(|(n, loss)| Point {
        step: f64::from(n),
        epoch: f64::from(n),
        loss,
        train: Some(1.5 / f64::from(n)),
    });
    let points: Vec<Point> = std::iter::once(base).chain(own).collect();
    let covariance = Matrix::from_fn(5, |i, j| if i == j { 1e-4 } else { 0.0 });
    let curve = Curve::new(points, Noise { covariance, freedom: None });
    let found = rise(&curve, &Shapes::general(), MIN_RISE).expect("enough evaluations");
    assert!(found.probability > 0.99 && found.onset_epoch == Some(2.0), "{found:?}");
}

#[test]
fn a_long_curve_is_judged_by_blocks() {
    let losses: Vec<f64> = (0..1000).map(|n| 1.2 + 0.3 * (f64::from(n) / 1000.0)).collect();
    let train: Vec<f64> = (0..1000).map(|n| 1.2 - 0.5 * (f64::from(n) / 1000.0)).collect();
    let long = curve(&losses, &train, 0.05);
    assert!(long.points().len() <= 64);
    let found = rise(&long, &Shapes::general(), MIN_RISE).expect("enough evaluations");
    assert!(found.probability > 0.99, "{found:?}");
}

/// Curves that end level, with noise: how often is one called overfit?
#[test]
fn noise_alone_is_flagged_in_one_run_of_twenty_at_most() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut uniform = || -> f64 { StandardUniform.sample(&mut rng) };
    let mut flagged = 0;
    for _ in 0..200 {
        // The sum of twelve uniform numbers has variance 1.
        let mut noise = || 0.01 * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0);
        let losses: Vec<f64> = turning(0.0).into_iter().map(|loss| loss + noise()).collect();
        flagged += usize::from(judge(&losses, 0.01).probability >= 0.5);
    }
    assert!(flagged <= 10, "{flagged} of 200");
}

fn evaluations(nll: &[Vec<f64>], targets: &[f64]) -> Vec<Evaluation> {
    let total: f64 = targets.iter().sum();
    let of = |(n, nll): (u32, &Vec<f64>)| Evaluation {
        step: n,
        epoch: f64::from(n),
        eval_loss: nll.iter().sum::<f64>() / total,
        eval_loss_stderr: 0.1,
        rise_stderr: None,
        group_nll: nll.iter().map(|x| *x as f32).collect(),
        train_loss: Some(1.0 / f64::from(n)),
        retention_loss: None,
        scores: Vec::new(),
        tokens: 0,
        seconds: 0.0,
    };
    (1..).zip(nll).map(of).collect()
}

#[test]
fn the_noise_is_that_of_the_ratio_estimator_and_agrees_with_the_jackknife() {
    let targets = [3.0, 5.0, 2.0, 4.0, 6.0, 1.0];
    let nll = vec![vec![3.1, 4.0, 2.5, 5.1, 5.0, 1.4], vec![2.1, 4.4, 1.5, 3.1, 6.0, 0.4]];
    let evaluations = evaluations(&nll, &targets);
    let refs: Vec<&Evaluation> = evaluations.iter().collect();
    let noise = Noise::of(&refs, Some(&targets));
    let total: f64 = targets.iter().sum();
    let without =
        |row: &Vec<f64>, g: usize| (row.iter().sum::<f64>() - row[g]) / (total - targets[g]);
    let jackknife = |a: &Vec<f64>, b: &Vec<f64>| -> f64 {
        let pairs: Vec<(f64, f64)> = (0..6).map(|g| (without(a, g), without(b, g))).collect();
        let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / 6.0;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        5.0 / 6.0 * pairs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>()
    };
    for (i, a) in nll.iter().enumerate() {
        for (j, b) in nll.iter().enumerate() {
            let (ours, theirs) = (noise.covariance.at(i, j), jackknife(a, b));
            assert!((ours / theirs - 1.0).abs() < 0.3, "{ours} {theirs}");
        }
    }
    assert_eq!(noise.freedom, Some(5));
}

#[test]
fn a_journal_without_groups_is_judged_by_its_standard_errors() {
    let mut evaluations = evaluations(&vec![vec![1.0; 6]; 3], &[1.0; 6]);
    for (evaluation, error) in evaluations.iter_mut().zip([None, Some(0.02), Some(0.02)]) {
        evaluation.group_nll.clear();
        evaluation.rise_stderr = error;
    }
    let refs: Vec<&Evaluation> = evaluations.iter().collect();
    let noise = Noise::of(&refs, None);
    assert!((noise.error_of_difference(0, 2) - 0.02).abs() < 1e-12);
    assert!((noise.covariance.at(1, 1) - 0.01).abs() < 1e-12);
    assert_eq!(curves::group_targets(&SweepState::default()), None);
}

#[test]
fn memorising_begins_where_validation_stops_to_share() {
    let losses = [3.0, 2.0, 1.5, 1.49, 1.48, 1.47, 1.46];
    let train = [2.9, 1.9, 1.4, 1.2, 0.9, 0.7, 0.5];
    assert_eq!(memorizes_from(&curve(&losses, &train, 0.001)), Some(3.0));
    assert_eq!(memorizes_from(&curve(&losses, &losses, 0.001)), None);
    assert_eq!(shared_improvement((3.0, 3.0), (2.0, 1.0)), Some(0.5));
    assert_eq!(shared_improvement((3.0, 3.0), (2.0, 3.0)), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_probability_grows_with_the_rise(low in 0.0..0.05_f64, more in 0.02..0.3_f64) {
        let (less, greater) = (judge(&turning(low), 0.02), judge(&turning(low + more), 0.02));
        prop_assert!(greater.probability >= less.probability - 0.02);
    }

    #[test]
    fn a_constant_factor_of_all_losses_changes_nothing(rise in 0.0..0.1_f64, factor in 0.01..100.0_f64) {
        let losses = turning(rise);
        let scaled: Vec<f64> = losses.iter().map(|x| factor * x).collect();
        let train: Vec<f64> = falling(12).iter().map(|x| factor * x).collect();
        let of_scaled = judged(&curve(&scaled, &train, 0.02 * factor));
        let plain = judge(&losses, 0.02);
        prop_assert!((of_scaled.probability - plain.probability).abs() < 0.01);
        prop_assert!((of_scaled.rise / factor - plain.rise).abs() < 1e-6);
    }

    #[test]
    fn the_order_of_examples_changes_nothing(seed in 0_u64..1000, turn in 1_usize..40) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut uniform = || -> f64 { StandardUniform.sample(&mut rng) };
        let targets: Vec<f64> = (0..40).map(|_| 2.0 + (8.0 * uniform()).round()).collect();
        let nll: Vec<Vec<f64>> = turning(0.05)
            .iter()
            .map(|level| targets.iter().map(|t| t * level * (0.5 + uniform())).collect())
            .collect();
        let rotated = |row: &Vec<f64>| {
            let mut row = row.clone();
            row.rotate_left(turn);
            row
        };
        let judge = |nll: &[Vec<f64>], targets: &[f64]| {
            judged(&Curve::of(&evaluations(nll, targets), None, Some(targets)))
        };
        let turned: Vec<Vec<f64>> = nll.iter().map(rotated).collect();
        let (plain, other) = (judge(&nll, &targets), judge(&turned, &rotated(&targets)));
        prop_assert!((plain.probability - other.probability).abs() < 0.01);
    }

    /// More rows than groups: each is in the group of its number, and no loss is left out.
    #[test]
    fn groups_hold_every_example(count in 1_usize..3000) {
        let groups = ExampleLosses::group((0..count).map(|_| 1.0));
        prop_assert_eq!(groups.len(), count.min(ExampleLosses::GROUPS));
        prop_assert_eq!(groups.iter().sum::<f64>(), count as f64);
    }
}

fn judged(curve: &Curve) -> Rise {
    rise(curve, &Shapes::general(), MIN_RISE).expect("enough evaluations")
}
