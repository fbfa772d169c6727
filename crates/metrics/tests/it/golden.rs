//! Scores against those of rouge-score, sacrebleu, `SQuAD` and GSM8K
//! (`scripts/golden/make_metrics_golden.py`).

use metrics::{Metric, Normalise, chrf, last_number, rouge_l, token_f1};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    output: String,
    reference: String,
    normalised: String,
    squad_exact_match: f64,
    squad_f1: f64,
    rouge_l: f64,
    chrf: f64,
    gsm8k: Option<f64>,
}

fn agree(metric: &str, ours: impl Fn(&Case) -> f64, theirs: impl Fn(&Case) -> f64) {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../golden/scores.json")).expect("scores.json");
    assert!(cases.len() > 50);
    for case in &cases {
        let (ours, theirs) = (ours(case), theirs(case));
        assert!(
            (ours - theirs).abs() < 1e-12,
            "{metric} of {:?} and {:?} is {ours}, not {theirs}",
            case.output,
            case.reference
        );
    }
}

#[test]
fn the_normaliser_is_that_of_squad() {
    let same = |case: &Case| f64::from(Normalise::SQUAD.apply(&case.output) == case.normalised);
    agree("the normalised text", same, |_| 1.0);
}

#[test]
fn exact_match_under_the_normaliser_is_that_of_squad() {
    let metric = Metric::ExactMatch(Normalise::SQUAD);
    agree("exact_match", |c| metric.score(&c.output, &c.reference), |c| c.squad_exact_match);
}

#[test]
fn token_f1_is_that_of_squad_2() {
    let ours = |c: &Case| token_f1(&c.output, &c.reference, &Normalise::SQUAD);
    agree("token_f1", ours, |c| c.squad_f1);
}

#[test]
fn rouge_l_is_that_of_rouge_score() {
    agree("rouge_l", |c| rouge_l(&c.output, &c.reference), |c| c.rouge_l);
}

#[test]
fn chrf_is_that_of_sacrebleu() {
    agree("chrf", |c| chrf(&c.output, &c.reference), |c| c.chrf);
}

#[test]
fn a_marked_answer_is_the_number_that_gsm8k_reads() {
    let ours = |c: &Case| c.gsm8k.and_then(|_| last_number(&c.output)).unwrap_or(0.0);
    agree("the number", ours, |c| c.gsm8k.unwrap_or(0.0));
}
