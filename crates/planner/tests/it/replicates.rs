//! Runs of the best trials under other seeds.

use crate::common::{propose, sweep};
use planner::{Decision, for_sweep, pruner_for};
use spec::{Evaluation, Event, Outcome, SweepState, Trial, TrialId};

const GRID: &str = "method: grid\nreplicates: {seeds: 2, top: 2}\nparameters:\n  rank: [4, 8, 16]\n  learning_rate: [1e-4, 1e-3]\n";

fn start(history: &mut SweepState, trial: &Trial) {
    propose(history, std::slice::from_ref(trial));
    history.apply(&Event::TrialStarted {
        trial: trial.id,
        device: "cpu".to_owned(),
        from_step: 0,
        total_steps: 20,
        continues: None,
    });
}

fn evaluate(history: &mut SweepState, trial: TrialId, epoch: u32, eval_loss: f64) {
    let evaluation = Evaluation {
        step: epoch * 10,
        epoch: f64::from(epoch),
        eval_loss,
        eval_loss_stderr: 0.01,
        rise_stderr: Some(0.01),
        group_nll: Vec::new(),
        train_loss: Some(eval_loss),
        retention_loss: None,
        scores: Vec::new(),
        tokens: 1,
        seconds: 1.0,
    };
    history.apply(&Event::Evaluated { trial, evaluation });
}

fn finish(history: &mut SweepState, trial: TrialId) {
    history.apply(&Event::TrialFinished { trial, outcome: Outcome::Completed });
}

/// The search's six trials; the higher rank and the lower rate are better.
fn searched(sweep: &spec::Sweep) -> SweepState {
    let mut history = SweepState::default();
    for trial in for_sweep(sweep).suggest(&history, 100) {
        start(&mut history, &trial);
        let loss = 1.0 / f64::from(trial.config.rank) + trial.config.learning_rate;
        evaluate(&mut history, trial.id, 1, loss);
        finish(&mut history, trial.id);
    }
    history
}

#[test]
fn the_best_trials_run_again_under_other_seeds_once_the_search_is_over() {
    let sweep = sweep(GRID);
    let planner = for_sweep(&sweep);
    let mut history = searched(&sweep);
    assert_eq!((history.trials.len(), planner.total()), (6, Some(10)));
    let again = planner.suggest(&history, 100);
    assert_eq!(again.iter().map(|t| t.id.0).collect::<Vec<_>>(), [7, 8, 9, 10]);
    let of = |trial: &Trial| (trial.config.rank, trial.config.learning_rate);
    assert_eq!(again.iter().map(of).collect::<Vec<_>>(), [(16, 1e-4), (16, 1e-3)].repeat(2));
    let mut seeds: Vec<u64> = again.iter().map(|t| t.config.seed).chain([42]).collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 3, "the runs of a configuration differ in their seeds");
    for trial in &again {
        start(&mut history, trial);
        evaluate(&mut history, trial.id, 1, 0.5);
        finish(&mut history, trial.id);
    }
    assert!(planner.suggest(&history, 100).is_empty());
}

#[test]
fn no_replicate_is_proposed_while_a_trial_of_the_search_still_runs() {
    let sweep = sweep(GRID);
    let mut history = SweepState::default();
    let trials = for_sweep(&sweep).suggest(&history, 100);
    for trial in &trials {
        start(&mut history, trial);
        evaluate(&mut history, trial.id, 1, 1.0);
    }
    assert!(for_sweep(&sweep).suggest(&history, 100).is_empty());
}

#[test]
fn a_replicate_that_was_lost_on_the_way_is_proposed_again_and_none_twice() {
    let sweep = sweep(GRID);
    let planner = for_sweep(&sweep);
    let mut history = searched(&sweep);
    let whole = planner.suggest(&history, 100);
    let mut one_by_one = Vec::new();
    while let Some(trial) = planner.suggest(&history, 1).into_iter().next() {
        start(&mut history, &trial);
        one_by_one.push(trial);
    }
    assert_eq!(one_by_one, whole);
}

#[test]
fn a_replicate_is_never_given_up_and_does_not_count_against_a_trial_of_the_search() {
    let early = "early_terminate: {type: median, min_iter: 1}\n";
    let sweep = sweep(&format!("{GRID}{early}"));
    let pruner = pruner_for(&sweep).expect("a rule");
    let mut history = searched(&sweep);
    let replicate = for_sweep(&sweep).suggest(&history, 1).remove(0);
    start(&mut history, &replicate);
    evaluate(&mut history, replicate.id, 1, 50.0);
    assert_eq!(pruner.judge(&history, replicate.id), Decision::Keep);
}

#[test]
fn replicates_come_on_top_of_the_run_cap_and_leave_an_adaptive_search_alone() {
    let text = "method: random\nrun_cap: 3\nreplicates: 1\nparameters:\n  learning_rate: {min: 1e-5, max: 1e-3}\n";
    let sweep = sweep(text);
    let mut history = searched(&sweep);
    assert_eq!(history.trials.len(), 3);
    let again = for_sweep(&sweep).suggest(&history, 100);
    assert_eq!(again.len(), 3, "the best three, or as many as there are");
    for trial in &again {
        start(&mut history, trial);
        evaluate(&mut history, trial.id, 1, 0.5);
        finish(&mut history, trial.id);
    }
    assert!(for_sweep(&sweep).suggest(&history, 100).is_empty());
}
