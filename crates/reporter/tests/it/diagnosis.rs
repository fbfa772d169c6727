//! The flags, on curves that show one thing each.

use proptest::prelude::*;
use reporter::Lang;
use reporter::diagnose::{Diagnosis, FindingKind, Flag, Note, Side, diagnose_all, verdict};
use spec::{Evaluation, Event, Outcome, ReportSettings, SweepState, TrialId};

use crate::sweeps;

/// A curve of `(validation, train)` losses, one evaluation an epoch, with a paired error of 0.01.
fn curve(losses: &[(f64, f64)]) -> Vec<Evaluation> {
    (1..)
        .zip(losses)
        .map(|(epoch, &(eval_loss, train_loss))| Evaluation {
            step: epoch * 10,
            epoch: f64::from(epoch),
            eval_loss,
            eval_loss_stderr: 0.03,
            rise_stderr: (epoch > 1).then_some(0.01),
            group_nll: Vec::new(),
            train_loss: Some(train_loss),
            retention_loss: None,
            scores: Vec::new(),
            tokens: 0,
            seconds: 0.0,
        })
        .collect()
}

/// One finished run with the given curve beside a run that reaches 1.0 from a base of 2.0.
fn flag_of(losses: &[(f64, f64)]) -> (Flag, Vec<Note>) {
    let mut state = sweeps::sweep("pair", &[]);
    let mut base = sweeps::base();
    base.eval_loss = 2.0;
    base.train_loss = Some(2.0);
    state.apply(&Event::BaseEvaluated { evaluation: base });
    let good = [(1.2, 1.2), (1.05, 1.05), (1.0, 1.0), (1.0, 1.0)];
    for (number, losses) in (1..).zip([&good[..], losses]) {
        let config = sweeps::config(8, 1e-4, 4);
        let id = TrialId(number);
        state.apply(&Event::proposed(spec::Trial { id, config }));
        for evaluation in curve(losses) {
            state.apply(&Event::Evaluated { trial: id, evaluation });
        }
        state.apply(&Event::TrialFinished { trial: id, outcome: Outcome::Completed });
    }
    let diagnosis = diagnose_all(&state, &ReportSettings::default(), Lang::En).remove(&TrialId(2));
    let diagnosis = diagnosis.expect("a diagnosis");
    (diagnosis.flag, diagnosis.notes)
}

/// A run on its own, without a base model.
fn alone(losses: &[(f64, f64)], settings: &ReportSettings) -> Diagnosis {
    let mut state = sweeps::sweep("alone", &[]);
    state.base = None;
    let (id, config) = (TrialId(1), sweeps::config(8, 1e-4, losses.len() as u32));
    state.apply(&Event::proposed(spec::Trial { id, config }));
    for evaluation in curve(losses) {
        state.apply(&Event::Evaluated { trial: id, evaluation });
    }
    state.apply(&Event::TrialFinished { trial: id, outcome: Outcome::Completed });
    diagnose_all(&state, settings, Lang::En).remove(&id).expect("a diagnosis")
}

fn overfits(losses: &[(f64, f64)]) -> bool {
    alone(losses, &ReportSettings::default()).flag == Flag::Overfit
}

#[test]
fn a_rise_with_a_widening_gap_is_overfitting_and_says_where_to_stop() {
    let losses = [(1.5, 1.4), (1.2, 1.0), (1.21, 0.9), (1.35, 0.7), (1.36, 0.6)];
    let diagnosis = alone(&losses, &ReportSettings::default());
    let overfit = diagnosis.overfit.expect("it overfits");
    assert_eq!((overfit.best_epoch, overfit.onset_epoch, overfit.end_epoch), (2.0, 5.0, 5.0));
    assert!((overfit.rise - 0.14).abs() < 0.02, "{overfit:?}");
    assert!((overfit.rise_share - 0.115).abs() < 0.02, "{overfit:?}");
    assert!(overfit.probability > 0.95, "{overfit:?}");
}

#[test]
fn one_evaluation_at_the_end_is_not_overfitting() {
    assert!(!overfits(&[(1.5, 1.4), (1.2, 1.1), (1.1, 1.0), (1.11, 0.97), (1.2, 0.95)]));
    // The same height twice is a level.
    let twice = [(1.5, 1.4), (1.2, 1.1), (1.1, 1.0), (1.11, 0.97), (1.2, 0.95), (1.2, 0.9)];
    assert!(overfits(&twice));
}

#[test]
fn a_run_that_came_back_to_its_minimum_did_not_overfit() {
    assert!(!overfits(&[(1.5, 1.4), (1.1, 1.0), (1.3, 0.9), (1.3, 0.8), (1.105, 0.8)]));
}

#[test]
fn a_rise_that_the_run_has_made_good_before_is_its_wobble() {
    assert!(!overfits(&[(1.5, 1.4), (1.6, 1.2), (1.1, 1.0), (1.15, 0.9), (1.16, 0.8)]));
}

#[test]
fn validation_rising_together_with_train_loss_is_not_overfitting() {
    assert!(!overfits(&[(1.5, 1.5), (1.2, 1.2), (1.2, 1.2), (1.3, 1.3), (1.4, 1.4)]));
}

#[test]
fn the_gap_alone_is_not_overfitting_whatever_its_sign() {
    let memorizing = [(1.5, 1.0), (1.3, 0.6), (1.2, 0.3), (1.19, 0.1)];
    assert!(!overfits(&memorizing));
    // Four evaluations that turn are enough.
    assert!(overfits(&[(1.5, 1.4), (1.2, 1.0), (1.3, 0.8), (1.45, 0.6)]));
    // Train loss above validation throughout, and still overfitting.
    assert!(overfits(&[(1.0, 2.0), (0.8, 1.5), (0.8, 1.45), (0.9, 1.4), (1.0, 1.3)]));
}

#[test]
fn a_run_whose_gap_runs_away_memorizes_from_an_epoch_on() {
    let losses = [(1.5, 1.4), (1.2, 1.1), (1.19, 0.8), (1.18, 0.5), (1.17, 0.3)];
    let diagnosis = alone(&losses, &ReportSettings::default());
    assert_eq!((diagnosis.flag, diagnosis.notes.as_slice()), (Flag::Ok, &[Note::Memorizing][..]));
    assert_eq!(diagnosis.memorizes_from, Some(2.0));
    assert!(diagnosis.explanation.contains("memorizes"), "{}", diagnosis.explanation);
}

#[test]
fn what_cannot_be_told_is_said() {
    let diagnosis = alone(&[(1.5, 1.4), (1.4, 1.2)], &ReportSettings::default());
    assert_eq!((diagnosis.flag, diagnosis.overfit_probability), (Flag::Ok, None));
    assert!(diagnosis.explanation.contains("too few evaluations"), "{}", diagnosis.explanation);
}

#[test]
fn a_run_that_only_gets_worse_than_the_base_model_overfits_from_the_start() {
    let (flag, notes) = flag_of(&[(2.2, 1.5), (2.4, 1.2), (2.6, 1.0), (2.8, 0.8)]);
    assert_eq!((flag, notes), (Flag::Overfit, vec![Note::WorseThanBase]));
}

#[test]
fn slow_and_levelled_off_runs_are_told_apart() {
    assert_eq!(flag_of(&[(1.9, 1.9), (1.8, 1.8), (1.7, 1.7), (1.6, 1.6)]).0, Flag::TooSlow);
    assert_eq!(flag_of(&[(1.6, 1.6), (1.5, 1.5), (1.5, 1.5), (1.5, 1.5)]).0, Flag::Underfit);
    assert_eq!(flag_of(&[(1.6, 1.6), (1.3, 1.3), (1.15, 1.1), (1.1, 1.1)]).0, Flag::Ok);
}

/// The notes of a levelled-off run (rank 8, rate 1e-2, batch 4) beside one that came further.
fn notes_beside(rank: u32, learning_rate: f64, batch_size: u32) -> Vec<Note> {
    let mut state = sweeps::sweep("pair", &[]);
    let mut base = sweeps::base();
    (base.eval_loss, base.train_loss) = (2.0, Some(2.0));
    state.apply(&Event::BaseEvaluated { evaluation: base });
    let config = |rank, learning_rate, batch_size| spec::TrialConfig {
        batch_size,
        ..sweeps::config(rank, learning_rate, 3)
    };
    let runs = [
        (config(8, 1e-2, 4), [(1.8, 1.8), (1.7, 1.7), (1.7, 1.7)]),
        (config(rank, learning_rate, batch_size), [(1.3, 1.3), (1.0, 1.0), (1.0, 1.0)]),
    ];
    for (number, (config, losses)) in (1..).zip(runs) {
        let id = TrialId(number);
        state.apply(&Event::proposed(spec::Trial { id, config }));
        for evaluation in curve(&losses) {
            state.apply(&Event::Evaluated { trial: id, evaluation });
        }
        state.apply(&Event::TrialFinished { trial: id, outcome: Outcome::Completed });
    }
    let diagnosis = diagnose_all(&state, &ReportSettings::default(), Lang::En).remove(&TrialId(1));
    diagnosis.expect("a diagnosis").notes
}

#[test]
fn a_rate_is_too_high_when_a_lower_one_came_further_at_the_same_rank_with_no_more_steps() {
    assert_eq!(notes_beside(8, 1e-3, 4), [Note::LearningRateTooHigh]);
    assert_eq!(notes_beside(8, 1e-3, 16), [Note::LearningRateTooHigh]);
    assert_eq!(notes_beside(16, 1e-3, 4), [], "another rank explains it as well");
    assert_eq!(notes_beside(8, 1e-3, 2), [], "twice the steps explain it as well");
    assert_eq!(notes_beside(8, 2e-2, 4), [Note::LearningRateTooLow], "a higher rate came further");
}

#[test]
fn of_the_runs_that_came_further_the_best_is_named() {
    let mut state = SweepState::default();
    state.apply(&Event::BaseEvaluated { evaluation: sweeps::base() });
    for (number, last) in (1..).zip([1.7, 1.0, 0.9, 1.1]) {
        let (id, rate) = (TrialId(number), if number == 1 { 1e-2 } else { 1e-3 });
        let config = sweeps::config(8, rate, 3);
        state.apply(&Event::proposed(spec::Trial { id, config }));
        for evaluation in curve(&[(1.8, 1.8), (last, last), (last, last)]) {
            state.apply(&Event::Evaluated { trial: id, evaluation });
        }
        state.apply(&Event::TrialFinished { trial: id, outcome: Outcome::Completed });
    }
    let mut diagnoses = diagnose_all(&state, &ReportSettings::default(), Lang::En);
    let first = diagnoses.remove(&TrialId(1)).expect("a diagnosis");
    assert!(first.explanation.contains("Trial 003, of the same rank"), "{}", first.explanation);
}

#[test]
fn what_the_trainer_says_comes_before_any_curve() {
    let state = sweeps::quickstart();
    let diagnoses = diagnose_all(&state, &ReportSettings::default(), Lang::En);
    assert_eq!(diagnoses[&TrialId(5)].flag, Flag::Diverged);
    assert!(diagnoses[&TrialId(5)].explanation.contains("step 100"));
    assert!(diagnoses[&TrialId(5)].advice.as_deref().is_some_and(|a| a.contains("1e-2")));
}

#[test]
fn a_run_that_loses_old_skills_carries_a_note_beside_its_flag() {
    let state = sweeps::quickstart();
    let diagnoses = diagnose_all(&state, &ReportSettings::default(), Lang::En);
    assert!(diagnoses.values().any(|d| d.notes.contains(&Note::Forgetting)));
    let strict = ReportSettings { forgetting_share: 10.0, ..ReportSettings::default() };
    let diagnoses = diagnose_all(&state, &strict, Lang::En);
    assert!(diagnoses.values().all(|d| !d.notes.contains(&Note::Forgetting)));
}

#[test]
fn without_the_base_model_nobody_is_called_slow() {
    let mut state = sweeps::quickstart();
    state.base = None;
    let diagnoses = diagnose_all(&state, &ReportSettings::default(), Lang::En);
    assert!(diagnoses.values().all(|d| !matches!(d.flag, Flag::TooSlow | Flag::Underfit)));
}

#[test]
fn a_best_run_on_the_edge_of_what_was_tried_is_pointed_out() {
    let configs = [sweeps::config(8, 3e-5, 4), sweeps::config(8, 1e-4, 4)];
    let verdict = verdict(&sweeps::sweep("edge", &configs), &ReportSettings::default(), Lang::En);
    let edges: Vec<_> = verdict.edges.iter().map(|edge| (edge.parameter, edge.side)).collect();
    assert_eq!(edges, [("learning_rate", Side::Highest)]);
    let edge = verdict.findings.iter().find(|f| f.kind == FindingKind::EdgeOfSpace);
    let yaml = edge.and_then(|edge| edge.yaml.as_deref());
    assert_eq!(yaml, Some("parameters:\n  learning_rate: [3e-5, 1e-4, 3.33e-4, 1.11e-3]\n"));
}

#[test]
fn an_empty_sweep_has_a_verdict_too() {
    let verdict = verdict(&SweepState::default(), &ReportSettings::default(), Lang::En);
    assert_eq!(verdict.sentences, ["No run has been evaluated yet (no runs)."]);
}

fn losses() -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec((0.2..4.0_f64, 0.2..4.0_f64), 1..12)
}

proptest! {
    #[test]
    fn a_monotone_fall_never_overfits(mut losses in losses()) {
        losses.sort_by(|a, b| b.0.total_cmp(&a.0));
        prop_assert!(!overfits(&losses));
    }

    #[test]
    fn stricter_thresholds_never_find_more(losses in losses(), factor in 1.0..5.0_f64) {
        let loose = ReportSettings::default();
        let strict = ReportSettings {
            overfit_probability: (loose.overfit_probability * factor).min(1.0),
            overfit_min_rise: loose.overfit_min_rise * factor,
            ..loose.clone()
        };
        if alone(&losses, &strict).flag == Flag::Overfit {
            prop_assert_eq!(alone(&losses, &loose).flag, Flag::Overfit);
        }
    }
}
