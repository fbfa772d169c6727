//! What a sweep as a whole shows, on sweeps that show one thing each.

use std::collections::BTreeMap;

use reporter::diagnose::{Finding, FindingKind, Note, diagnose_all, verdict};
use reporter::{Lang, rank};
use spec::{
    BaseForm, DataFacts, Evaluation, Event, Outcome, Quantization, ReportSettings, SweepState,
    TargetModule, TrainPoint, Trial, TrialConfig, TrialId,
};

use crate::sweeps;

/// A finished sweep: base loss 2.0, and each run's configuration with its validation losses, one
/// an epoch; train loss falls by 0.2 an epoch.
pub fn sweep(runs: &[(TrialConfig, &[f64])]) -> SweepState {
    let base = evaluation(0, 2.0);
    let mut events = vec![Event::BaseEvaluated { evaluation: base }];
    for (number, (config, losses)) in (1..).zip(runs) {
        let trial = TrialId(number);
        let config = config.clone();
        events.push(Event::proposed(Trial { id: trial, config }));
        for (epoch, loss) in (1..).zip(*losses) {
            events.push(Event::Evaluated { trial, evaluation: evaluation(epoch, *loss) });
        }
        events.push(Event::TrialFinished { trial, outcome: Outcome::Completed });
    }
    events.push(Event::SweepFinished);
    SweepState::from_events(&events)
}

fn evaluation(epoch: u32, eval_loss: f64) -> Evaluation {
    Evaluation {
        step: epoch * 10,
        epoch: f64::from(epoch),
        eval_loss,
        eval_loss_stderr: 0.01,
        rise_stderr: (epoch > 1).then_some(0.005),
        group_nll: Vec::new(),
        train_loss: Some(1.6 - 0.2 * f64::from(epoch)),
        retention_loss: Some(1.0),
        scores: Vec::new(),
        tokens: 0,
        seconds: f64::from(epoch),
    }
}

pub fn findings(state: &SweepState) -> Vec<Finding> {
    verdict(state, &ReportSettings::default(), Lang::En).findings
}

pub fn the(kind: FindingKind, state: &SweepState) -> Finding {
    let all = findings(state);
    let found = all.iter().find(|finding| finding.kind == kind);
    found.unwrap_or_else(|| panic!("{kind:?} is not among {all:#?}")).clone()
}

pub fn has(kind: FindingKind, state: &SweepState) -> bool {
    findings(state).iter().any(|finding| finding.kind == kind)
}

pub fn config(rank: u32, learning_rate: f64) -> TrialConfig {
    sweeps::config(rank, learning_rate, 4)
}

pub const GOOD: &[f64] = &[1.3, 1.05, 1.0, 1.0];
pub const OVERFIT: &[f64] = &[1.2, 1.05, 1.2, 1.4];
pub const FALLING: &[f64] = &[1.9, 1.8, 1.7, 1.6];
pub const FLAT: &[f64] = &[1.5, 1.5, 1.5, 1.5];

#[test]
fn overfitting_names_the_epoch_the_worst_run_and_what_was_lost() {
    let state = sweep(&[(config(8, 1e-4), GOOD), (config(8, 5e-4), OVERFIT)]);
    let found = the(FindingKind::Overfitting, &state);
    assert_eq!(found.trials, [TrialId(2)]);
    assert!(found.evidence.starts_with("1 of 2 runs overfit, typically after epoch 2;"));
    assert!(found.evidence.contains("16 %"), "{}", found.evidence);
    assert!(!has(FindingKind::Overfitting, &sweep(&[(config(8, 1e-4), GOOD)])));
}

#[test]
fn runs_that_level_off_far_behind_underfit() {
    let state = sweep(&[(config(8, 1e-4), GOOD), (config(2, 1e-4), FLAT)]);
    assert_eq!(the(FindingKind::Underfitting, &state).trials, [TrialId(2)]);
}

#[test]
fn the_rate_from_which_runs_diverge_is_the_limit() {
    let mut state = sweep(&[
        (config(8, 1e-4), GOOD),
        (config(8, 1e-3), GOOD),
        (config(8, 1e-2), &[5.0]),
        (config(16, 1e-2), &[5.0]),
    ]);
    for number in [3, 4] {
        let outcome = Outcome::Diverged { step: 5, reason: "not a number".to_owned() };
        state.apply(&Event::TrialFinished { trial: TrialId(number), outcome });
    }
    let found = the(FindingKind::LearningRateTooHigh, &state);
    assert_eq!(found.trials, [TrialId(3), TrialId(4)]);
    assert!(found.evidence.starts_with("At learning_rate 1e-2 and above, 2 of 2 runs"));
}

#[test]
fn slow_runs_at_low_rates_set_the_other_limit() {
    let state = sweep(&[
        (config(8, 1e-5), FALLING),
        (config(16, 2e-5), FALLING),
        (config(8, 1e-4), GOOD),
        (config(16, 1e-4), GOOD),
    ]);
    let found = the(FindingKind::LearningRateTooLow, &state);
    assert_eq!(found.trials, [TrialId(1), TrialId(2)]);
    assert!(found.advice.starts_with("Search above 2e-5"), "{}", found.advice);
    let high = sweep(&[(config(8, 1e-3), FALLING), (config(8, 1e-4), GOOD)]);
    assert!(!has(FindingKind::LearningRateTooLow, &high), "the slow run has the higher rate");
}

#[test]
fn spikes_of_the_training_loss_are_a_rate_too_high_and_noise_is_not() {
    let with_points = |spike_every: usize| {
        let mut state = sweep(&[(config(8, 1e-3), GOOD)]);
        for step in 1..=200_u32 {
            let noise = f64::from(step * 7 % 11) * 0.01;
            let spike = if (step as usize).is_multiple_of(spike_every) { 1.5 } else { 0.0 };
            let point = TrainPoint {
                step,
                epoch: 0.0,
                loss: 1.0 + noise + spike,
                grad_norm: Some(1.0),
                learning_rate: 1e-3,
                tokens: 0,
                seconds: 0.0,
            };
            state.apply(&Event::Trained { trial: TrialId(1), point });
        }
        let notes = diagnose_all(&state, &ReportSettings::default(), Lang::En);
        notes[&TrialId(1)].notes.contains(&Note::LearningRateTooHigh)
    };
    assert!(with_points(25));
    assert!(!with_points(150), "one spike in 200 steps is chance");
    assert!(!with_points(1000));
}

#[test]
fn a_rank_beyond_which_nothing_is_gained_is_named() {
    let state =
        sweep(&[(config(2, 1e-4), FLAT), (config(8, 1e-4), GOOD), (config(32, 1e-4), GOOD)]);
    let found = the(FindingKind::RankSaturates, &state);
    assert!(found.evidence.contains("ranks above 8 are not better"), "{}", found.evidence);
    assert!(found.advice.contains("take 8"), "{}", found.advice);
    assert!(!has(FindingKind::RankTooSmall, &state));
}

#[test]
fn a_highest_rank_that_wins_is_too_small_and_told_against_the_bits_of_the_data() {
    let mut state = sweep(&[(config(2, 1e-4), FLAT), (config(8, 1e-4), &[1.4, 1.2, 1.1, 1.1])]);
    let facts = DataFacts {
        train_targets: 100_000,
        parameters_per_rank: BTreeMap::from([(TargetModule::QProj, 1000)]),
        ..DataFacts::default()
    };
    state.apply(&Event::DataPrepared { facts });
    let found = the(FindingKind::RankTooSmall, &state);
    // 1.6 nats x 100,000 tokens are 231 k bits; 8 x 1000 parameters hold 16 k.
    assert!(found.evidence.contains("about 231 k bits"), "{}", found.evidence);
    assert!(found.evidence.contains("rank 8 can hold about 16 k"), "{}", found.evidence);
    let edge = the(FindingKind::EdgeOfSpace, &state);
    assert_eq!(edge.yaml.as_deref(), Some("parameters:\n  rank: [2, 8, 32, 128]\n"));
}

#[test]
fn no_higher_rank_is_advised_where_the_highest_could_hold_the_rows_many_times_over() {
    let mut state = sweep(&[(config(2, 1e-4), FLAT), (config(8, 1e-4), &[1.4, 1.2, 1.1, 1.1])]);
    let facts = DataFacts {
        train_targets: 1000,
        parameters_per_rank: BTreeMap::from([(TargetModule::QProj, 1000)]),
        ..DataFacts::default()
    };
    state.apply(&Event::DataPrepared { facts });
    let found = the(FindingKind::RankHelps, &state);
    // 1.6 nats x 1,000 tokens are 2.3 k bits; 8 x 1000 parameters hold 16 k.
    assert!(found.advice.contains("rank 8 could hold the rows 7 times over"), "{}", found.advice);
    assert!(!has(FindingKind::RankTooSmall, &state));
    assert!(!has(FindingKind::EdgeOfSpace, &state), "the rank's edge leads nowhere");
}

#[test]
fn batch_sizes_are_told_apart_or_called_equal() {
    let with_batch = |batch_size| TrialConfig { batch_size, ..config(8, 1e-4) };
    let equal = sweep(&[(with_batch(4), GOOD), (with_batch(16), GOOD)]);
    assert!(the(FindingKind::BatchSize, &equal).evidence.contains("cannot be told apart"));
    let small = sweep(&[(with_batch(4), GOOD), (with_batch(16), &[1.5, 1.3, 1.2, 1.2])]);
    let found = the(FindingKind::BatchSize, &small);
    assert!(found.evidence.contains("batch_size 4 is better"), "{}", found.evidence);
    assert!(found.advice.contains("smallest tried"), "{}", found.advice);
}

const NF4: BaseForm = BaseForm::Quantized(Quantization::Nf4);

/// Two runs, on the base as stored (loss 2.0) and on the base as nf4 (loss 2.3).
fn on_two_forms(stored: &[f64], nf4: &[f64]) -> SweepState {
    let on = |form| TrialConfig { quantization: Some(form), ..config(8, 1e-4) };
    let mut state = sweep(&[(on(BaseForm::AsStored), stored), (on(NF4), nf4)]);
    for (quantization, loss) in [(BaseForm::AsStored, 2.0), (NF4, 2.3)] {
        let evaluation = evaluation(0, loss);
        state.apply(&Event::QuantizedBaseEvaluated {
            quantization,
            evaluation,
            examples: None,
            answers: None,
        });
    }
    state
}

#[test]
fn a_quantised_base_costs_something_or_cannot_be_told_from_the_stored_one() {
    let found = the(FindingKind::Quantization, &on_two_forms(GOOD, GOOD));
    assert!(found.evidence.contains("cannot be told apart"), "{}", found.evidence);
    let words = "nf4: 1.0000, untouched 2.3000; none: 1.0000, untouched 2.0000";
    assert!(found.evidence.contains(words), "{}", found.evidence);
    assert!(found.advice.starts_with("Take quantization nf4"), "{}", found.advice);
    let found = the(FindingKind::Quantization, &on_two_forms(GOOD, &[1.5, 1.3, 1.2, 1.2]));
    assert!(found.evidence.contains("as none is better beyond chance than as nf4"));
    assert!(found.advice.starts_with("Take quantization none"), "{}", found.advice);
    assert!(!has(FindingKind::Quantization, &sweep(&[(config(8, 1e-4), GOOD)])));
}

#[test]
fn the_chosen_run_is_below_the_base_that_it_was_trained_on() {
    let ranking =
        rank(&on_two_forms(&[1.5, 1.3, 1.2, 1.2], GOOD), &ReportSettings::default(), Lang::En);
    let choice = ranking.verdict.choice.unwrap();
    assert_eq!(choice.trial, TrialId(2));
    assert!((choice.improvement.unwrap() - (2.3 - choice.eval_loss)).abs() < 1e-12);
}

#[test]
fn a_run_is_worse_than_its_own_base_not_than_another_form_of_it() {
    let state = on_two_forms(&[2.1, 2.05, 2.1, 2.1], &[2.2, 2.15, 2.1, 2.05]);
    let found = the(FindingKind::WorseThanBase, &state);
    assert_eq!(found.trials, [TrialId(1)]);
    assert!(found.evidence.contains("none 2.0000, nf4 2.3000"), "{}", found.evidence);
    // The ranking's reference is the base as stored.
    assert_eq!(state.base.map(|base| base.eval_loss), Some(2.0));
}

#[test]
fn a_chosen_run_that_was_still_falling_wants_more_epochs() {
    let state = sweep(&[(config(8, 1e-4), &[1.6, 1.3, 1.15, 1.05])]);
    let found = the(FindingKind::MoreEpochs, &state);
    assert_eq!(found.yaml.as_deref(), Some("parameters:\n  epochs: 8\n"));
    assert!(!has(FindingKind::MoreEpochs, &sweep(&[(config(8, 1e-4), GOOD)])));
}

#[test]
fn an_edge_is_none_when_a_run_elsewhere_is_as_good() {
    let state = sweep(&[(config(8, 1e-4), GOOD), (config(8, 1e-3), &[1.2, 1.1, 0.9, 0.9])]);
    let found = the(FindingKind::EdgeOfSpace, &state);
    assert!(found.evidence.contains("(1e-3) is the highest tried"), "{}", found.evidence);
    assert_eq!(
        found.yaml.as_deref(),
        Some("parameters:\n  learning_rate: [1e-4, 1e-3, 1e-2, 1e-1]\n")
    );
}

#[test]
fn what_lies_beyond_an_edge_stays_possible() {
    let rates = |low, high| sweep(&[(config(8, low), FLAT), (config(8, high), GOOD)]);
    let yaml = the(FindingKind::EdgeOfSpace, &rates(1e-2, 0.5)).yaml;
    assert_eq!(yaml, None, "a learning rate above 1 is refused");
    let ranks = sweep(&[(config(8, 1e-4), FLAT), (config(2, 1e-4), GOOD)]);
    let yaml = the(FindingKind::EdgeOfSpace, &ranks).yaml;
    assert_eq!(yaml.as_deref(), Some("parameters:\n  rank: [1, 2, 8]\n"));
}

#[test]
fn forgetting_and_runs_below_the_base_model_are_counted() {
    let mut state = sweep(&[(config(8, 1e-4), GOOD), (config(8, 1e-2), &[2.4, 2.5])]);
    let trial = state.trials.get_mut(&TrialId(2)).expect("trial");
    for evaluation in &mut trial.evaluations {
        evaluation.retention_loss = Some(1.5);
    }
    assert_eq!(the(FindingKind::Forgetting, &state).trials, [TrialId(2)]);
    let worse = the(FindingKind::WorseThanBase, &state);
    assert_eq!(worse.trials, [TrialId(2)]);
    assert!(worse.advice.starts_with("Do not use their adapters"));
    let all = sweep(&[(config(8, 1e-2), &[2.4, 2.5])]);
    assert!(the(FindingKind::WorseThanBase, &all).advice.starts_with("No adapter of this sweep"));
}

#[test]
fn shared_rows_are_a_leak() {
    let mut state = sweep(&[(config(8, 1e-4), GOOD)]);
    let facts = DataFacts { leaked_rows: 3, leaked_prompts: 1, ..DataFacts::default() };
    state.apply(&Event::DataPrepared { facts });
    let found = the(FindingKind::Leakage, &state);
    assert!(found.evidence.starts_with("3 validation rows are also training rows, and 1 more"));
}

#[test]
fn the_same_is_found_in_every_language() {
    let state = sweep(&[(config(8, 1e-4), GOOD), (config(2, 5e-4), OVERFIT)]);
    let kinds = |lang| {
        let found = verdict(&state, &ReportSettings::default(), lang).findings;
        found.into_iter().map(|f| (f.kind, f.trials, f.yaml)).collect::<Vec<_>>()
    };
    assert_eq!(kinds(Lang::En), kinds(Lang::Vi));
    let words = verdict(&state, &ReportSettings::default(), Lang::Vi).sentences;
    assert!(words[0].starts_with("Nên chọn lượt 001"), "{words:?}");
}
