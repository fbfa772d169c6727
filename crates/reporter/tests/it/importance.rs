//! What mattered, against Optuna's fANOVA on the same real runs
//! (`scripts/golden/make_importance_golden.py`).

use std::collections::BTreeMap;

use reporter::importance;
use spec::{Evaluation, Event, SweepState, Trial, TrialConfig, TrialId};

use crate::sweeps;

const RUNS: &str = include_str!("../importance/runs.csv");
const SHARES: &str = include_str!("../importance/shares.csv");

/// Forests differ by their draws.
const TOLERANCE: f64 = 0.04;

fn runs(set: &str) -> SweepState {
    let of_set = RUNS.lines().filter(|line| line.starts_with(&format!("{set},")));
    let mut events = Vec::new();
    for (number, line) in (1..).zip(of_set) {
        let cells: Vec<f64> =
            line.split(',').skip(1).map(|cell| cell.parse().expect("a number")).collect();
        let config = TrialConfig {
            batch_size: cells[2] as u32,
            lora_alpha: 32.0,
            ..sweeps::config(cells[0] as u32, cells[1], cells[3] as u32)
        };
        let trial = TrialId(number);
        let evaluation = evaluation(cells[4]);
        events.push(Event::proposed(Trial { id: trial, config }));
        events.push(Event::Evaluated { trial, evaluation });
    }
    SweepState::from_events(&events)
}

fn evaluation(eval_loss: f64) -> Evaluation {
    Evaluation { step: 10, epoch: 1.0, eval_loss, ..sweeps::base() }
}

fn golden() -> BTreeMap<String, Vec<(String, f64)>> {
    let mut found: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
    for line in SHARES.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let share = cells[2].parse().expect("a share");
        found.entry(cells[0].to_owned()).or_default().push((cells[1].to_owned(), share));
    }
    found
}

#[test]
fn the_shares_are_those_of_optunas_fanova() {
    for (set, shares) in golden() {
        let found = importance(&runs(&set));
        assert_eq!(found.len(), shares.len(), "{set}");
        for (name, expected) in shares {
            let own = found.iter().find(|i| i.name == name).expect("a parameter");
            let apart = (own.share - expected).abs();
            assert!(apart <= TOLERANCE, "{set}: {name} is {} and not {expected}", own.share);
        }
    }
}

#[test]
fn shares_of_all_parameters_together_are_at_most_all() {
    for set in golden().keys() {
        let found = importance(&runs(set));
        let together: f64 = found.iter().map(|i| i.share).sum();
        assert!(together <= 1.0 + 1e-9, "{set}: {together}");
        assert!(found.iter().all(|i| i.share >= 0.0 && i.stderr >= 0.0));
        assert!(found.is_sorted_by(|a, b| a.share >= b.share));
    }
}

#[test]
fn what_two_parameters_do_only_together_is_neither_ones() {
    // The loss is low where both are low or both are high.
    let mut events = Vec::new();
    for (number, (rank, rate)) in
        (1..).zip([(2, 1e-4), (2, 1e-2), (32, 1e-4), (32, 1e-2)].repeat(8))
    {
        let trial = TrialId(number);
        let config = TrialConfig { lora_alpha: 32.0, ..sweeps::config(rank, rate, 2) };
        let loss = if (rank == 2) == (rate < 1e-3) { 1.0 } else { 2.0 };
        events.push(Event::proposed(Trial { id: trial, config }));
        events.push(Event::Evaluated { trial, evaluation: evaluation(loss) });
    }
    let found = importance(&SweepState::from_events(&events));
    assert!(found.iter().all(|i| i.share < 0.25), "{found:?}");
}

#[test]
fn a_seed_is_chance_and_no_parameter() {
    let mut state = runs("third");
    for (number, trial) in (1..).zip(state.trials.values_mut()) {
        trial.trial.config.seed = number;
    }
    assert!(importance(&state).iter().all(|i| i.name != "seed"));
}
