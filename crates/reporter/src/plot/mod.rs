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
mod render;
mod run;
mod scatter;
mod series;
mod shades;

use std::collections::BTreeMap;

use rayon::prelude::*;
use spec::{ReportSettings, SweepState, TrialId};

use crate::diagnose::{Diagnosis, diagnose_all};
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
pub fn all_plots(
    state: &SweepState,
    settings: &ReportSettings,
    lang: Lang,
) -> Vec<Result<Plot, ReportError>> {
    let diagnoses = &diagnose_all(state, settings, lang);
    let evaluated = state.trials.values().filter_map(|t| Some((t.best_cost()?, t.trial.id)));
    let mut evaluated: Vec<(f64, TrialId)> = evaluated.collect();
    evaluated.sort_by(|a, b| a.0.total_cmp(&b.0));
    evaluated.truncate(MOST_RUN_PLOTS);
    evaluated.sort_by_key(|(_, id)| *id);
    let mut drawings = of_sweep(state, diagnoses, lang);
    for (_, id) in evaluated {
        let Some((trial, diagnosis)) = state.trials.get(&id).zip(diagnoses.get(&id)) else {
            continue;
        };
        let base = state.base_of(trial);
        drawings.push(Box::new(move || render(&RunFigure { trial, base, diagnosis, lang })));
    }
    draw_all(&drawings)
}

/// The pictures of the sweep as a whole: `overview`, `gap`, `learning_rate`, `rank`, `heatmap`
/// and `gap_vs_loss`; `metric` where runs are not compared by their loss.
pub fn sweep_plots(
    state: &SweepState,
    settings: &ReportSettings,
    lang: Lang,
) -> Vec<Result<Plot, ReportError>> {
    draw_all(&of_sweep(state, &diagnose_all(state, settings, lang), lang))
}

/// A picture that is still to be drawn.
type Drawing<'a> = Box<dyn Fn() -> Result<Plot, ReportError> + Send + Sync + 'a>;

fn of_sweep<'a>(
    state: &'a SweepState,
    diagnoses: &'a BTreeMap<TrialId, Diagnosis>,
    lang: Lang,
) -> Vec<Drawing<'a>> {
    let overlay = move |quantity| render(&OverlayFigure { state, diagnoses, quantity, lang });
    let along = move |along| render(&ByParameterFigure { state, diagnoses, along, lang });
    let by_score = !state.objective.is_loss();
    let score: Option<Drawing<'_>> = by_score.then(|| {
        let draw: Drawing<'_> = Box::new(move || overlay(Quantity::Score));
        draw
    });
    let mut drawings: Vec<Drawing<'_>> = vec![
        Box::new(move || overlay(Quantity::EvalLoss)),
        Box::new(move || overlay(Quantity::Gap)),
        Box::new(move || along(Along::LearningRate)),
        Box::new(move || along(Along::Rank)),
        Box::new(move || render(&HeatMapFigure { state, diagnoses, lang })),
        Box::new(move || render(&ScatterFigure { state, diagnoses, lang })),
    ];
    drawings.extend(score);
    drawings
}

/// On all cores: a picture takes tens of milliseconds, and a report has dozens. One at a time each, since
/// the first ones take longest.
fn draw_all(drawings: &[Drawing<'_>]) -> Vec<Result<Plot, ReportError>> {
    drawings.par_iter().with_max_len(1).map(|draw| draw()).collect()
}

/// The picture of one run, `runs/trial-003`; `None` for a trial the sweep does not have.
pub fn run_plot(
    state: &SweepState,
    trial: TrialId,
    settings: &ReportSettings,
    lang: Lang,
) -> Option<Result<Plot, ReportError>> {
    let diagnosis = &diagnose_all(state, settings, lang).remove(&trial)?;
    let trial = state.trials.get(&trial)?;
    let base = state.base_of(trial);
    Some(render(&RunFigure { trial, base, diagnosis, lang }))
}
