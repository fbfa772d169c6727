//! One flag per run, in plain words, with the numbers behind it.
//!
//! # Notation
//! A run's curve is its evaluations in order, preceded by the base model's: LoRA starts at B = 0,
//! so the base model *is* the run at step 0. Where runs differ in the base's `quantization`, each one's
//! base is the one it trained on. `L(i)` is the validation loss of evaluation i,
//! `T(i)` its train loss (same mode, fixed subset), `gap(i) = L(i) - T(i)`, and `m` the evaluation
//! with the lowest `L`. The noise of evaluation i is its `rise_stderr` (paired standard error
//! against the run's best so far); where that is absent, it is `eval_loss_stderr`.
//!
//! # Rules, in this order
//! 1. `pending`, `running`: not ended. `failed`, `diverged`: so the trainer said.
//! 2. `overfit`: the probability that the level of the validation loss (two evaluations in a row)
//!    lies at the end at least `report.overfit_min_rise` above its lowest one, and that at least
//!    half of that is a widening of the gap, is `report.overfit_probability` or more. The crate
//!    `curves` says how it is computed (module `overfit`); how much curves wobble is pooled over the
//!    runs of the sweep, and so is at which train loss they rise (module `pool`). Neither a dip nor a
//!    peak of a single evaluation flags anything, a run that came back to its lowest level is not
//!    flagged, and neither is a gap as such, whatever its sign. With fewer than two levels nothing is
//!    said.
//! 3. The *share* is how much of the best run's improvement over the base model the run reached:
//!    `(L(base) - L(m)) / (L(base) - best L of the sweep)`, and 0 when no run beat the base.
//!    The run was *still falling* when its validation loss dropped, over the last third of its
//!    steps, by more than `report.overfit_sigma x noise` and by more than about 3 % of its own
//!    improvement.
//!    - `too_slow`: still falling, and share < `report.too_slow_share`;
//!    - `underfit`: no longer falling, and share < `report.underfit_share`.
//!
//!    Without an evaluation of the base model neither can be said. Both thresholds give way a little
//!    (`thresholds`), so that runs with nearly the same curve have the same flag.
//! 4. `ok`: anything else.
//!
//! # Notes, beside the flag
//! - `forgetting`: at m, the retention loss is more than `report.forgetting_share` above the base
//!   model's.
//! - `worse_than_base`: even at m, the run is no better than the base model.
//! - `learning_rate_too_high`: it diverged; or its training loss spiked (`spikes`); or it stayed
//!   above the base model without overfitting; or it did not overfit, and a run of the same rank
//!   reached a loss lower by a tenth with a lower rate and no more steps (a batch no smaller, no
//!   more epochs), by more than `report.overfit_sigma` standard errors of the paired difference.
//! - `learning_rate_too_low`: flagged `too_slow`, at a learning rate below the best run's; or it
//!   did not overfit, and a run reached such a loss with a higher rate.
//! - `more_epochs`: m is the last evaluation, and the run was still falling.
//! - `memorizing`, for a run that is not `overfit`: train loss fell by another quarter while
//!   validation no longer shared in it (`curves`, module `memorize`).
//!
//! What the sweep as a whole shows is in `findings`.

pub(crate) mod capacity;
mod explain;
mod extend;
mod facts;
mod findings;
mod matched;
mod metric;
mod overfit;
mod progress;
mod quantization;
mod settings;
mod spikes;
mod thresholds;
mod verdict;

use std::collections::BTreeMap;
use std::fmt;

use curves::{Rise, SmoothPoint};
use rayon::prelude::*;
use serde::Serialize;
use spec::{Evaluation, Outcome, ReportSettings, SweepState, TrialId, TrialState, TrialStatus};

pub(crate) use facts::VerdictInput;
use overfit::Judged;
pub use overfit::Overfit;
pub(crate) use verdict::verdict_of_sweep;

use crate::text::Lang;
pub use facts::{BestRun, Edge, Finding, FindingKind, RunnerUp, Side, Verdict};
use progress::{Fall, Peers, Rate};
use thresholds::Thresholds;
pub use verdict::verdict;

/// What a run amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The untouched base model, the reference of the ranking.
    Base,
    /// Nothing to complain about.
    Ok,
    /// Validation rose from its own minimum while the gap widened.
    Overfit,
    /// Levelled off far behind the best run.
    Underfit,
    /// Far behind the best run and still falling when it ended.
    TooSlow,
    /// Training blew up.
    Diverged,
    /// Training could not be done.
    Failed,
    /// Not ended.
    Running,
    /// Not begun.
    Pending,
}

impl Flag {
    /// The flag as written in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Ok => "ok",
            Self::Overfit => "overfit",
            Self::Underfit => "underfit",
            Self::TooSlow => "too_slow",
            Self::Diverged => "diverged",
            Self::Failed => "failed",
            Self::Running => "running",
            Self::Pending => "pending",
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something worth knowing beside the flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// The loss on the retention set rose.
    Forgetting,
    /// Not even the best evaluation beats the base model.
    WorseThanBase,
    /// Training diverged, spiked, stayed above the base model, or improved less than at a lower rate.
    LearningRateTooHigh,
    /// Far behind the best run, still falling, at a lower learning rate than that run's, or came
    /// less far than at a higher rate.
    LearningRateTooLow,
    /// Best at the last evaluation, and still falling.
    MoreEpochs,
    /// Validation does not rise, but no longer shares what training improves.
    Memorizing,
    /// The search space does not have the run's configuration any more.
    OutsideSpace,
}

impl Note {
    /// The note as written in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forgetting => "forgetting",
            Self::WorseThanBase => "worse_than_base",
            Self::LearningRateTooHigh => "learning_rate_too_high",
            Self::LearningRateTooLow => "learning_rate_too_low",
            Self::MoreEpochs => "more_epochs",
            Self::Memorizing => "memorizing",
            Self::OutsideSpace => "outside_space",
        }
    }
}

/// The flag of one run with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnosis {
    /// The flag.
    pub flag: Flag,
    /// What else is worth knowing.
    pub notes: Vec<Note>,
    /// Why, in words and numbers.
    pub explanation: String,
    /// What to do about it, where something can be done.
    pub advice: Option<String>,
    /// What overfitting cost; also set for a run that is still going.
    pub overfit: Option<Overfit>,
    /// Share of the best run's improvement over the base model that this run reached.
    pub improvement_share: Option<f64>,
    /// Probability that the run overfits; `None` where it has too few evaluations to say.
    pub overfit_probability: Option<f64>,
    /// The rise behind that probability.
    #[serde(skip)]
    pub rise: Option<Rise>,
    /// Share of the training improvement over the base model that validation shares.
    pub shared: Shared,
    /// Epoch from which the run memorises, where it does.
    pub memorizes_from: Option<f64>,
    /// The smooth validation loss behind the evaluations.
    #[serde(skip)]
    pub smooth: Vec<SmoothPoint>,
}

/// What validation shares of the training improvement: `(base val - val) / (base train - train)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Shared {
    /// At the best evaluation.
    pub at_best: Option<f64>,
    /// At the last evaluation.
    pub at_end: Option<f64>,
}

impl Shared {
    fn of(trial: &TrialState, base: Option<&Evaluation>) -> Self {
        let losses = |e: &Evaluation| Some((e.eval_loss, e.train_loss?));
        let share =
            |here: Option<&Evaluation>| curves::shared_improvement(losses(base?)?, losses(here?)?);
        Self { at_best: share(trial.best()), at_end: share(trial.last()) }
    }
}

/// What a single run is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a> {
    /// The base model's evaluation.
    pub base: Option<&'a Evaluation>,
    /// The best run of the sweep.
    pub best: Option<&'a TrialState>,
}

impl<'a> Reference<'a> {
    /// The reference within a sweep.
    pub fn of(state: &'a SweepState) -> Self {
        let cost = |trial: &TrialState| trial.best_cost().unwrap_or(f64::INFINITY);
        let loss = |trial: &TrialState| trial.best().map_or(f64::INFINITY, |best| best.eval_loss);
        let best = state
            .trials
            .values()
            .filter(|trial| trial.best().is_some())
            .min_by(|a, b| cost(a).total_cmp(&cost(b)).then(loss(a).total_cmp(&loss(b))));
        Self { base: state.base.as_ref(), best }
    }

    /// The same with the base that `trial` trained on.
    fn for_trial(self, trial: &TrialState, state: &'a SweepState) -> Self {
        Self { base: state.base_of(trial), ..self }
    }
}

/// Diagnoses every run of a sweep, by its losses, whatever runs are compared by.
pub fn diagnose_all(
    state: &SweepState,
    settings: &ReportSettings,
    lang: Lang,
) -> BTreeMap<TrialId, Diagnosis> {
    let state = &*state.by_loss();
    let (reference, peers) = (Reference::of(state), Peers::of(state));
    let thresholds = &thresholds::settled(settings, state);
    let judged = overfit::judge_all(state, &thresholds.settings);
    let trials: Vec<(&TrialId, &TrialState)> = state.trials.iter().collect();
    let diagnosed = |((&id, trial), judged): ((&TrialId, &TrialState), Judged)| {
        let reference = reference.for_trial(trial, state);
        (id, diagnose(trial, reference, &peers, judged, thresholds, lang))
    };
    trials.into_par_iter().zip(judged).map(diagnosed).collect()
}

fn diagnose(
    trial: &TrialState,
    reference: Reference<'_>,
    peers: &Peers<'_>,
    judged: Judged,
    thresholds: &Thresholds,
    lang: Lang,
) -> Diagnosis {
    let Judged { curve, rise, smooth } = judged;
    let Thresholds { settings, falling_share } = thresholds;
    let overfit = rise
        .as_ref()
        .and_then(|rise| overfit::found(&trial.evaluations, reference.base, rise, settings));
    let improvement_share = improvement_share(trial, reference);
    let fall = reference.base.and_then(|base| Fall::of(&trial.evaluations, base, settings));
    let still_falling = fall.filter(|fall| fall.share > *falling_share).map(|fall| fall.drop);
    let flag = flag(trial, overfit.is_some(), improvement_share, still_falling, settings);
    let spikes = spikes::spikes(&trial.train_points);
    let is_judged = matches!(flag, Flag::Ok | Flag::TooSlow | Flag::Underfit);
    let further =
        |rate| is_judged.then(|| peers.further_at(rate, trial, settings.overfit_sigma)).flatten();
    let further_at_lower_rate = further(Rate::Lower);
    let further_at_higher_rate = further(Rate::Higher);
    let memorizes_from = overfit.is_none().then(|| curves::memorizes_from(&curve)).flatten();
    let seen = Seen {
        flag,
        is_memorizing: memorizes_from.is_some(),
        spikes,
        is_still_falling: still_falling.is_some(),
        further_at_lower_rate: further_at_lower_rate.is_some(),
        further_at_higher_rate: further_at_higher_rate.is_some(),
    };
    let notes = notes(trial, reference, settings, &seen);
    let overfit = overfit.filter(|_| matches!(flag, Flag::Overfit | Flag::Running));
    let facts = explain::Facts {
        lang,
        trial,
        reference,
        flag,
        notes: &notes,
        overfit: overfit.as_ref(),
        rise: rise.as_ref(),
        memorizes_from,
        improvement_share,
        still_falling,
        spikes,
        further_at_lower_rate,
        further_at_higher_rate,
    };
    let explanation = explain::explanation(&facts);
    let advice = explain::advice(&facts);
    Diagnosis {
        flag,
        notes,
        explanation,
        advice,
        overfit,
        improvement_share,
        overfit_probability: rise.as_ref().map(|rise| rise.probability),
        rise,
        shared: Shared::of(trial, reference.base),
        memorizes_from,
        smooth,
    }
}

fn flag(
    trial: &TrialState,
    overfits: bool,
    improvement_share: Option<f64>,
    still_falling: Option<f64>,
    settings: &ReportSettings,
) -> Flag {
    match &trial.status {
        TrialStatus::Pending => Flag::Pending,
        TrialStatus::Running => Flag::Running,
        TrialStatus::Finished { outcome: Outcome::Failed { .. } } => Flag::Failed,
        TrialStatus::Finished { outcome: Outcome::Diverged { .. } } => Flag::Diverged,
        TrialStatus::Finished { outcome: Outcome::Completed | Outcome::Stopped { .. } } => {
            match (improvement_share, still_falling) {
                _ if overfits => Flag::Overfit,
                (Some(share), Some(_)) if share < settings.too_slow_share => Flag::TooSlow,
                (Some(share), None) if share < settings.underfit_share => Flag::Underfit,
                _ => Flag::Ok,
            }
        }
    }
}

fn improvement_share(trial: &TrialState, reference: Reference<'_>) -> Option<f64> {
    let base = reference.base?.eval_loss;
    let best = reference.best?.best()?.eval_loss;
    let own = trial.best()?.eval_loss;
    Some(progress::recovered_share(base, best, own))
}

/// What the notes are made of, beside the curve itself.
struct Seen {
    flag: Flag,
    is_memorizing: bool,
    spikes: usize,
    is_still_falling: bool,
    further_at_lower_rate: bool,
    further_at_higher_rate: bool,
}

fn notes(
    trial: &TrialState,
    reference: Reference<'_>,
    settings: &ReportSettings,
    seen: &Seen,
) -> Vec<Note> {
    let mut notes = Vec::new();
    let best = trial.best();
    let worse = reference.base.zip(best).is_some_and(|(base, b)| b.eval_loss >= base.eval_loss);
    if worse {
        notes.push(Note::WorseThanBase);
    }
    let retention = |e: &Evaluation| e.retention_loss;
    if let Some((before, after)) = reference.base.and_then(retention).zip(best.and_then(retention))
        && after - before > settings.forgetting_share * before
    {
        notes.push(Note::Forgetting);
    }
    let stayed_above = worse && matches!(seen.flag, Flag::Ok | Flag::Underfit);
    let unstable = seen.flag == Flag::Diverged || seen.spikes > 0;
    if unstable || stayed_above || seen.further_at_lower_rate {
        notes.push(Note::LearningRateTooHigh);
    }
    let rate = |trial: &TrialState| trial.trial.config.learning_rate;
    let is_slower = reference.best.is_some_and(|best| rate(trial) < rate(best));
    if seen.further_at_higher_rate || (seen.flag == Flag::TooSlow && is_slower) {
        notes.push(Note::LearningRateTooLow);
    }
    let ends_best = best.map(|e| e.step) == trial.last().map(|e| e.step);
    if seen.flag == Flag::Ok && seen.is_still_falling && ends_best {
        notes.push(Note::MoreEpochs);
    }
    if seen.is_memorizing && matches!(seen.flag, Flag::Ok | Flag::Underfit | Flag::TooSlow) {
        notes.push(Note::Memorizing);
    }
    notes
}
