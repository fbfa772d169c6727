//! The contract of every planner, and what is particular to each.

use std::collections::HashSet;

use crate::common::{finish, propose, run, sweep};
use planner::{Planner, for_sweep};
use proptest::prelude::*;
use spec::{Parameter, Sweep, SweepState, Trial, TrialId};

/// Everything a planner proposes, `chunk` at a time, up to `most`. A planner that waits for trials
/// sees them end without a result.
fn all(planner: &dyn Planner, chunk: usize, most: usize) -> Vec<Trial> {
    let mut history = SweepState::default();
    let mut trials = Vec::new();
    while trials.len() < most {
        let next = planner.suggest(&history, chunk.min(most - trials.len()));
        if next.is_empty() {
            let pending: Vec<TrialId> = pending(&history);
            if pending.is_empty() {
                break;
            }
            for id in pending {
                finish(&mut history, id.0);
            }
            continue;
        }
        propose(&mut history, &next);
        trials.extend(next);
    }
    trials
}

fn pending(history: &SweepState) -> Vec<TrialId> {
    let unfinished = history.trials.values().filter(|trial| trial.outcome().is_none());
    unfinished.map(|trial| trial.trial.id).collect()
}

/// What every planner must do; `make` gives a new planner for the same sweep.
fn keeps_the_contract(make: &dyn Fn() -> Box<dyn Planner>) {
    let most = 60;
    let trials = all(&*make(), 1, most);

    // Trials are numbered from 1 without a gap, and no configuration comes twice.
    assert!(trials.iter().zip(1..).all(|(trial, id)| trial.id == TrialId(id)));
    let keys: HashSet<_> = trials.iter().map(|t| t.config.key()).collect();
    assert_eq!(keys.len(), trials.len());

    // Neither the number asked for at a time nor a restart changes the proposals.
    assert_eq!(all(&*make(), 7, most), trials);
    let at_once = make().suggest(&SweepState::default(), most);
    assert!(!at_once.is_empty() && trials.starts_with(&at_once));
    assert!(at_once.len() == trials.len() || make().is_adaptive());
    let mut history = SweepState::default();
    propose(&mut history, &trials[..trials.len() / 2]);
    for id in pending(&history) {
        finish(&mut history, id.0);
    }
    let rest = make().suggest(&history, most - trials.len() / 2);
    assert!(!rest.is_empty() && trials[trials.len() / 2..].starts_with(&rest));

    // Asking changes nothing.
    let planner = make();
    assert_eq!(planner.suggest(&history, 3), planner.suggest(&history, 3));
    assert_eq!(planner.suggest(&history, 0), []);

    // A proposal that was lost comes again, under a new number.
    let mut gap = SweepState::default();
    propose(&mut gap, &trials[1..]);
    for id in pending(&gap) {
        finish(&mut gap, id.0);
    }
    let again = make().suggest(&gap, 1);
    let room = planner.total().is_none_or(|total| gap.trials.len() < total);
    assert_eq!(again.first().map(|t| &t.config), room.then_some(&trials[0].config));
    assert!(again.iter().all(|t| t.id.0 as usize == trials.len() + 1));

    // The total is the number of trials that come.
    match planner.total() {
        Some(total) => assert_eq!(trials.len(), total.min(most)),
        None => assert_eq!(trials.len(), most),
    }
}

fn factory(sweep: &Sweep) -> impl Fn() -> Box<dyn Planner> {
    || for_sweep(sweep)
}

const LISTS: &str = "parameters: {rank: [4, 8, 16], learning_rate: [1e-4, 1e-3], epochs: [1, 2]}\n";
const RANGES: &str = "parameters:\n  rank: {min: 4, max: 64}\n  learning_rate: {distribution: log_uniform_values, min: 1e-5, max: 1e-3}\n";

#[test]
fn the_grid_keeps_the_contract() {
    keeps_the_contract(&factory(&sweep(LISTS)));
    keeps_the_contract(&factory(&sweep(&format!("run_cap: 5\n{LISTS}"))));
    keeps_the_contract(&factory(&sweep("parameters: {rank: [8, 16], lora_alpha: [16, 2r, 32]}\n")));
    keeps_the_contract(&factory(&sweep(
        "run_cap: 70\nparameters: {seed: {min: 0, max: 1000000000}}\n",
    )));
}

#[test]
fn random_search_keeps_the_contract() {
    keeps_the_contract(&factory(&sweep(&format!("method: random\nrun_cap: 70\n{RANGES}"))));
    keeps_the_contract(&factory(&sweep(&format!("method: random\nrun_cap: 5\n{RANGES}"))));
    keeps_the_contract(&factory(&sweep(&format!("method: random\n{LISTS}"))));
    keeps_the_contract(&factory(&sweep(
        "method: random\nparameters: {rank: [8, 16], lora_alpha: [16, 2r, 32]}\n",
    )));
    // The last value is hardly ever drawn, and still comes.
    keeps_the_contract(&factory(&sweep(
        "method: random\nparameters: {rank: {values: [4, 8], probabilities: [0.9999999, 0.0000001]}}\n",
    )));
}

#[test]
fn the_sobol_sequence_keeps_the_contract() {
    keeps_the_contract(&factory(&sweep(&format!("method: sobol\nrun_cap: 70\n{RANGES}"))));
    keeps_the_contract(&factory(&sweep(&format!("method: sobol\nrun_cap: 5\n{RANGES}"))));
    keeps_the_contract(&factory(&sweep(&format!("method: sobol\n{LISTS}"))));
    keeps_the_contract(&factory(&sweep(
        "method: sobol\nparameters: {rank: {values: [4, 8], probabilities: [0.9999999, 0.0000001]}}\n",
    )));
}

#[test]
fn the_bayesian_planner_keeps_the_contract() {
    for settings in ["", "bayes: {lora_prior: false}\n", "bayes: {cost_aware: true}\n"] {
        let method = format!("method: bayes\n{settings}");
        keeps_the_contract(&factory(&sweep(&format!("{method}run_cap: 40\n{RANGES}"))));
        keeps_the_contract(&factory(&sweep(&format!("{method}run_cap: 5\n{RANGES}"))));
        keeps_the_contract(&factory(&sweep(&format!("{method}{LISTS}"))));
        keeps_the_contract(&factory(&sweep(&format!(
            "{method}parameters: {{rank: [8, 16], lora_alpha: [16, 2r, 32]}}\n"
        ))));
    }
}

#[test]
fn the_bayesian_planner_has_a_quarter_of_its_trials_in_training_at_most() {
    let planner = for_sweep(&sweep(&format!("method: bayes\nrun_cap: 10\n{RANGES}")));
    let mut history = SweepState::default();
    let first = planner.suggest(&history, 8);
    assert_eq!(first.len(), 3);
    propose(&mut history, &first);
    assert_eq!(planner.suggest(&history, 8), []);
    finish(&mut history, 2);
    assert_eq!(planner.suggest(&history, 8).len(), 1);
}

#[test]
fn a_grid_ends_when_every_combination_has_come() {
    let planner = for_sweep(&sweep(LISTS));
    assert_eq!(planner.total(), Some(12));
    assert_eq!(all(&*planner, 5, 100).len(), 12);
}

#[test]
fn random_search_over_lists_ends_when_every_combination_has_come() {
    let planner = for_sweep(&sweep(&format!("method: random\n{LISTS}")));
    assert_eq!(planner.total(), Some(12));
    assert_eq!(all(&*planner, 5, 100).len(), 12);
}

#[test]
fn another_seed_draws_other_trials() {
    let draw = |seed: u64| {
        let sweep = sweep(&format!("method: random\nrun_cap: 9\nseed: {seed}\n{RANGES}"));
        all(&*for_sweep(&sweep), 9, 9)
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn draws_follow_their_distributions() {
    let sweep = sweep(
        "method: random\nrun_cap: 4000\nparameters:\n  rank: {values: [4, 8], probabilities: [0.8, 0.2]}\n  learning_rate: {distribution: log_uniform_values, min: 1e-5, max: 1e-3}\n  lora_dropout: {distribution: uniform, min: 0.0, max: 0.5}\n",
    );
    let trials = all(&*for_sweep(&sweep), 4000, 4000);
    let share = |test: &dyn Fn(&Trial) -> bool| {
        trials.iter().filter(|t| test(t)).count() as f64 / trials.len() as f64
    };
    // Four standard errors of a share of one half in 4000 draws are 0.032.
    assert!((share(&|t| t.config.rank == 4) - 0.8).abs() < 0.032);
    assert!((share(&|t| t.config.learning_rate < 1e-4) - 0.5).abs() < 0.032);
    assert!((share(&|t| t.config.lora_dropout < 0.1) - 0.2).abs() < 0.032);
    // Parameters are drawn independently of each other.
    let both = share(&|t| t.config.learning_rate < 1e-4 && t.config.lora_dropout < 0.25);
    assert!((both - 0.25).abs() < 0.032);
}

#[test]
fn nothing_is_proposed_once_a_trial_has_reached_the_target() {
    for method in ["grid", "random", "sobol", "bayes"] {
        let sweep = sweep(&format!("method: {method}\nmetric: {{target: 1.5}}\n{LISTS}"));
        let planner = for_sweep(&sweep);
        let mut history = SweepState::default();
        run(&mut history, 1, &[1.6, 1.51], 0.1);
        assert_eq!(planner.suggest(&history, 1).len(), 1);
        run(&mut history, 2, &[1.5, 1.9], 0.1);
        assert_eq!(planner.suggest(&history, 1), []);
    }
}

#[test]
fn ended_trials_are_not_proposed_again() {
    let planner = for_sweep(&sweep("parameters: {rank: [4, 8]}\n"));
    let mut history = SweepState::default();
    let both = planner.suggest(&history, 2);
    propose(&mut history, &both);
    finish(&mut history, 1);
    finish(&mut history, 2);
    assert_eq!(planner.suggest(&history, 1), []);
}

#[test]
fn ten_thousand_trials_of_history_leave_the_next_one_right() {
    let sweep = sweep(&format!("method: random\nrun_cap: 10002\n{RANGES}"));
    let planner = for_sweep(&sweep);
    let mut history = SweepState::default();
    let trials = planner.suggest(&history, 10_000);
    propose(&mut history, &trials);
    let last = planner.suggest(&history, 5);
    assert_eq!(last.iter().map(|t| t.id.0).collect::<Vec<_>>(), [10_001, 10_002]);
    let known: HashSet<_> = trials.iter().map(|t| t.config.key()).collect();
    assert!(last.iter().all(|t| !known.contains(&t.config.key())));
}

proptest! {
    #[test]
    fn a_prefix_of_a_grid_gives_every_value_of_a_parameter_its_share(
        a in 1..6_u32,
        b in 1..6_u32,
        c in 1..6_u32,
    ) {
        let list = |n: u32| (1..=n).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
        let sweep = sweep(&format!(
            "parameters: {{rank: [{}], batch_size: [{}], epochs: [{}]}}\n",
            list(a), list(b), list(c),
        ));
        let trials = all(&*for_sweep(&sweep), 200, 200);
        prop_assert_eq!(trials.len() as u32, a * b * c);
        // The parameter that counts fastest is dealt out evenly at any time.
        for chunk in trials.chunks_exact(c as usize) {
            let epochs: HashSet<u32> = chunk.iter().map(|t| t.config.epochs).collect();
            prop_assert_eq!(epochs.len() as u32, c);
        }
        prop_assert!(sweep.space.varied().len() <= Parameter::COUNT);
    }
}
