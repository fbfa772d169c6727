//! What the Bayesian planner learns, and that it never repeats itself.

use crate::common;
use std::collections::HashSet;
use std::sync::Arc;

use crate::common::{propose, sweep};
use planner::{Earlier, Fits, Knowledge, for_sweep, knowing};
use proptest::prelude::*;
use spec::{Evaluation, Event, Outcome, Sweep, SweepState, Trial, TrialConfig};

const SPACE: &str = "method: bayes\nrun_cap: 40\nparameters:\n  rank: [4, 8, 16, 32, 64]\n  batch_size: [4, 8, 16, 32]\n  lora_alpha: 32\n  epochs: 2\n  lr_scheduler: [constant, linear]\n  learning_rate: {distribution: log_uniform_values, min: 1e-5, max: 1e-2}\n";

fn evaluation(epoch: f64, eval_loss: f64) -> Evaluation {
    Evaluation {
        step: (epoch * 10.0) as u32,
        epoch,
        eval_loss,
        eval_loss_stderr: 0.01,
        rise_stderr: None,
        group_nll: Vec::new(),
        train_loss: Some(eval_loss),
        retention_loss: None,
        scores: Vec::new(),
        tokens: 1,
        seconds: epoch,
    }
}

fn begun() -> SweepState {
    let mut history = SweepState::default();
    history.apply(&Event::BaseEvaluated { evaluation: evaluation(0.0, 3.0) });
    history
}

/// Trains a trial whose losses after its epochs are these; no losses: it diverges.
fn train(history: &mut SweepState, trial: &Trial, losses: &[f64]) {
    propose(history, std::slice::from_ref(trial));
    history.apply(&Event::TrialStarted {
        trial: trial.id,
        device: "cpu".to_owned(),
        from_step: 0,
        total_steps: 20,
        continues: None,
    });
    for (epoch, loss) in (1..).zip(losses) {
        let evaluation = evaluation(f64::from(epoch), *loss);
        history.apply(&Event::Evaluated { trial: trial.id, evaluation });
    }
    let outcome = if losses.is_empty() {
        Outcome::Diverged { step: 3, reason: "not a number".to_owned() }
    } else {
        Outcome::Completed
    };
    history.apply(&Event::TrialFinished { trial: trial.id, outcome });
}

/// A bowl with its bottom at this learning rate; far above it, runs diverge.
fn bowl(config: &TrialConfig, best: f64) -> Vec<f64> {
    let decades = (config.learning_rate / best).log10();
    if decades > 0.9 {
        return Vec::new();
    }
    let loss = 1.0 + 0.5 * decades * decades + 0.4 / f64::from(config.rank);
    vec![loss + 0.3, loss]
}

fn run(sweep: &Sweep, batch: usize, best: f64) -> SweepState {
    run_knowing(sweep, batch, best, Vec::new())
}

fn run_knowing(sweep: &Sweep, batch: usize, best: f64, earlier: Vec<Earlier>) -> SweepState {
    let planner = knowing(sweep, Knowledge { earlier, fits: None });
    let mut history = begun();
    loop {
        let trials = planner.suggest(&history, batch);
        if trials.is_empty() {
            return history;
        }
        for trial in &trials {
            train(&mut history, trial, &bowl(&trial.config, best));
        }
    }
}

#[test]
fn the_first_trial_is_what_people_usually_begin_with() {
    let first = for_sweep(&sweep(SPACE)).suggest(&begun(), 1);
    let config = &first[0].config;
    assert_eq!((config.rank, config.batch_size, config.learning_rate), (16, 16, 2e-4));
}

#[test]
fn the_first_learning_rate_is_that_for_the_batch_size_and_the_alpha_that_there_are() {
    let first = |lines: &str| for_sweep(&sweep(lines)).suggest(&begun(), 1)[0].config.clone();
    let large = first(&SPACE.replace("batch_size: [4, 8, 16, 32]", "batch_size: 64"));
    assert!((large.learning_rate / 4e-4 - 1.0).abs() < 0.01, "{}", large.learning_rate);
    let strong = first(&SPACE.replace("lora_alpha: 32", "lora_alpha: 128"));
    assert!(strong.learning_rate < 1.3e-4, "{}", strong.learning_rate);
}

#[test]
fn learning_rates_are_numbers_that_people_would_write() {
    for trial in for_sweep(&sweep(SPACE)).suggest(&begun(), 12) {
        let rate = trial.config.learning_rate;
        assert_eq!(format!("{rate:.2e}").parse(), Ok(rate));
    }
}

#[test]
fn it_finds_the_best_learning_rate_wherever_it_lies_alone_and_in_batches() {
    for best in [3e-5, 4e-4, 3e-3] {
        for (batch, prior) in [(1, true), (8, true), (1, false), (8, false)] {
            let lines = SPACE.replace("run_cap: 40", "run_cap: 24");
            let sweep = sweep(&format!("bayes: {{lora_prior: {prior}}}\n{lines}"));
            let history = run(&sweep, batch, best);
            let chosen = planner::incumbent(&sweep, &history).expect("something was measured");
            let rate = history.trials[&chosen.trial].trial.config.learning_rate;
            let decades = (rate / best).log10().abs();
            assert!(decades < 0.25, "{rate} instead of {best}, batch {batch}, prior {prior}");
        }
    }
}

#[test]
fn what_diverges_is_left_alone() {
    let history = run(&sweep(SPACE), 1, 2e-4);
    let wild = |t: &&spec::TrialState| matches!(t.outcome(), Some(Outcome::Diverged { .. }));
    let late = history.trials.values().skip(12).filter(wild).count();
    assert!(late <= 3, "{late} of the last trials diverged");
}

#[test]
fn two_thousand_trials_of_history_leave_it_able_to_propose() {
    let all = sweep(&SPACE.replace("method: bayes", "method: random").replace("40", "2000"));
    let mut history = begun();
    for trial in for_sweep(&all).suggest(&history, 2000) {
        train(&mut history, &trial, &bowl(&trial.config, 3e-4));
    }
    let more = for_sweep(&sweep(&SPACE.replace("40", "2002"))).suggest(&history, 8);
    assert_eq!(more.iter().map(|t| t.id.0).collect::<Vec<_>>(), [2001, 2002]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_was_measured_it_proposes_new_trials_of_the_space_and_the_same_again(
        losses in proptest::collection::vec(
            proptest::collection::vec(
                prop_oneof![0.5..3.0_f64, Just(2.0), Just(1e-300), Just(1e300), Just(0.0)], 0..4),
            0..12,
        ),
        has_base in any::<bool>(),
    ) {
        let sweep = sweep(SPACE);
        let mut history = if has_base { begun() } else { SweepState::default() };
        let drawn = for_sweep(&common::sweep(&SPACE.replace("bayes", "sobol")))
            .suggest(&SweepState::default(), losses.len());
        for (trial, losses) in drawn.iter().zip(&losses) {
            train(&mut history, trial, losses);
        }
        let proposed = for_sweep(&sweep).suggest(&history, 4);
        prop_assert_eq!(proposed.len(), 4);
        prop_assert_eq!(&for_sweep(&sweep).suggest(&history, 4), &proposed);
        let mut known: HashSet<_> = drawn.iter().map(|t| t.config.key()).collect();
        for trial in &proposed {
            prop_assert!(known.insert(trial.config.key()));
            prop_assert!((1e-5..=1e-2).contains(&trial.config.learning_rate));
        }
        let _ = planner::incumbent(&sweep, &history);
    }
}

#[test]
fn what_is_expected_of_a_trial_is_what_comes_for_most_of_them() {
    let sweep = sweep(SPACE);
    let history = run(&sweep, 1, 3e-4);
    let (mut within, mut all) = (0, 0);
    let mut before = begun();
    for trial in history.trials.values() {
        let config = &trial.trial.config;
        if let (Some(expected), Some(last)) =
            (planner::expectation(&sweep, &before, config), trial.last())
        {
            assert!(expected.low <= expected.loss && expected.loss <= expected.high);
            within += usize::from((expected.low..=expected.high).contains(&last.eval_loss));
            all += 1;
        }
        before.trials.insert(trial.trial.id, trial.clone());
    }
    assert!(within * 4 >= all * 3, "{within} of {all}");
}

#[test]
fn nothing_is_expected_before_anything_was_measured() {
    let sweep = sweep(SPACE);
    let config = sweep.space.sample(&[0.5; spec::Parameter::COUNT]);
    assert_eq!(planner::expectation(&sweep, &begun(), &config), None);
}

/// Decades between a trial's learning rate and `best`.
fn decades(trial: &TrialConfig, best: f64) -> f64 {
    (trial.learning_rate / best).log10().abs()
}

#[test]
fn a_warm_start_looks_where_the_earlier_sweep_was_best() {
    let sweep = sweep(SPACE);
    // Far from where one would look without it.
    let best = 2e-5;
    for is_same_problem in [true, false] {
        let earlier = Earlier { history: run(&sweep, 4, best), is_same_problem };
        let planner = knowing(&sweep, Knowledge { earlier: vec![earlier], fits: None });
        let mut history = begun();
        if !is_same_problem {
            // There has to be something to compare the earlier sweep with.
            let usual = planner.suggest(&history, 1);
            assert_eq!(usual, for_sweep(&sweep).suggest(&history, 1));
            train(&mut history, &usual[0], &bowl(&usual[0].config, best));
        }
        let next = &planner.suggest(&history, 1)[0].config;
        let away = decades(next, best);
        assert!(away < 0.5, "{}, same problem: {is_same_problem}", next.learning_rate);
    }
}

#[test]
fn a_warm_start_that_misleads_is_outweighed() {
    let sweep = sweep(SPACE);
    let earlier = Earlier { history: run(&sweep, 4, 2e-5), is_same_problem: false };
    let history = run_knowing(&sweep, 2, 2e-3, vec![earlier]);
    let chosen = planner::incumbent(&sweep, &history).expect("something was measured");
    let config = &history.trials[&chosen.trial].trial.config;
    assert!(decades(config, 2e-3) < 0.3, "{}", config.learning_rate);
}

#[test]
fn trials_of_other_settings_than_the_spaces_are_left_out_of_a_warm_start() {
    let sweep = sweep(SPACE);
    let other =
        common::sweep(&SPACE.replace("lora_alpha: 32", "weight_decay: 0.1\n  lora_alpha: 32"));
    let earlier = Earlier { history: run(&other, 4, 2e-5), is_same_problem: true };
    let first =
        knowing(&sweep, Knowledge { earlier: vec![earlier], fits: None }).suggest(&begun(), 1);
    assert_eq!(first, for_sweep(&sweep).suggest(&begun(), 1));
}

#[test]
fn what_does_not_fit_is_never_proposed_in_small_spaces_and_in_large_ones() {
    let small = SPACE.replace(
        "{distribution: log_uniform_values, min: 1e-5, max: 1e-2}",
        "[1e-5, 1e-4, 1e-3, 1e-2]",
    );
    for lines in [SPACE, &small] {
        let sweep = sweep(lines);
        // The usual first trial is among those that do not fit.
        let fits: Fits = Arc::new(|config| config.rank * config.batch_size <= 128);
        let planner = knowing(&sweep, Knowledge { fits: Some(fits), ..Knowledge::default() });
        let mut history = begun();
        for _ in 0..5 {
            let trials = planner.suggest(&history, 4);
            assert_eq!(trials.len(), 4);
            for trial in &trials {
                assert!(trial.config.rank * trial.config.batch_size <= 128, "{:?}", trial.config);
                train(&mut history, trial, &bowl(&trial.config, 3e-4));
            }
        }
    }
    let none: Fits = Arc::new(|_| false);
    let planner = knowing(&sweep(SPACE), Knowledge { fits: Some(none), ..Knowledge::default() });
    assert_eq!(planner.suggest(&begun(), 4), []);
}

#[test]
fn replicates_follow_a_search_that_knows_more_than_its_sweep() {
    let lines = SPACE.replace("run_cap: 40", "run_cap: 3\nreplicates: {top: 1, seeds: 2}");
    let history = run_knowing(&sweep(&lines), 1, 3e-4, Vec::new());
    assert_eq!(history.trials.len(), 3 + 2);
}
