//! Does validation rise from its own level while the gap widens? The rule is in the documentation of
//! the crate `curves`; here it is applied to the runs of a sweep.

use curves::{Curve, Evidence, Pool, Rise, ShapesByRate, SmoothPoint, with_base};
use rayon::prelude::*;
use serde::Serialize;
use spec::{Evaluation, ReportSettings, SweepState, TrialState};

/// What overfitting cost a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overfit {
    /// Optimizer step of the lowest validation loss.
    pub best_step: u32,
    /// Epoch of the lowest validation loss: where to stop. 0 when nothing beat the base model.
    pub best_epoch: f64,
    /// Epoch from which the rise was more likely than not.
    pub onset_epoch: f64,
    /// Epoch of the last evaluation.
    pub end_epoch: f64,
    /// Lowest validation loss of a single evaluation.
    pub best_eval_loss: f64,
    /// Lowest level of the validation loss: the mean of two evaluations in a row.
    pub lowest: f64,
    /// How far the level has risen from that by the end.
    pub rise: f64,
    /// The rise as a share of the lowest level.
    pub rise_share: f64,
    /// Standard error of the rise.
    pub rise_stderr: f64,
    /// Probability that the level has risen by at least `report.overfit_min_rise`.
    pub probability: f64,
    /// Train loss at the best and at the last evaluation, where it was measured.
    pub train: Option<(f64, f64)>,
}

/// A run's curve, judged.
pub struct Judged {
    /// The curve.
    pub curve: Curve,
    /// `None` where it has too few evaluations.
    pub rise: Option<Rise>,
    /// The smooth curve.
    pub smooth: Vec<SmoothPoint>,
}

/// Judges the runs of a sweep, in the order of their numbers: each alone with what all of them say of
/// wobble, then with the others' rises beside it.
pub fn judge_all(state: &SweepState, settings: &ReportSettings) -> Vec<Judged> {
    let targets = curves::group_targets(state);
    let trials: Vec<&TrialState> = state.trials.values().collect();
    let curve_of = |trial: &TrialState| {
        Curve::of(&trial.evaluations, state.base_of(trial), targets.as_deref())
    };
    let curves: Vec<Curve> = trials.par_iter().map(|trial| curve_of(trial)).collect();
    let evidence: Vec<Evidence> = trials
        .par_iter()
        .zip(&curves)
        .filter(|(trial, _)| trial.evaluations.len() > 2)
        .map(|(trial, curve)| Evidence::of(&curve.relative(), trial.trial.config.learning_rate))
        .collect();
    let rates: Vec<f64> = trials.iter().map(|trial| trial.trial.config.learning_rate).collect();
    let by_rate = ShapesByRate::of(&evidence, &rates);
    let judge = |(curve, trial): (Curve, &TrialState)| {
        let shapes = by_rate.at(trial.trial.config.learning_rate);
        let (rise, smooth) = curves::rise_and_smooth(&curve, &shapes, settings.overfit_min_rise);
        Judged { curve, rise, smooth }
    };
    let mut judged: Vec<Judged> = curves.into_par_iter().zip(trials).map(judge).collect();
    let pool = Pool::of(judged.iter().filter_map(|judged| judged.rise.as_ref()));
    judged.par_iter_mut().for_each(|judged| {
        judged.rise = judged.rise.take().map(|rise| pool.judge(rise));
    });
    judged
}

/// What overfitting cost; `None` where it is less likely than `report.overfit_probability`.
pub fn found(
    evaluations: &[Evaluation],
    base: Option<&Evaluation>,
    rise: &Rise,
    settings: &ReportSettings,
) -> Option<Overfit> {
    if rise.probability < settings.overfit_probability {
        return None;
    }
    let curve = with_base(evaluations, base);
    let last = *curve.last()?;
    let best = *curve.iter().min_by(|a, b| a.eval_loss.total_cmp(&b.eval_loss))?;
    Some(Overfit {
        best_step: best.step,
        best_epoch: best.epoch,
        onset_epoch: rise.onset_epoch.unwrap_or(last.epoch),
        end_epoch: last.epoch,
        best_eval_loss: best.eval_loss,
        lowest: rise.lowest,
        rise: rise.rise,
        rise_share: rise.rise / rise.lowest,
        rise_stderr: rise.rise_stderr,
        probability: rise.probability,
        train: best.train_loss.zip(last.train_loss),
    })
}
