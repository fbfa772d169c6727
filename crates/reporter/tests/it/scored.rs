//! Sweeps whose runs are compared by a score of their answers.

use std::collections::BTreeMap;

use reporter::{
    Lang, Page, Ranking, evaluations_csv, html, importance, optuna_journal, rank, ranking_csv,
    side_by_side, terminal,
};
use spec::{
    Evaluation, Event, Goal, KeptAnswer, MeanScore, Objective, Outcome, ReportSettings,
    ScoredAnswers, SweepState, Trial, TrialId,
};

use crate::sweeps::{base, config};

const EXAMPLES: usize = 200;

/// Which of the examples are answered rightly, if a share of them is.
fn right(share: f64) -> Vec<f32> {
    let is_right = |at: usize| (at * 73 % EXAMPLES) < (share * EXAMPLES as f64).round() as usize;
    (0..EXAMPLES).map(|at| f32::from(u8::from(is_right(at)))).collect()
}

fn answers(step: u32, share: f64, output: &str) -> ScoredAnswers {
    let kept = KeptAnswer {
        example: 4,
        prompt: if step == 0 { "what?".to_owned() } else { String::new() },
        reference: if step == 0 { "that".to_owned() } else { String::new() },
        output: output.to_owned(),
    };
    ScoredAnswers {
        step,
        scores: BTreeMap::from([("exact_match".to_owned(), right(share))]),
        kept: vec![kept],
        last: Vec::new(),
    }
}

fn scored(evaluation: Evaluation, share: f64) -> Evaluation {
    let mut score = MeanScore::bare("exact_match", share);
    score.stderr = (share * (1.0 - share) / EXAMPLES as f64).sqrt();
    Evaluation { scores: vec![score], ..evaluation }
}

/// Runs with their curves of losses and shares of right answers. The first share is the base model's.
fn sweep(base_share: f64, runs: &[&[(f64, f64)]]) -> SweepState {
    let mut events = vec![
        Event::SweepStarted {
            name: "scored".to_owned(),
            fingerprint: "f00d".to_owned(),
            version: "0.1.0".to_owned(),
            objective: Objective { metric: "exact_match".to_owned(), goal: Goal::Maximize },
        },
        Event::AnswersScored { trial: TrialId::BASE, answers: answers(0, base_share, "<b>this") },
        Event::BaseEvaluated { evaluation: scored(base(), base_share) },
    ];
    for (number, curve) in (1..).zip(runs) {
        let trial = TrialId(number);
        let config = config(1 << number, 1e-4 * f64::from(number), curve.len() as u32);
        events.push(Event::proposed(Trial { id: trial, config }));
        for (epoch, &(eval_loss, share)) in (1..).zip(*curve) {
            let (step, train_loss) = (60 * epoch, Some(eval_loss - 0.1));
            let epoch = f64::from(epoch);
            let evaluation = Evaluation { step, epoch, eval_loss, train_loss, ..base() };
            events.push(Event::Evaluated { trial, evaluation: scored(evaluation, share) });
        }
        let best = (1..).zip(*curve).max_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let (epoch, &(_, share)) = best.expect("an evaluation");
        let answers = answers(60 * epoch, share, "that</script>");
        events.push(Event::AnswersScored { trial, answers });
        events.push(Event::TrialFinished { trial, outcome: Outcome::Completed });
    }
    events.push(Event::SweepFinished);
    SweepState::from_events(&events)
}

/// The first run has the lowest loss; the second the best score, later than its own lowest loss.
fn contrary() -> SweepState {
    sweep(
        0.05,
        &[
            &[(2.0, 0.3), (1.0, 0.5)],
            &[(1.6, 0.5), (1.5, 0.7), (1.7, 0.9)],
            &[(2.4, 0.1), (2.2, 0.2)],
        ],
    )
}

fn ranked(state: &SweepState) -> Ranking {
    rank(state, &ReportSettings::default(), Lang::En)
}

#[test]
fn the_run_with_the_best_score_is_first_at_its_best_evaluation() {
    let ranking = ranked(&contrary());
    let order: Vec<u32> = ranking.rows.iter().map(|row| row.trial.0).collect();
    assert_eq!(order, [2, 1, 3, 0]);
    let first = &ranking.rows[0];
    assert_eq!((first.best_epoch, first.eval_loss), (Some(3.0), Some(1.7)));
    let score = first.score("exact_match").expect("it was measured");
    let [low, high] = score.interval.expect("its noise is known");
    assert!(score.value == 0.9 && low < 0.9 && high > 0.9 && high <= 1.0);
    assert_eq!(ranking.verdict.choice.as_ref().map(|choice| choice.trial), Some(TrialId(2)));
    let behind = ranking.rows[1].against_best.expect("on the same examples");
    assert!((behind.difference - 0.4).abs() < 1e-6 && !behind.is_tied, "{behind:?}");
}

#[test]
fn the_verdict_speaks_of_the_score_and_says_what_the_loss_would_have_chosen() {
    let ranking = ranked(&contrary());
    let words = ranking.verdict.sentences.join(" ");
    assert!(words.contains("Its exact_match is 0.9000 (95 % 0.8506 to 0.9343)"), "{words}");
    assert!(words.contains("the base model's is 0.0500"), "{words}");
    assert!(words.contains("take trial 001 at epoch 2"), "{words}");
    assert!(words.contains("0.7000 lower, its exact_match differs by -0.4000"), "{words}");
    // What is expected is a share of right answers.
    let comparison = ranking.comparison.expect("on the same examples");
    let expected = comparison.expected_loss.expect("more than one run");
    assert!((0.8..=0.9).contains(&expected), "{expected}");
    let interval = comparison.expected.expect("more than one run");
    assert!(interval.low < interval.loss && interval.loss < interval.high);

    let agree = ranked(&sweep(0.0, &[&[(1.0, 0.9)], &[(2.0, 0.5)]]));
    let words = agree.verdict.sentences.join(" ");
    assert!(words.contains("It has the lowest validation loss, too."), "{words}");
}

#[test]
fn what_is_expected_of_a_share_is_a_share() {
    for shares in [[0.01, 0.015], [0.99, 0.995]] {
        let ranking = ranked(&sweep(0.0, &[&[(1.2, shares[0])], &[(1.1, shares[1])]]));
        let comparison = ranking.comparison.expect("on the same examples");
        let expected = comparison.expected.expect("more than one run");
        for value in [expected.low, expected.loss, expected.high] {
            assert!((0.0..=1.0).contains(&value), "{expected:?}");
        }
        assert!(comparison.expected_loss.is_some_and(|value| (0.0..=1.0).contains(&value)));
    }
}

#[test]
fn runs_with_scores_that_cannot_be_told_apart_are_tied_and_the_simpler_one_is_taken() {
    let ranking = ranked(&sweep(0.1, &[&[(1.2, 0.695)], &[(1.1, 0.7)], &[(1.0, 0.705)]]));
    let comparison = ranking.comparison.as_ref().expect("on the same examples");
    assert_eq!(comparison.tied.len(), 3);
    assert_eq!((comparison.best, comparison.choice.trial), (TrialId(3), TrialId(1)));
    let words = ranking.verdict.sentences.join(" ");
    assert!(words.contains("The best exact_match, of trial 003, is better by 0.0100"), "{words}");
}

#[test]
fn overfitting_is_judged_on_the_loss_and_the_lowest_loss_is_what_it_is_measured_from() {
    let rising: Vec<(f64, f64)> = [1.4, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0]
        .iter()
        .zip(0_u32..)
        .map(|(loss, at)| (*loss, 0.1 + 0.1 * f64::from(at)))
        .collect();
    let mut state = sweep(0.0, &[&rising]);
    // While train loss falls; without that it would be instability.
    for evaluation in &mut state.trials.get_mut(&TrialId(1)).expect("the run").evaluations {
        evaluation.train_loss = Some(0.9 - 0.1 * evaluation.epoch);
    }
    let ranking = ranked(&state);
    let row = ranking.rows.iter().find(|row| row.trial == TrialId(1)).expect("a row");
    assert_eq!(row.best_epoch, Some(7.0));
    let overfit = row.overfit.as_ref().expect("the loss doubles");
    assert_eq!(overfit.best_epoch, 2.0);
    let by_loss = ranked(&state.by_loss());
    assert_eq!(by_loss.rows[0].overfit.as_ref().map(|o| o.best_epoch), Some(2.0));
    assert_eq!(by_loss.rows[0].best_epoch, Some(2.0));
}

#[test]
fn tables_and_other_tools_have_the_score_and_the_direction() {
    let state = contrary();
    let ranking = ranked(&state);
    let csv = ranking_csv(&ranking).expect("a table");
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let at = header.iter().position(|name| *name == "exact_match").expect("a column");
    let first = lines.next().expect("a row");
    assert_eq!(first[at].parse(), Ok(0.9));
    let csv = evaluations_csv(&state).expect("a table");
    assert!(csv.lines().next().expect("a header").contains(",exact_match,exact_match_stderr,"));

    let diagnoses = reporter::diagnose::diagnose_all(&state, &ReportSettings::default(), Lang::En);
    let journal = optuna_journal(&state, &diagnoses);
    assert!(journal.contains("\"directions\":[2]") && journal.contains("[\"exact_match\"]"));
    assert!(journal.contains("\"values\":[0.9]"), "{journal}");
    let by_loss = optuna_journal(&state.by_loss(), &diagnoses);
    assert!(by_loss.contains("\"directions\":[1]") && by_loss.contains("[\"eval_loss\"]"));

    let shown = terminal(&ranking, reporter::TerminalOptions::default());
    assert!(shown.contains("exact_match  eval_loss"), "{shown}");
    let names: Vec<String> =
        reporter::plot::sweep_plots(&state, &ReportSettings::default(), Lang::En)
            .into_iter()
            .map(|plot| plot.expect("a picture").name)
            .collect();
    assert!(names.contains(&"metric".to_owned()), "{names:?}");
    assert_eq!(importance(&state).len(), importance(&state.by_loss()).len());
}

#[test]
fn the_page_shows_answers_whatever_a_model_writes() {
    let state = contrary();
    let (ranking, settings) = (ranked(&state), ReportSettings::default());
    let page = Page {
        state: &state,
        ranking: &ranking,
        settings: &settings,
        lang: Lang::En,
        reload_seconds: None,
    };
    let page = html(page).expect("a page");
    assert!(page.contains("\"metric\":\"exact_match\"") && page.contains("\"goal\":\"maximize\""));
    assert!(page.contains("that\\u003c/script\\u003e") && page.contains("\\u003cb\\u003ethis"));
    assert!(!page.contains("that</script>") && !page.contains("<b>this"));
}

#[test]
fn two_runs_side_by_side_differ_by_their_scores_or_else_by_their_losses() {
    let state = contrary();
    let found = side_by_side(("a 1", &state, TrialId(1)), ("a 2", &state, TrialId(2)));
    let found = found.expect("both were evaluated");
    let apart = found.difference.expect("on the same examples");
    assert!((apart.difference - 0.4).abs() < 1e-6 && apart.low > 0.0, "{apart:?}");
    let words = found.text(Lang::En);
    assert!(words.contains("a 2 is better than a 1"), "{words}");
    assert!(words.contains("+0.4000 exact_match"), "{words}");
    let by_loss = state.by_loss();
    let found = side_by_side(("a 1", &state, TrialId(1)), ("b 2", &by_loss, TrialId(2)));
    assert!(found.expect("both were evaluated").objective.is_loss());
}
