//! When a trial that was stopped goes on after all.

use crate::common::{finish, run, run_config, sweep};
use planner::{Decision, Promotion, Pruner, pruner_for};
use spec::{Event, Outcome, SweepState, TrialConfig, TrialId};

fn pruner(rule: &str) -> Box<dyn Pruner> {
    pruner_for(&sweep(rule)).expect("the sweep has a rule")
}

/// Stops the first trial, which `rule` must want, and keeps its checkpoint.
fn pause(state: &mut SweepState, rule: &dyn Pruner) {
    let trial = TrialId(1);
    let Decision::Stop { reason } = rule.judge(state, trial) else {
        panic!("the first trial is to be stopped")
    };
    let step = state.trials[&trial].last().map_or(0, |last| last.step);
    state.apply(&Event::CheckpointKept { trial, step });
    state.apply(&Event::TrialFinished { trial, outcome: Outcome::Stopped { reason } });
}

/// What every rule that promotes must do: `before` makes it stop the first trial, and with `after`
/// besides that was a mistake.
fn keeps_the_contract(rule: &str, before: &[&[f64]], after: &[&[f64]]) {
    let promoting = format!("{}, promote: true}}\n", rule.trim_end_matches("}\n"));
    let make = || pruner(&promoting);
    let mut state = SweepState::default();
    let config = TrialConfig { epochs: 6, ..sweep("").space.grid_config(0) };
    for (losses, id) in before.iter().zip(1..) {
        run_config(&mut state, id, config.clone(), losses, 0.01);
    }
    for id in 2..=before.len() as u32 {
        finish(&mut state, id);
    }
    assert_eq!(make().promote(&state), None, "what still runs is not promoted");
    pause(&mut state, &*make());
    assert_eq!(make().promote(&state), None, "nothing has changed since the stop");
    for (losses, id) in after.iter().zip(before.len() as u32 + 1..) {
        run_config(&mut state, id, config.clone(), losses, 0.01);
        finish(&mut state, id);
    }

    // It goes on, for a reason with numbers, also when asked again and after a restart.
    let promoted = make().promote(&state).expect("the first trial is to go on");
    assert_eq!(promoted.trial, TrialId(1));
    assert!(promoted.reason.contains(|c: char| c.is_ascii_digit()), "{}", promoted.reason);
    assert_eq!(make().promote(&state), Some(promoted.clone()));
    assert!(make().promotes());

    // Not unless the sweep says so, and not without a checkpoint.
    assert_eq!(pruner(rule).promote(&state), None);
    assert!(!pruner(rule).promotes());
    let mut dropped = state.clone();
    dropped.apply(&Event::CheckpointDropped { trial: TrialId(1) });
    assert_eq!(make().promote(&dropped), None);

    // Once promoted it is not promoted again, and not stopped for what it had reached before.
    let Promotion { trial, reason } = promoted;
    state.apply(&Event::TrialPromoted { trial, reason, at: None });
    assert_eq!(make().promote(&state), None);
    let step = state.trials[&trial].checkpoint_step.unwrap_or(0);
    state.apply(&Event::TrialStarted {
        trial,
        device: "cpu".to_owned(),
        from_step: step,
        total_steps: 100,
        continues: None,
    });
    assert_eq!(state.trials[&trial].evaluations.len(), before[0].len());
    assert_eq!(make().judge(&state, trial), Decision::Keep);
    assert_eq!(make().promote(&state), None);
}

const GOOD: &[f64] = &[2.0, 1.5, 1.4];
const BAD: &[f64] = &[4.0, 3.5, 3.4];

#[test]
fn every_rule_that_promotes_keeps_the_contract() {
    let behind: &[&[f64]] = &[&[3.0, 2.9], GOOD, GOOD, GOOD];
    let worse: &[&[f64]] = &[BAD; 6];
    for rule in [
        "early_terminate: {type: asha, min_iter: 2, eta: 2}\n",
        "early_terminate: {type: hyperband, min_iter: 2, eta: 2, strict: true}\n",
        "early_terminate: {type: median, min_iter: 2}\n",
    ] {
        keeps_the_contract(rule, behind, worse);
    }
    // Runs that began like it and fell late change the model's mind.
    let late: &[f64] = &[3.0, 2.9, 2.9, 1.6, 1.3, 1.25];
    let rule = "early_terminate: {type: curve, min_iter: 2}\n";
    let good: &[f64] = &[2.0, 1.5, 1.4, 1.35, 1.3, 1.3];
    keeps_the_contract(rule, &[&[3.0, 2.9, 2.9], good, good, good], &[late; 6]);
}

#[test]
fn asha_promotes_the_best_of_those_that_came_furthest() {
    let rule = pruner("early_terminate: {type: asha, min_iter: 1, eta: 2, promote: true}\n");
    let mut state = SweepState::default();
    let losses: [&[f64]; 7] =
        [&[3.0, 2.5], &[3.1], &[2.9], &[2.0, 1.0], &[2.1, 1.1], &[9.0, 8.0], &[9.0, 8.0]];
    for (losses, id) in losses.iter().zip(1..) {
        run(&mut state, id, losses, 0.01);
    }
    for id in 1..=3 {
        let reason = spec::StopReason::EarlyTerminate { reason: "it was behind".to_owned() };
        let trial = TrialId(id);
        state.apply(&Event::CheckpointKept { trial, step: 1 });
        state.apply(&Event::TrialFinished { trial, outcome: Outcome::Stopped { reason } });
    }
    // At the second bracket trial 1 is third of five, of which two go on; at the first bracket trial
    // 3 is the best of those that wait, and the third of seven.
    let promoted = rule.promote(&state).expect("a trial is to go on");
    assert_eq!(promoted.trial, TrialId(3));
    insta::assert_snapshot!(promoted.reason, @"hyperband: it is among the best 3 of 7 trials at evaluation 1 now; this one's best up to now is 2.9000");
}
