//! Curves out of evaluations.

use spec::{Evaluation, TrialState};

use super::clip::Point;

/// One quantity over epochs, from the base model on: LoRA starts at B = 0, so the base model is
/// every run's step 0.
pub fn from_base(
    trial: &TrialState,
    base: Option<&Evaluation>,
    of: impl Fn(&Evaluation) -> Option<f64>,
) -> Vec<Point> {
    let start = base.filter(|_| trial.evaluations.first().is_some_and(|first| first.step > 0));
    start
        .and_then(|base| Some((0.0, of(base)?)))
        .into_iter()
        .chain(trial.evaluations.iter().filter_map(|e| Some((e.epoch, of(e)?))))
        .collect()
}
