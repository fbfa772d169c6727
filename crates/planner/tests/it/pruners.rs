//! The contract of every pruner, and what is particular to each.

use crate::common::{finish, run, sweep};
use planner::{Decision, Pruner, pruner_for};
use spec::{StopReason, SweepState, TrialId};

fn pruner(rule: &str) -> Box<dyn Pruner> {
    pruner_for(&sweep(rule)).expect("the sweep has a rule")
}

/// A history of running trials, numbered from 1, with these validation losses.
fn history(trials: &[&[f64]]) -> SweepState {
    let mut state = SweepState::default();
    for (losses, id) in trials.iter().zip(1..) {
        run(&mut state, id, losses, 0.01);
    }
    state
}

/// The reason for which a trial is stopped, in words; `None` when it is kept.
fn stopped(pruner: &dyn Pruner, state: &SweepState, id: u32) -> Option<String> {
    match pruner.judge(state, TrialId(id)) {
        Decision::Keep => None,
        Decision::Stop { reason: StopReason::EarlyTerminate { reason } } => Some(reason),
        Decision::Stop { reason: StopReason::TargetReached { target } } => {
            Some(format!("target {target}"))
        }
        Decision::Stop { reason } => Some(format!("{reason:?}")),
    }
}

/// What every pruner must do. `stops` is a history whose first trial it stops.
fn keeps_the_contract(make: &dyn Fn() -> Box<dyn Pruner>, stops: &SweepState) {
    let pruner = make();
    // What is not known, not evaluated or not running is kept.
    assert_eq!(pruner.judge(stops, TrialId(99)), Decision::Keep);
    assert_eq!(pruner.judge(&SweepState::default(), TrialId(1)), Decision::Keep);
    let mut fresh = stops.clone();
    run(&mut fresh, 50, &[], 0.01);
    assert_eq!(pruner.judge(&fresh, TrialId(50)), Decision::Keep);

    // What is behind is stopped, again when asked again and after a restart, with numbers.
    let reason = stopped(&*pruner, stops, 1).expect("the first trial is to be stopped");
    assert!(reason.contains(|c: char| c.is_ascii_digit()), "{reason}");
    assert_eq!(stopped(&*pruner, stops, 1).as_ref(), Some(&reason));
    assert_eq!(stopped(&*make(), stops, 1), Some(reason));

    // Once ended, it is no longer judged.
    let mut ended = stops.clone();
    finish(&mut ended, 1);
    assert_eq!(pruner.judge(&ended, TrialId(1)), Decision::Keep);
}

/// What rules that compare or diagnose must do: the best of all trials, still falling, goes on.
fn keeps_the_leader(pruner: &dyn Pruner) {
    let falling = [3.0, 2.5, 2.0, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3];
    for count in 1..=falling.len() {
        let behind: Vec<f64> = falling.iter().map(|loss| loss + 0.5).collect();
        let state = history(&[&falling[..count], &behind, &behind, &behind[..count]]);
        assert_eq!(stopped(pruner, &state, 1), None, "after {count} evaluations");
    }
}

const HYPERBAND: &str = "early_terminate: {type: hyperband, min_iter: 2, eta: 2}\n";
const STRICT: &str = "early_terminate: {type: hyperband, min_iter: 2, eta: 2, strict: true}\n";
const BELOW: &str = "early_terminate: {type: hyperband, max_iter: 9, s: 2}\n";
const MEDIAN: &str = "early_terminate: {type: median, min_iter: 2}\n";
const OVERFIT: &str = "early_terminate: {type: overfit, patience: 2}\n";
const CURVE: &str = "early_terminate: {type: curve, min_iter: 2}\n";
const TARGET: &str = "metric: {target: 1.0}\n";

#[test]
fn every_rule_keeps_the_contract() {
    let ahead: &[f64] = &[2.0, 1.5, 1.4];
    let behind = history(&[&[3.0, 2.9, 2.9], ahead, ahead, ahead]);
    let rising = history(&[&[2.0, 1.5, 1.5, 1.8, 1.9, 2.0]]);
    let there = history(&[&[2.0, 0.9]]);
    for (rule, stops) in [
        (HYPERBAND, &behind),
        (STRICT, &behind),
        (BELOW, &behind),
        (MEDIAN, &behind),
        (CURVE, &behind),
        (OVERFIT, &rising),
        (TARGET, &there),
    ] {
        keeps_the_contract(&|| pruner(rule), stops);
    }
}

#[test]
fn no_rule_gives_up_the_best_trial_while_it_improves() {
    for rule in [HYPERBAND, STRICT, BELOW, MEDIAN, CURVE, OVERFIT, "metric: {target: 0.1}\n"] {
        keeps_the_leader(&*pruner(rule));
    }
}

#[test]
fn a_sweep_without_a_rule_has_no_pruner() {
    assert!(pruner_for(&sweep("")).is_none());
}

#[test]
fn hyperband_stops_what_is_behind_the_best_share_at_a_bracket() {
    let state = history(&[&[3.0, 2.0], &[3.0, 1.0], &[3.0, 1.5], &[3.0, 1.6]]);
    let rule = pruner(HYPERBAND);
    // With eta 2 and four trials the threshold is the third best.
    assert_eq!([2, 3, 4].map(|id| stopped(&*rule, &state, id)), [None, None, None]);
    insta::assert_snapshot!(stopped(&*rule, &state, 1).unwrap_or_default(), @"hyperband: at evaluation 2 the best 3 of 4 trials had a validation loss of 1.6000 or less; this one's best up to now is 2.0000");
}

#[test]
fn hyperband_waits_for_the_bracket_and_for_company() {
    let rule = pruner(HYPERBAND);
    assert_eq!(stopped(&*rule, &history(&[&[9.0], &[1.0, 1.0], &[1.0, 1.0]]), 1), None);
    assert_eq!(stopped(&*rule, &history(&[&[9.0, 9.0], &[1.0]]), 1), None);
}

#[test]
fn hyperband_lets_a_trial_catch_up_after_the_bracket_unless_it_is_strict() {
    let state = history(&[&[3.0, 2.0, 1.0], &[3.0, 1.1], &[3.0, 1.2], &[3.0, 1.3]]);
    assert_eq!(stopped(&*pruner(HYPERBAND), &state, 1), None);
    let reason = stopped(&*pruner(STRICT), &state, 1).unwrap_or_default();
    assert!(reason.ends_with("this one had 2.0000"), "{reason}");
}

#[test]
fn hyperband_brackets_below_max_iter_are_its_parts() {
    // max_iter 9 with s 2 and eta 3: brackets at 3 and 1.
    let rule = pruner(BELOW);
    let good: &[f64] = &[1.0; 3];
    let late: &[f64] = &[1.0, 1.0, 1.0, 5.0];
    let state = history(&[&[2.0], good, good, good, late]);
    assert!(stopped(&*rule, &state, 1).unwrap_or_default().contains("at evaluation 1 "));
    // Beyond the last bracket nothing new is asked of a trial.
    assert_eq!(stopped(&*rule, &state, 5), None);
}

#[test]
fn the_median_rule_works_while_all_trials_run_side_by_side() {
    let state = history(&[&[3.0, 2.0], &[3.0, 1.0], &[3.0, 1.5], &[3.0]]);
    let rule = pruner(MEDIAN);
    insta::assert_snapshot!(stopped(&*rule, &state, 1).unwrap_or_default(), @"median: after 2 evaluations its best validation loss is 2.0000, the median of 2 other trials 1.2500");
    assert_eq!(stopped(&*rule, &state, 2), None);
    // Trial 4 is still before the second evaluation: neither judged nor counted.
    assert_eq!(stopped(&*rule, &state, 4), None);
}

#[test]
fn the_median_rule_keeps_counting_trials_that_have_ended_before() {
    let mut state = history(&[&[3.0, 2.0, 1.9], &[3.0, 1.0, 1.0], &[9.0, 8.0], &[9.0, 8.0]]);
    finish(&mut state, 3);
    finish(&mut state, 4);
    // Among survivors alone trial 1 would be behind; among all it is ahead of the median.
    assert_eq!(stopped(&*pruner(MEDIAN), &state, 1), None);
}

#[test]
fn the_median_rule_needs_two_others_and_min_iter() {
    let rule = pruner(MEDIAN);
    assert_eq!(stopped(&*rule, &history(&[&[9.0, 9.0], &[1.0, 1.0]]), 1), None);
    assert_eq!(stopped(&*rule, &history(&[&[9.0], &[1.0], &[1.0]]), 1), None);
}

#[test]
fn the_curve_rule_says_how_likely_the_trial_was_to_end_among_the_best() {
    let rule = pruner(CURVE);
    let good: &[f64] = &[2.0, 1.5, 1.4];
    let state = history(&[&[3.0, 2.9, 2.9], good, good, good]);
    let reason = stopped(&*rule, &state, 1).unwrap_or_default();
    assert!(reason.contains("the probability of getting below 1.4000"), "{reason}");
    // With one good trial only, there is no second best to get below.
    let two = pruner("early_terminate: {type: curve, top: 2}\n");
    assert_eq!(stopped(&*two, &history(&[&[3.0, 2.9], good]), 1), None);
    // Before min_iter nothing is said.
    assert_eq!(stopped(&*rule, &history(&[&[9.0], good, good]), 1), None);
}

#[test]
fn overfitting_is_a_rise_above_the_minimum_for_as_long_as_patience_says() {
    let rule = pruner(OVERFIT);
    assert_eq!(stopped(&*rule, &history(&[&[2.0, 1.5, 1.5, 1.8]]), 1), None);
    assert_eq!(stopped(&*rule, &history(&[&[2.0, 1.5, 1.5, 1.8, 1.2]]), 1), None);
    // Once only, and then for two evaluations in a row.
    assert_eq!(stopped(&*rule, &history(&[&[2.0, 1.5, 1.5, 1.7, 1.8]]), 1), None);
    let state = history(&[&[2.0, 1.5, 1.5, 1.7, 1.8, 1.9]]);
    let reason = stopped(&*rule, &state, 1).unwrap_or_default();
    assert!(reason.starts_with("overfit: the level of the validation loss"), "{reason}");
    assert!(reason.ends_with("for 2 evaluations in a row"), "{reason}");
}

#[test]
fn a_rise_within_the_noise_or_below_the_smallest_share_is_not_overfitting() {
    let rule = pruner(OVERFIT);
    let mut noisy = SweepState::default();
    run(&mut noisy, 1, &[2.0, 1.5, 1.5, 1.7, 1.8, 1.9], 0.5);
    assert_eq!(stopped(&*rule, &noisy, 1), None);
    let mut small = SweepState::default();
    run(&mut small, 1, &[2.0, 1.5, 1.5, 1.501, 1.502, 1.503], 0.0001);
    assert_eq!(stopped(&*rule, &small, 1), None);
}

#[test]
fn the_target_comes_before_the_rules() {
    let both = pruner("metric: {target: 1.6}\nearly_terminate: {type: overfit, patience: 2}\n");
    let state = history(&[&[2.0, 1.5, 1.5, 1.7, 1.8, 1.9], &[2.5, 1.9, 1.9, 2.2, 2.4, 2.6]]);
    assert_eq!(stopped(&*both, &state, 1).as_deref(), Some("target 1.6"));
    assert!(stopped(&*both, &state, 2).unwrap_or_default().starts_with("overfit"));
}
