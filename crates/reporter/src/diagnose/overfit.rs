//! Does validation rise from its own minimum while the gap widens? The rule itself is in the
//! documentation of [`crate::diagnose`].

use serde::Serialize;
use spec::{Evaluation, ReportSettings};

/// Share of a rise of the validation loss that must be a widening of the gap; below it, train
/// loss rose along and the run was unstable rather than overfitting.
const GAP_SHARE_OF_RISE: f64 = 0.5;

/// Evaluations at the end that are looked at together, so that one of them decides nothing.
const TAIL: usize = 3;

/// A single evaluation counts alone only when it clears `overfit_sigma` this many times over.
const ALONE_FACTOR: f64 = 2.0;

/// What overfitting cost a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overfit {
    /// Optimizer step of the lowest validation loss.
    pub best_step: u32,
    /// Epoch of the lowest validation loss: where to stop. 0 when nothing beat the base model.
    pub best_epoch: f64,
    /// First epoch at which the rise was clear.
    pub onset_epoch: f64,
    /// Epoch of the last evaluation.
    pub end_epoch: f64,
    /// Lowest validation loss.
    pub best_eval_loss: f64,
    /// Validation loss lost by the end: last minus lowest.
    pub rise: f64,
    /// The rise as a share of the lowest loss.
    pub rise_share: f64,
    /// Standard error of the rise at the end.
    pub rise_stderr: f64,
    /// Train loss at the best and at the last evaluation, where it was measured.
    pub train: Option<(f64, f64)>,
}

/// Judges one curve; `None` when it did not overfit. `base` is the base model's evaluation, which
/// a LoRA run starts from exactly (B = 0), and counts as the curve's first point.
pub fn detect(
    evaluations: &[Evaluation],
    base: Option<&Evaluation>,
    settings: &ReportSettings,
) -> Option<Overfit> {
    let curve = with_base(evaluations, base);
    let best_at = lowest(&curve)?;
    let best = curve[best_at];
    let wobble = recovered_rise(&curve[..=best_at]);
    let after = &curve[best_at + 1..];

    let clears = |evaluation: &Evaluation, sigma: f64| {
        let rise = evaluation.eval_loss - best.eval_loss;
        // Where the train loss was not measured, the rise alone decides.
        let widening = evaluation.gap().zip(best.gap()).map(|(here, there)| here - there);
        rise > sigma * noise(evaluation, best)
            && rise >= settings.overfit_min_rise * best.eval_loss
            && rise > wobble
            && widening.is_none_or(|widening| widening >= GAP_SHARE_OF_RISE * rise)
    };
    let risen = |evaluation: &Evaluation| clears(evaluation, settings.overfit_sigma);

    let last = *after.last()?;
    let tail = &after[after.len().saturating_sub(TAIL)..];
    let together = risen(last) && tail.iter().filter(|e| risen(e)).count() >= 2;
    let alone = clears(last, ALONE_FACTOR * settings.overfit_sigma);
    let onset = after.iter().find(|e| risen(e))?;
    if !(together || alone) {
        return None;
    }
    let rise = last.eval_loss - best.eval_loss;
    Some(Overfit {
        best_step: best.step,
        best_epoch: best.epoch,
        onset_epoch: onset.epoch,
        end_epoch: last.epoch,
        best_eval_loss: best.eval_loss,
        rise,
        rise_share: rise / best.eval_loss,
        rise_stderr: noise(last, best),
        train: best.train_loss.zip(last.train_loss),
    })
}

/// The curve including the step 0 at which the adapter changes nothing.
pub fn with_base<'a>(
    evaluations: &'a [Evaluation],
    base: Option<&'a Evaluation>,
) -> Vec<&'a Evaluation> {
    let start = base.filter(|_| evaluations.first().is_some_and(|first| first.step > 0));
    start.into_iter().chain(evaluations).collect()
}

/// Standard error of the rise from `best` to `evaluation`. The paired error is measured against
/// the run's own best, so it does not apply where the base model is the minimum.
fn noise(evaluation: &Evaluation, best: &Evaluation) -> f64 {
    match evaluation.rise_stderr {
        Some(paired) if best.step > 0 => paired,
        _ => evaluation.eval_loss_stderr,
    }
}

fn lowest(curve: &[&Evaluation]) -> Option<usize> {
    (0..curve.len()).min_by(|&a, &b| curve[a].eval_loss.total_cmp(&curve[b].eval_loss))
}

/// The largest rise above the minimum so far that a later, lower minimum made good: how far this
/// run's validation loss wobbles without meaning anything.
fn recovered_rise(until_best: &[&Evaluation]) -> f64 {
    let mut lowest = f64::INFINITY;
    let mut largest: f64 = 0.0;
    for evaluation in until_best {
        lowest = lowest.min(evaluation.eval_loss);
        largest = largest.max(evaluation.eval_loss - lowest);
    }
    largest
}
