//! Every method and every rule under a metric that is to be high: what is decided on a score is what would
//! be decided on the share that is missing, as a loss.

use planner::{Decision, Planner, for_sweep, pruner_for};
use proptest::prelude::*;
use spec::{
    Evaluation, Event, Goal, MeanScore, Objective, Outcome, StopReason, SweepState, Trial, TrialId,
};

use crate::common::sweep;

const BY_SCORE: &str = "metric: {name: exact_match, goal: maximize}\n";

/// A sweep by loss, and the same by a score.
fn both(lines: &str) -> [spec::Sweep; 2] {
    [sweep(lines), sweep(&format!("{BY_SCORE}{lines}"))]
}

/// Two histories of the same trials: one has these losses in 0..1, the other 1 minus them as scores, and
/// losses that say the contrary.
struct Histories([SweepState; 2]);

impl Histories {
    fn new() -> Self {
        let mut histories = Self([SweepState::default(), SweepState::default()]);
        let objective = Objective { metric: "exact_match".to_owned(), goal: Goal::Maximize };
        histories.0[1].apply(&Event::SweepStarted {
            name: "s".to_owned(),
            fingerprint: "print".to_owned(),
            version: "1".to_owned(),
            objective,
        });
        histories.apply(|at| Event::BaseEvaluated { evaluation: evaluation(at, 0, 0.95) });
        histories
    }

    fn apply(&mut self, event: impl Fn(usize) -> Event) {
        for (at, state) in self.0.iter_mut().enumerate() {
            state.apply(&event(at));
        }
    }

    fn begin(&mut self, trial: &Trial) {
        self.apply(|_| Event::proposed(trial.clone()));
        self.apply(|_| Event::TrialStarted {
            trial: trial.id,
            device: "cpu".to_owned(),
            from_step: 0,
            total_steps: 9,
            continues: None,
        });
    }

    fn evaluate(&mut self, trial: TrialId, step: u32, loss: f64) {
        let evaluation = |at| evaluation(at, step, loss);
        self.apply(|at| Event::Evaluated { trial, evaluation: evaluation(at) });
    }

    fn end(&mut self, trial: TrialId, outcome: &Outcome) {
        self.apply(|_| Event::CheckpointKept { trial, step: 1 });
        self.apply(|_| Event::TrialFinished { trial, outcome: outcome.clone() });
    }
}

fn evaluation(at: usize, step: u32, loss: f64) -> Evaluation {
    let mut score = MeanScore::bare("exact_match", 1.0 - loss);
    score.stderr = 0.02;
    score.rise_stderr = Some(0.01);
    Evaluation {
        step,
        epoch: f64::from(step),
        eval_loss: if at == 0 { loss } else { 4.0 - loss },
        eval_loss_stderr: 0.02,
        rise_stderr: Some(0.01),
        group_nll: Vec::new(),
        train_loss: None,
        retention_loss: None,
        scores: if at == 0 { Vec::new() } else { vec![score] },
        tokens: 100 * u64::from(step),
        seconds: f64::from(step),
    }
}

/// Losses in quarters of a thousandth: `1 - (1 - loss)` is exact, so that both histories are the same to
/// the last bit.
fn loss() -> impl Strategy<Value = f64> {
    (200..3800_u32).prop_map(|n| f64::from(n) / 4096.0)
}

const SPACE: &str = "parameters: {rank: [4, 8, 16], learning_rate: [1e-4, 3e-4, 1e-3]}\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_method_proposes_by_a_score_what_it_proposes_by_a_loss(
        losses in prop::collection::vec(prop::collection::vec(loss(), 1..4), 1..9),
    ) {
        for method in [
            "method: grid\n",
            "method: random\nrun_cap: 12\n",
            "method: sobol\nrun_cap: 12\n",
            "method: bayes\nrun_cap: 12\n",
            "method: rank_ladder\n",
            "method: grid\nrun_cap: 3\nreplicates: {seeds: 2, top: 2}\n",
        ] {
            let sweeps = both(&format!("{method}{SPACE}"));
            let planners: Vec<Box<dyn Planner>> = sweeps.iter().map(for_sweep).collect();
            let mut histories = Histories::new();
            for curve in &losses {
                let [a, b] = [0, 1].map(|at| planners[at].suggest(&histories.0[at], 1));
                prop_assert_eq!(&a, &b, "{}", method);
                let Some(trial) = a.first() else { break };
                histories.begin(trial);
                for (step, loss) in (1..).zip(curve) {
                    histories.evaluate(trial.id, step, *loss);
                }
                histories.end(trial.id, &Outcome::Completed);
            }
            let [a, b] = [0, 1].map(|at| planners[at].conclusion(&histories.0[at]));
            prop_assert_eq!(a.is_some(), b.is_some());
        }
    }

    #[test]
    fn every_rule_stops_and_promotes_by_a_score_as_by_a_loss(
        losses in prop::collection::vec(prop::collection::vec(loss(), 1..6), 3..7),
        is_ended in prop::collection::vec(any::<bool>(), 7),
    ) {
        for rule in [
            "early_terminate: {type: hyperband, min_iter: 1, eta: 2, promote: true}\n",
            "early_terminate: {type: asha, min_iter: 1, eta: 3, strict: true}\n",
            "early_terminate: {type: median, min_iter: 1, promote: true}\n",
            "early_terminate: {type: curve, min_iter: 1, promote: true}\n",
        ] {
            let sweeps = both(&format!("method: random\nrun_cap: 9\n{rule}{SPACE}"));
            let trials = for_sweep(&sweeps[0]).suggest(&SweepState::default(), losses.len());
            let mut histories = Histories::new();
            for ((trial, curve), ends) in trials.iter().zip(&losses).zip(&is_ended) {
                histories.begin(trial);
                for (step, loss) in (1..).zip(curve) {
                    histories.evaluate(trial.id, step, *loss);
                }
                if *ends {
                    let reason = StopReason::EarlyTerminate { reason: "behind".to_owned() };
                    histories.end(trial.id, &Outcome::Stopped { reason });
                }
            }
            let [a, b] = [0, 1].map(|at| pruner_for(&sweeps[at]).expect("a rule"));
            for trial in &trials {
                let stops = |d: Decision| d != Decision::Keep;
                let by_loss = stops(a.judge(&histories.0[0], trial.id));
                let by_score = stops(b.judge(&histories.0[1], trial.id));
                prop_assert_eq!(by_loss, by_score, "{} {:?}", rule, trial.id);
            }
            let promoted = [a.promote(&histories.0[0]), b.promote(&histories.0[1])];
            let [a, b] = promoted.map(|promotion| promotion.map(|promotion| promotion.trial));
            prop_assert_eq!(a, b, "{}", rule);
        }
    }

    #[test]
    fn a_target_of_a_score_is_reached_from_below(value in loss()) {
        let mut histories = Histories::new();
        let sweep = sweep("metric: {name: exact_match, target: 0.5}\n");
        let trial = for_sweep(&sweep).suggest(&SweepState::default(), 1).remove(0);
        histories.begin(&trial);
        histories.evaluate(trial.id, 1, 1.0 - value);
        let decision = pruner_for(&sweep).expect("a target").judge(&histories.0[1], trial.id);
        let stops = Decision::Stop { reason: StopReason::TargetReached { target: 0.5 } };
        prop_assert_eq!(decision == stops, value >= 0.5);
        let further = for_sweep(&sweep).suggest(&histories.0[1], 1);
        prop_assert_eq!(further.is_empty(), value >= 0.5 || sweep.space.grid_size() == Some(1));
    }
}

#[test]
fn overfitting_is_judged_on_the_losses_whatever_trials_are_compared_by() {
    let rule = "early_terminate: {type: overfit, patience: 2}\n";
    let losses = [0.5, 0.3, 0.6, 0.7, 0.8, 0.9];
    let sweeps = both(&format!("{rule}{SPACE}"));
    let trial = for_sweep(&sweeps[0]).suggest(&SweepState::default(), 1).remove(0);
    let mut histories = Histories::new();
    histories.begin(&trial);
    for (step, loss) in (1..).zip(losses) {
        histories.evaluate(trial.id, step, loss);
    }
    // Train losses fall; without that a rise would be instability.
    for state in &mut histories.0 {
        for evaluation in &mut state.trials.get_mut(&trial.id).expect("the trial").evaluations {
            evaluation.train_loss = Some(0.3 - 0.04 * evaluation.epoch);
        }
    }
    // A base that no evaluation got below would be the lowest level.
    histories.0[1].base.as_mut().expect("the base").eval_loss = 4.5;
    let [by_loss, by_score] = [0, 1].map(|at| {
        let pruner = pruner_for(&sweeps[at]).expect("a rule");
        pruner.judge(&histories.0[at], trial.id) != Decision::Keep
    });
    // In the second one the losses fall to the end, while the scores get worse.
    assert!(by_loss && !by_score);
}

#[test]
fn a_reason_speaks_of_the_metric_in_its_own_values() {
    let sweeps =
        both("early_terminate: {type: median, min_iter: 1}\nparameters: {rank: [2, 4, 8]}\n");
    let trials = for_sweep(&sweeps[0]).suggest(&SweepState::default(), 3);
    let mut histories = Histories::new();
    for (trial, loss) in trials.iter().zip([0.25, 0.25, 0.75]) {
        histories.begin(trial);
        histories.evaluate(trial.id, 1, loss);
    }
    let decision = pruner_for(&sweeps[1]).expect("a rule").judge(&histories.0[1], trials[2].id);
    let Decision::Stop { reason: StopReason::EarlyTerminate { reason } } = decision else {
        panic!("{decision:?}");
    };
    assert!(reason.contains("exact_match is 0.2500"), "{reason}");
    assert!(reason.contains("0.7500") && !reason.contains("loss"), "{reason}");
}
