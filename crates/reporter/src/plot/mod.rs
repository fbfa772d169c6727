//! Pictures of a sweep, each as SVG and PNG.

mod axis;
mod by_parameter;
mod canvas;
mod clip;
mod font;
mod heatmap;
mod overlay;
mod palette;
mod panel;
mod range;
mod raster;
mod render;
mod run;
mod scatter;
mod series;
mod shades;

use spec::{ReportSettings, SweepState, TrialId};

use crate::diagnose::{Diagnosis, Reference, diagnose, diagnose_all};
use crate::error::ReportError;
use crate::text::Lang;
use by_parameter::{Along, ByParameterFigure};
use heatmap::HeatMapFigure;
use overlay::{OverlayFigure, Quantity};
use render::render;
use run::RunFigure;
use scatter::ScatterFigure;

pub use render::Plot;

/// So many runs have a picture of their own, the best first; the page shows the others, too.
pub const MOST_RUN_PLOTS: usize = 48;

/// Every picture of a sweep: those of the sweep first, then one for each of the best
/// [`MOST_RUN_PLOTS`] runs. A picture that cannot be drawn is an error in its place and leaves the
/// others alone.
pub fn all_plots(state: &SweepState, settings: &ReportSettings) -> Vec<Result<Plot, ReportError>> {
    let mut plots = sweep_plots(state, settings);
    let evaluated = state.trials.values().filter_map(|t| Some((t.best()?.eval_loss, t.trial.id)));
    let mut evaluated: Vec<(f64, TrialId)> = evaluated.collect();
    evaluated.sort_by(|a, b| a.0.total_cmp(&b.0));
    evaluated.truncate(MOST_RUN_PLOTS);
    evaluated.sort_by_key(|(_, id)| *id);
    plots.extend(evaluated.into_iter().filter_map(|(_, id)| run_plot(state, id, settings)));
    plots
}

/// The pictures of the sweep as a whole: `overview`, `gap`, `learning_rate`, `rank`, `heatmap`
/// and `gap_vs_loss`.
pub fn sweep_plots(
    state: &SweepState,
    settings: &ReportSettings,
) -> Vec<Result<Plot, ReportError>> {
    let diagnoses = &diagnose_all(state, settings, Lang::En);
    vec![
        render(&OverlayFigure { state, diagnoses, quantity: Quantity::EvalLoss }),
        render(&OverlayFigure { state, diagnoses, quantity: Quantity::Gap }),
        render(&ByParameterFigure { state, diagnoses, along: Along::LearningRate }),
        render(&ByParameterFigure { state, diagnoses, along: Along::Rank }),
        render(&HeatMapFigure { state, diagnoses }),
        render(&ScatterFigure { state, diagnoses }),
    ]
}

/// The picture of one run, `runs/trial-003`; `None` for a trial the sweep does not have.
pub fn run_plot(
    state: &SweepState,
    trial: TrialId,
    settings: &ReportSettings,
) -> Option<Result<Plot, ReportError>> {
    let trial = state.trials.get(&trial)?;
    let diagnosis: &Diagnosis = &diagnose(trial, Reference::of(state), settings, Lang::En);
    Some(render(&RunFigure { trial, base: state.base.as_ref(), diagnosis }))
}
