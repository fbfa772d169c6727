//! The rank ladder: how it climbs, and why it stops.

use crate::common::{propose, sweep};
use planner::{Planner, for_sweep};
use spec::{Evaluation, Event, Outcome, SweepState, Trial};

const LADDER: &str = "method: rank_ladder\nrank_ladder: {trials_per_rung: 3, sigma: 2}\nparameters:\n  rank: [16, 2, 4, 64]\n  lora_alpha: 32\n  learning_rate: {distribution: log_uniform_values, min: 1e-5, max: 1e-2}\n";

fn end(history: &mut SweepState, trial: &Trial, eval_loss: f64, train_loss: f64) {
    history.apply(&Event::TrialStarted {
        trial: trial.id,
        device: "cpu".to_owned(),
        from_step: 0,
        total_steps: 10,
        continues: None,
    });
    let evaluation = Evaluation {
        step: 10,
        epoch: 3.0,
        eval_loss,
        eval_loss_stderr: 0.01,
        rise_stderr: None,
        group_nll: Vec::new(),
        train_loss: Some(train_loss),
        retention_loss: None,
        scores: Vec::new(),
        tokens: 1,
        seconds: 1.0,
    };
    history.apply(&Event::Evaluated { trial: trial.id, evaluation });
    history.apply(&Event::TrialFinished { trial: trial.id, outcome: Outcome::Completed });
}

/// Climbs to the end; the loss is that of the rank, and a bit more away from a rate of 5e-4.
fn climb(planner: &dyn Planner, loss: &dyn Fn(u32) -> f64) -> SweepState {
    let mut history = SweepState::default();
    loop {
        let trials = planner.suggest(&history, 8);
        if trials.is_empty() {
            return history;
        }
        propose(&mut history, &trials);
        for trial in &trials {
            let config = &trial.config;
            let decades = (config.learning_rate / 5e-4).log10();
            let own = loss(config.rank) + 0.1 * decades * decades;
            end(&mut history, trial, own, 1.0 - 0.001 * f64::from(config.rank));
        }
    }
}

fn ranks(history: &SweepState) -> Vec<u32> {
    history.trials.values().map(|t| t.trial.config.rank).collect()
}

#[test]
fn it_begins_at_the_lowest_rank_and_climbs_while_a_higher_one_pays() {
    let planner = for_sweep(&sweep(LADDER));
    let history = climb(&*planner, &|rank| 1.0 + 1.0 / f64::from(rank));
    assert_eq!(ranks(&history), [2, 2, 2, 4, 4, 4, 16, 16, 16, 64, 64, 64]);
    let reason = planner.conclusion(&history).expect("it has ended");
    assert!(reason.contains("rank 64 is the highest one"), "{reason}");
}

#[test]
fn it_stops_where_a_higher_rank_brings_only_a_wider_gap_and_says_so() {
    let planner = for_sweep(&sweep(LADDER));
    let history = climb(&*planner, &|rank| if rank < 4 { 1.5 } else { 1.2 });
    assert_eq!(ranks(&history), [2, 2, 2, 4, 4, 4, 16, 16, 16]);
    insta::assert_snapshot!(planner.conclusion(&history).unwrap_or_default());
}

#[test]
fn every_rung_tunes_the_learning_rate_near_the_best_of_the_rung_below() {
    let planner = for_sweep(&sweep(LADDER));
    let history = climb(&*planner, &|rank| 1.0 + 1.0 / f64::from(rank));
    let rates: Vec<f64> = history.trials.values().map(|t| t.trial.config.learning_rate).collect();
    // The usual rate and half a decade to both sides; then closer around the best.
    assert_eq!(rates[..3], [2e-4, 6.32e-4, 6.32e-5]);
    assert_eq!(rates[3..6], [6.32e-4, 1.12e-3, 3.55e-4]);
}

#[test]
fn it_waits_for_the_trials_of_a_rung() {
    let planner = for_sweep(&sweep(LADDER));
    let mut history = SweepState::default();
    let rung = planner.suggest(&history, 8);
    assert_eq!(rung.len(), 3);
    propose(&mut history, &rung);
    assert_eq!(planner.suggest(&history, 8), []);
    end(&mut history, &rung[0], 1.0, 1.0);
    end(&mut history, &rung[1], 1.1, 1.0);
    assert_eq!(planner.suggest(&history, 8), []);
    assert_eq!(planner.conclusion(&history), None);
    end(&mut history, &rung[2], 1.2, 1.0);
    assert!(planner.suggest(&history, 8).iter().all(|t| t.config.rank == 4));
}

#[test]
fn a_rung_whose_trials_all_diverge_ends_it() {
    let planner = for_sweep(&sweep(LADDER));
    let mut history = SweepState::default();
    let rung = planner.suggest(&history, 8);
    propose(&mut history, &rung);
    for trial in &rung {
        let outcome = Outcome::Diverged { step: 1, reason: "not a number".to_owned() };
        history.apply(&Event::TrialFinished { trial: trial.id, outcome });
    }
    assert_eq!(planner.suggest(&history, 8), []);
    let reason = planner.conclusion(&history).expect("it has ended");
    assert!(reason.ends_with("no trial of rank 2 could be trained"), "{reason}");
}

#[test]
fn the_run_cap_holds_on_a_ladder_too() {
    let planner = for_sweep(&sweep(&format!("run_cap: 4\n{LADDER}")));
    let history = climb(&*planner, &|rank| 1.0 + 1.0 / f64::from(rank));
    assert_eq!(ranks(&history), [2, 2, 2, 4]);
}
