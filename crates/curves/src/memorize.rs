//! Memorising: what training improves, validation no longer shares.
//!
//! Notation: v and t are validation and train loss, 0 the base model, i an evaluation, K the last one.
//!
//! The *shared improvement* at i is `(v_0 - v_i) / (t_0 - t_i)`: 1 where validation gains what
//! training gains. It is dominated by what the first epochs bring, so that the note rests on the
//! rest of the run: a run memorises from i on when
//!
//! ```text
//! t_K <= (1 - 1/4) t_i   and   v_i - v_K + e_iK <= 1/4 (t_i - t_K)
//! ```
//!
//! train loss has fallen by another quarter, and validation gained, even if one standard error
//! `e_iK` of the difference is added, no more than a quarter of that. Where the levels of validation
//! rise, that is overfitting, which is said instead.

use crate::curve::Curve;

/// Train loss must fall by this share of itself.
const FALL: f64 = 0.25;

/// Validation shares less than this of the fall.
const SHARE: f64 = 0.25;

/// The share of the training improvement that validation shares, at a point of a curve that begins
/// with the base model; `None` where training has not improved.
pub fn shared_improvement(base: (f64, f64), here: (f64, f64)) -> Option<f64> {
    let (validation, train) = (base.0 - here.0, base.1 - here.1);
    (train > 0.0).then_some(validation / train)
}

/// Epoch from which a run memorises; `None` where it does not.
pub fn memorizes_from(curve: &Curve) -> Option<f64> {
    let points = curve.points();
    let last = points.len().checked_sub(1)?;
    let end = points[last];
    let memorizes = |at: &usize| {
        let here = points[*at];
        let (Some(before), Some(after)) = (here.train, end.train) else { return false };
        let error = curve.noise().error_of_difference(*at, last);
        after <= (1.0 - FALL) * before && here.loss - end.loss + error <= SHARE * (before - after)
    };
    let start = usize::from(curve.has_base());
    (start..last).find(memorizes).map(|at| points[at].epoch)
}
