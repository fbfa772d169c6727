//! The rule that the report had before: single evaluations against the lowest one, in standard
//! errors. Kept here as a rule to be compared with.

use spec::Evaluation;

const GAP_SHARE_OF_RISE: f64 = 0.5;
const TAIL: usize = 3;
const ALONE_FACTOR: f64 = 2.0;

/// The most standard errors at which the rule still flags the curve (the base model's evaluation
/// first), for a smallest rise; 0 where it flags it at none.
pub fn score(curve: &[Evaluation], min_rise: f64) -> f64 {
    let flags = |sigma: &f64| detects(curve, *sigma, min_rise);
    (1..=120).map(|n| 0.25 * f64::from(n)).rev().find(flags).unwrap_or(0.0)
}

fn detects(curve: &[Evaluation], sigma: f64, min_rise: f64) -> bool {
    let lowest =
        (0..curve.len()).min_by(|&a, &b| curve[a].eval_loss.total_cmp(&curve[b].eval_loss));
    let Some(best_at) = lowest else { return false };
    let best = &curve[best_at];
    let wobble = recovered_rise(&curve[..=best_at]);
    let after = &curve[best_at + 1..];
    let clears = |evaluation: &Evaluation, sigma: f64| {
        let rise = evaluation.eval_loss - best.eval_loss;
        let widening = evaluation.gap().zip(best.gap()).map(|(here, there)| here - there);
        rise > sigma * noise(evaluation, best)
            && rise >= min_rise * best.eval_loss
            && rise > wobble
            && widening.is_none_or(|widening| widening >= GAP_SHARE_OF_RISE * rise)
    };
    let Some(last) = after.last() else { return false };
    let tail = &after[after.len().saturating_sub(TAIL)..];
    let together = clears(last, sigma) && tail.iter().filter(|e| clears(e, sigma)).count() >= 2;
    together || clears(last, ALONE_FACTOR * sigma)
}

fn noise(evaluation: &Evaluation, best: &Evaluation) -> f64 {
    match evaluation.rise_stderr {
        Some(paired) if best.step > 0 => paired,
        _ => evaluation.eval_loss_stderr,
    }
}

fn recovered_rise(until_best: &[Evaluation]) -> f64 {
    let (mut lowest, mut largest) = (f64::INFINITY, 0.0_f64);
    for evaluation in until_best {
        lowest = lowest.min(evaluation.eval_loss);
        largest = largest.max(evaluation.eval_loss - lowest);
    }
    largest
}
