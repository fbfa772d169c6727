//! Rules for overfitting that people use, as scores: the higher, the surer. Every rule but the present
//! one is held to the same condition on the train loss as the truth, so that what is compared is how
//! the validation curve is judged.

use spec::Evaluation;

use crate::present;
use crate::truth::is_widening;

/// The names of the rules, in the order of [`scores`].
pub const RULES: [&str; 5] =
    ["last above minimum", "patience", "min_delta", "gap share", "present rule"];

/// The scores of every rule for rises of at least `min_rise`.
pub fn scores(curve: &[Evaluation], min_rise: f64) -> [f64; 5] {
    let losses: Vec<f64> = curve.iter().map(|e| e.eval_loss).collect();
    let train: Vec<f64> = curve.iter().filter_map(|e| e.train_loss).collect();
    let last = losses.len() - 1;
    let lowest = lowest(&losses);
    let plain = [
        losses[last] / losses[lowest] - 1.0,
        (last - lowest) as f64,
        (last - last_improvement(&losses, min_rise)) as f64,
        (losses[last] - train[last]) / losses[last],
    ];
    let may = is_widening(&losses, &train, lowest, last);
    let [rise, patience, min_delta, gap] = plain.map(|score| if may { score } else { -1.0 });
    [rise, patience, min_delta, gap, present::score(curve, min_rise)]
}

/// Whether the rules flag the curve with the thresholds that people set: `min_rise`, three
/// evaluations, three evaluations, a gap of a quarter of the loss, two standard errors.
pub fn flags(scores: [f64; 5], min_rise: f64) -> [bool; 5] {
    let thresholds = [min_rise, 3.0, 3.0, 0.25, 2.0];
    let mut flags = [false; 5];
    for (flag, (score, threshold)) in flags.iter_mut().zip(scores.into_iter().zip(thresholds)) {
        *flag = score >= threshold;
    }
    flags
}

fn lowest(losses: &[f64]) -> usize {
    (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap_or(0)
}

/// As in Keras' `EarlyStopping`: an improvement is one by more than `min_delta`, here a share of the
/// loss.
fn last_improvement(losses: &[f64], min_delta: f64) -> usize {
    let (mut best, mut at) = (f64::INFINITY, 0);
    for (here, &loss) in losses.iter().enumerate() {
        if loss < best * (1.0 - min_delta) {
            (best, at) = (loss, here);
        }
    }
    at
}
