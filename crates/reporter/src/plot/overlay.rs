//! All runs in one panel, coloured by learning rate: validation loss, the gap, or the metric that runs are
//! compared by, over epochs.

use std::collections::BTreeMap;

use plotters::style::RGBColor;
use spec::{Evaluation, Goal, SweepState, TrialId, TrialState, printable_line};

use super::axis::Axis;
use super::canvas::{Canvas, Drawn, Stroke, Symbol};
use super::clip::Point;
use super::palette::{GREY, INK, of_flag};
use super::panel::{Entry, Frame, Mark, Panel, SMALL};
use super::range::{robust_with, whole};
use super::render::Figure;
use super::series::from_base;
use super::shades::flags_legend;
use crate::diagnose::{Diagnosis, Flag, Reference};
use crate::number;
use crate::text::{Lang, say};

/// What is drawn over the epochs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    EvalLoss,
    Gap,
    /// What runs are compared by.
    Score,
}

/// All runs over epochs.
pub struct OverlayFigure<'a> {
    pub state: &'a SweepState,
    pub diagnoses: &'a BTreeMap<TrialId, Diagnosis>,
    pub quantity: Quantity,
    pub lang: Lang,
}

struct Curve<'a> {
    trial: &'a TrialState,
    points: Vec<Point>,
    flag: Flag,
}

impl Curve<'_> {
    const fn color(&self) -> RGBColor {
        of_flag(self.flag)
    }
}

impl OverlayFigure<'_> {
    fn value(&self, evaluation: &Evaluation) -> Option<f64> {
        match self.quantity {
            Quantity::EvalLoss => Some(evaluation.eval_loss),
            Quantity::Gap => evaluation.gap(),
            Quantity::Score => self.state.objective.value(evaluation),
        }
    }

    fn curves(&self) -> Vec<Curve<'_>> {
        let evaluated = self.state.trials.values().filter(|trial| trial.best().is_some());
        let base = |trial: &TrialState| self.state.base_of(trial);
        let mut curves: Vec<Curve<'_>> = evaluated
            .map(|trial| Curve {
                trial,
                points: from_base(trial, base(trial), |e| self.value(e)),
                flag: self.diagnoses.get(&trial.trial.id).map_or(Flag::Ok, |d| d.flag),
            })
            .collect();
        // The gap of a diverged run is noise of any size and sign.
        let all_diverged = curves.iter().all(|curve| curve.flag == Flag::Diverged);
        if self.quantity == Quantity::Gap && !all_diverged {
            curves.retain(|curve| curve.flag != Flag::Diverged);
        }
        curves
    }

    fn range(&self, curves: &[Curve<'_>]) -> (f64, f64) {
        let heights = |with_diverged: bool| -> Vec<f64> {
            let shown = curves.iter().filter(|c| with_diverged || c.flag != Flag::Diverged);
            // The common start of the losses says nothing about the spread of the runs.
            let is_loss = self.quantity == Quantity::EvalLoss;
            let from = usize::from(is_loss && self.base().is_some());
            shown.flat_map(|c| c.points.iter().skip(from).map(|p| p.1)).collect()
        };
        let tame = heights(false);
        let values = if tame.is_empty() { heights(true) } else { tame };
        let range = match self.quantity {
            Quantity::EvalLoss => robust_with(&values, self.base()),
            // A gap that runs away is what the picture is for.
            Quantity::Gap => whole(values.into_iter().chain([0.0])),
            Quantity::Score => whole(values.into_iter().chain(self.base())),
        };
        range.unwrap_or((0.0, 1.0))
    }

    /// The base model's value of what is drawn; a gap has none.
    fn base(&self) -> Option<f64> {
        let base = self.state.base.as_ref().filter(|_| self.quantity != Quantity::Gap)?;
        self.value(base)
    }

    fn legend(&self, curves: &[Curve<'_>], range: (f64, f64)) -> Vec<Entry> {
        let lang = self.lang;
        let mut legend = flags_legend(curves.iter().map(|curve| curve.flag), lang);
        legend.push(Entry::new(say!(lang, PlotMarks), Mark::Heading));
        let is_shown = |base: f64| (range.0..=range.1).contains(&base);
        if self.base().is_some_and(is_shown) {
            legend.push(Entry::new(say!(lang, PlotBaseModel), Mark::Line(Stroke::dashed(GREY, 3))));
        }
        if !curves.is_empty() {
            legend.push(Entry::new(say!(lang, PlotBestRun), Mark::Line(Stroke::solid(INK, 8))));
            legend
                .push(Entry::new(say!(lang, PlotBestEvaluation), Mark::Symbol(Symbol::Ring, INK)));
        }
        if curves.iter().any(|c| c.flag == Flag::Overfit) {
            legend.push(Entry::new("overfit", Mark::Symbol(Symbol::Triangle, INK)));
        }
        if curves.iter().any(|c| c.flag == Flag::Diverged) {
            legend.push(Entry::new("diverged", Mark::Symbol(Symbol::Cross, INK)));
        }
        legend
    }

    fn frame(&self, curves: &[Curve<'_>]) -> Frame {
        let last = curves.iter().filter_map(|c| c.points.last()).map(|p| p.0).fold(0.0, f64::max);
        let lang = self.lang;
        let runs = match self.state.trials.len() {
            1 => say!(lang, OneRun),
            n => say!(lang, AllRuns, n.to_string()),
        };
        let range = self.range(curves);
        let diverged = self.diagnoses.values().any(|d| d.flag == Flag::Diverged);
        let shown = curves.iter().any(|curve| curve.flag == Flag::Diverged);
        let left_out = if diverged && !shown { say!(lang, PlotLeftOut) } else { String::new() };
        let metric = printable_line(&self.state.objective.metric).into_owned();
        let (title, subtitle, y) = match self.quantity {
            Quantity::EvalLoss => (
                say!(lang, PlotAllRuns),
                say!(lang, PlotAllRunsHint, runs),
                say!(lang, PlotValidationLoss),
            ),
            Quantity::Gap => (
                say!(lang, PlotAllGaps),
                say!(lang, PlotAllGapsHint, runs, left_out),
                say!(lang, PlotGap),
            ),
            Quantity::Score => {
                let hint = match self.state.objective.goal {
                    Goal::Minimize => say!(lang, PlotLowerIsBetter, runs),
                    Goal::Maximize => say!(lang, PlotHigherIsBetter, runs),
                };
                (say!(lang, PlotAllScores, metric), hint, metric)
            }
        };
        Frame {
            title,
            subtitle,
            x: Axis::epochs(last),
            y: Axis::linear(&y, range),
            legend: self.legend(curves, range),
            grid: true,
            lang,
        }
    }

    fn best_run(&self, panel: &Panel<'_, '_>, curve: &Curve<'_>) -> Drawn {
        panel.curve(&curve.points, Stroke::solid(INK, 11))?;
        panel.curve(&curve.points, Stroke::solid(curve.color(), 6))?;
        let best = curve.trial.best();
        let Some(point) = best.and_then(|best| Some((best.epoch, self.value(best)?))) else {
            return Ok(());
        };
        panel.marker(point, Symbol::Ring, 13, INK)?;
        let id = curve.trial.trial.id;
        let value = match self.quantity {
            Quantity::EvalLoss | Quantity::Score => number::loss(point.1),
            Quantity::Gap => number::change(point.1),
        };
        let text = say!(self.lang, PlotTrial, id.to_string(), value);
        panel.annotate(&text, point, SMALL)
    }
}

impl Figure for OverlayFigure<'_> {
    fn name(&self) -> String {
        match self.quantity {
            Quantity::EvalLoss => "overview".to_owned(),
            Quantity::Gap => "gap".to_owned(),
            Quantity::Score => "metric".to_owned(),
        }
    }

    fn draw(&self, canvas: &Canvas<'_>) -> Drawn {
        let curves = self.curves();
        let panel = Panel::framed(canvas, self.frame(&curves))?;
        match (self.quantity, self.base()) {
            (Quantity::EvalLoss | Quantity::Score, Some(base)) => {
                panel.level(base, Stroke::dashed(GREY, 3))?;
            }
            (Quantity::EvalLoss | Quantity::Score, None) => {}
            (Quantity::Gap, _) => panel.level(0.0, Stroke::solid(GREY, 2))?,
        }
        if curves.is_empty() {
            return panel.remark(&say!(self.lang, PlotNoRun));
        }
        let alpha = (25.0 / curves.len() as f64).clamp(0.3, 0.9);
        let width = if curves.len() > 40 { 2 } else { 4 };
        for curve in &curves {
            let stroke = Stroke { alpha, ..Stroke::solid(curve.color(), width) };
            panel.curve(&curve.points, stroke)?;
        }
        let radius = if curves.len() > 40 { 5 } else { 9 };
        for curve in &curves {
            let Some(&(x, y)) = curve.points.last() else { continue };
            let symbol = match curve.flag {
                Flag::Overfit => Symbol::Triangle,
                Flag::Diverged => Symbol::Cross,
                _ => continue,
            };
            let radius = if symbol == Symbol::Cross { 9 } else { radius };
            panel.marker((x, y), symbol, radius, curve.color())?;
        }
        let best = Reference::of(self.state).best.map(|trial| trial.trial.id);
        curves
            .iter()
            .find(|curve| Some(curve.trial.trial.id) == best)
            .map_or(Ok(()), |curve| self.best_run(&panel, curve))
    }
}
