//! A metric as something that is to be low.

use proptest::prelude::*;
use spec::{Evaluation, Goal, MeanScore, Objective, SCORES};

fn objective(metric: &str, goal: Goal) -> Objective {
    Objective { metric: metric.to_owned(), goal }
}

fn evaluation(eval_loss: f64, scores: Vec<MeanScore>) -> Evaluation {
    Evaluation {
        step: 1,
        epoch: 1.0,
        eval_loss,
        eval_loss_stderr: 0.0,
        rise_stderr: None,
        group_nll: Vec::new(),
        train_loss: None,
        retention_loss: None,
        scores,
        tokens: 0,
        seconds: 0.0,
    }
}

proptest! {
    #[test]
    fn a_better_value_has_a_lower_cost_and_the_cost_gives_the_value_back(
        a in -4.0..4.0_f64,
        b in -4.0..4.0_f64,
        maximize: bool,
        is_score: bool,
    ) {
        let goal = if maximize { Goal::Maximize } else { Goal::Minimize };
        let objective = objective(if is_score { SCORES[0] } else { "mine" }, goal);
        let is_better = if maximize { a > b } else { a < b };
        prop_assert_eq!(objective.cost_of(a) < objective.cost_of(b), is_better);
        prop_assert!((objective.value_of(objective.cost_of(a)) - a).abs() < 1e-12);
        prop_assert_eq!(objective.reaches(a, b), is_better || a == b);
    }

    #[test]
    fn the_cost_of_a_score_is_the_share_that_is_missing(score in 0.0..=1.0_f64) {
        for name in SCORES {
            let cost = objective(name, Goal::Maximize).cost_of(score);
            prop_assert!((0.0..=1.0).contains(&cost) && (cost + score - 1.0).abs() < 1e-12);
        }
    }
}

#[test]
fn of_equal_scores_the_one_with_the_lower_loss_is_better_and_one_without_is_last() {
    let objective = objective("exact_match", Goal::Maximize);
    let scored = |loss, score| evaluation(loss, vec![MeanScore::bare("exact_match", score)]);
    let mut found =
        [evaluation(0.1, Vec::new()), scored(2.0, 0.5), scored(1.0, 0.5), scored(3.0, 0.6)];
    found.sort_by(|a, b| objective.compare(a, b));
    assert_eq!(found.map(|e| e.eval_loss), [3.0, 1.0, 2.0, 0.1]);
}
