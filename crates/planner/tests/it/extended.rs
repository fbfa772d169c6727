//! Sweeps whose file is changed after some of their trials have run.

use std::collections::HashSet;

use crate::common::{finish, propose, run_config, sweep};
use planner::{first_draw, for_sweep};
use spec::{ConfigKey, Event, Sweep, SweepState, Trial, TrialConfig, TrialId};

/// Lets the sweep propose and end `count` trials, one at a time; a lower rank and rate are better.
fn go_on(history: &mut SweepState, sweep: &Sweep, count: usize) {
    for _ in 0..count {
        let Some(trial) = for_sweep(sweep).suggest(history, 1).pop() else { return };
        let loss = 1.0 / f64::from(trial.config.rank) + trial.config.learning_rate;
        let id = trial.id.0;
        run_config(history, id, trial.config, &[loss], 0.01);
        finish(history, id);
    }
}

/// The file is changed to that of `sweep`.
fn extend(history: &mut SweepState, sweep: &Sweep) {
    let is_outside = |config: &TrialConfig| !sweep.space.contains(config);
    let trials = history.trials.values().filter(|t| is_outside(&t.trial.config));
    let outside = trials.map(|t| t.trial.id).collect();
    history.apply(&Event::SweepExtended {
        fingerprint: sweep.fingerprint(),
        changes: vec!["parameters.rank: 4 -> [4,8]".to_owned()],
        outside,
        first_draw: first_draw(history, &sweep.space),
    });
}

fn keys(history: &SweepState) -> HashSet<ConfigKey> {
    history.within_space().trials.values().map(|t| t.trial.config.key()).collect()
}

fn at_once(sweep: &Sweep) -> SweepState {
    let mut history = SweepState::default();
    go_on(&mut history, sweep, 1000);
    history
}

const SPACE: &str = "parameters:\n  rank: [4, 8, 16]\n  learning_rate: {distribution: \
                     log_uniform_values, min: 1e-4, max: 1e-2}\n";

#[test]
fn a_higher_run_cap_continues_the_same_sequence() {
    for method in ["random", "sobol"] {
        let of = |cap: u32| sweep(&format!("method: {method}\nrun_cap: {cap}\n{SPACE}"));
        let mut history = at_once(&of(5));
        extend(&mut history, &of(12));
        go_on(&mut history, &of(12), 1000);
        let configs = |history: &SweepState| -> Vec<TrialConfig> {
            history.trials.values().map(|t| t.trial.config.clone()).collect()
        };
        assert_eq!(configs(&history), configs(&at_once(&of(12))), "{method}");
    }
}

#[test]
fn a_grid_with_more_values_has_the_trials_of_the_grid_that_had_them_from_the_start() {
    let of = |ranks: &str, epochs: &str| {
        sweep(&format!("parameters:\n  rank: {ranks}\n  epochs: {epochs}\n  seed: [1, 2]\n"))
    };
    let mut history = SweepState::default();
    go_on(&mut history, &of("[4, 8]", "[1]"), 3);
    extend(&mut history, &of("[4, 8, 16]", "[1]"));
    go_on(&mut history, &of("[4, 8, 16]", "[1]"), 2);
    extend(&mut history, &of("[8, 16]", "[1, 2]"));
    go_on(&mut history, &of("[8, 16]", "[1, 2]"), 1000);
    assert_eq!(keys(&history), keys(&at_once(&of("[8, 16]", "[1, 2]"))));
    assert!(history.trials.values().any(|t| t.is_outside), "rank 4 is history");
    let ids: Vec<u32> = history.trials.keys().map(|id| id.0).collect();
    assert_eq!(ids, (1..=ids.len() as u32).collect::<Vec<_>>(), "numbers go on");
}

#[test]
fn a_wider_range_keeps_what_was_drawn_and_draws_on_from_there() {
    let narrow = |cap: u32| sweep(&format!("method: sobol\nrun_cap: {cap}\n{SPACE}"));
    let wide = |cap: u32| {
        let space = SPACE.replace("max: 1e-2", "max: 1e-1");
        sweep(&format!("method: sobol\nrun_cap: {cap}\n{space}"))
    };
    let mut history = at_once(&narrow(8));
    let before = keys(&history);
    extend(&mut history, &wide(16));
    assert!(history.trials.values().all(|t| !t.is_outside));
    go_on(&mut history, &wide(16), 1000);
    let all = at_once(&wide(16));
    let later: HashSet<ConfigKey> =
        all.trials.values().skip(8).map(|t| t.trial.config.key()).collect();
    assert_eq!(history.trials.len(), 16, "trials that stay count");
    assert_eq!(keys(&history), before.union(&later).cloned().collect());
}

#[test]
fn trials_outside_the_space_do_not_count_and_are_not_looked_at() {
    for method in ["random", "sobol", "bayes"] {
        let of = |ranks: &str| {
            let space = SPACE.replace("[4, 8, 16]", ranks);
            sweep(&format!("method: {method}\nrun_cap: 6\n{space}"))
        };
        let mut history = at_once(&of("[4, 8]"));
        extend(&mut history, &of("[8, 16]"));
        let outside = history.trials.values().filter(|t| t.is_outside).count();
        assert!((1..6).contains(&outside), "{method}: {outside}");
        go_on(&mut history, &of("[8, 16]"), 1000);
        assert_eq!(history.trials.len(), 6 + outside, "{method}");
        assert_eq!(keys(&history).len(), 6, "{method}");
    }
}

#[test]
fn a_search_that_continues_after_replicates_numbers_its_trials_above_them() {
    let of = |cap: u32| {
        sweep(&format!("method: random\nrun_cap: {cap}\nreplicates: {{seeds: 1, top: 2}}\n{SPACE}"))
    };
    let mut history = at_once(&of(4));
    assert_eq!(history.trials.len(), 6, "two of them replicates");
    extend(&mut history, &of(6));
    go_on(&mut history, &of(6), 2);
    let plain = sweep(&format!("method: random\nrun_cap: 6\n{SPACE}"));
    let searched: Vec<_> =
        [1, 2, 3, 4, 7, 8].map(|id| history.trials[&TrialId(id)].trial.config.clone()).to_vec();
    let expected: Vec<_> =
        at_once(&plain).trials.values().map(|t| t.trial.config.clone()).collect();
    assert_eq!(searched, expected);
}

#[test]
fn a_trial_of_a_persons_own_comes_on_top_of_what_is_proposed() {
    for method in ["random", "sobol", "bayes"] {
        let sweep = sweep(&format!("method: {method}\nrun_cap: 5\n{SPACE}"));
        let mut history = SweepState::default();
        let config = TrialConfig { rank: 5, learning_rate: 0.5, ..TrialConfig::default() };
        let added = Trial { id: TrialId(1), config };
        history.apply(&Event::TrialProposed { trial: added, start: None, is_added: true });
        propose(&mut history, &[]);
        finish(&mut history, 1);
        go_on(&mut history, &sweep, 1000);
        assert_eq!(history.trials.len(), 6, "{method}");
    }
}
