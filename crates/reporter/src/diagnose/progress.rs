//! How much of the best run's improvement a run reached, and whether it was still improving.

use spec::{Evaluation, ReportSettings, TrialState};

use super::overfit::with_base;

/// A run is still falling when its last third brought more than this share of its improvement.
/// A linear decay of the learning rate leaves a ninth of the path to the last third, and an
/// exponential approach is below this only after more than four time constants.
const FALLING_SHARE: f64 = 0.05;

/// Share of `best`'s improvement over `base` that `own` reached; 0 when nothing beat the base.
pub fn recovered_share(base: f64, best: f64, own: f64) -> f64 {
    let possible = base - best;
    if possible > 0.0 { ((base - own) / possible).max(0.0) } else { 0.0 }
}

/// Whether `other` reached a lower loss than `run`, by more than `sigma` standard errors, at the same
/// rank with a lower learning rate and no more steps: then it is not steps that `run` lacked.
pub fn came_further_at_a_lower_rate(other: &TrialState, run: &TrialState, sigma: f64) -> bool {
    let (theirs, own) = (&other.trial.config, &run.trial.config);
    let is_comparable = theirs.rank == own.rank
        && theirs.learning_rate < own.learning_rate
        && theirs.batch_size >= own.batch_size
        && theirs.epochs <= own.epochs;
    is_comparable
        && other.best().zip(run.best()).is_some_and(|(theirs, own)| {
            let noise = theirs.eval_loss_stderr.hypot(own.eval_loss_stderr);
            own.eval_loss - theirs.eval_loss > sigma * noise
        })
}

/// Was the validation loss still falling at the end? Returns the drop over the last third of the
/// steps when it was.
pub fn still_falling(
    evaluations: &[Evaluation],
    base: &Evaluation,
    settings: &ReportSettings,
) -> Option<f64> {
    let curve = with_base(evaluations, Some(base));
    let last = *curve.last()?;
    let two_thirds = f64::from(last.step) * 2.0 / 3.0;
    let before =
        curve.iter().rev().find(|e| e.step < last.step && f64::from(e.step) <= two_thirds)?;
    let drop = before.eval_loss - last.eval_loss;
    let improvement = base.eval_loss - last.eval_loss;
    let noise = last.rise_stderr.unwrap_or(last.eval_loss_stderr);
    (drop > settings.overfit_sigma * noise && drop > FALLING_SHARE * improvement).then_some(drop)
}
