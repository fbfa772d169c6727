//! One run: train, validation and retention loss over epochs, and where it overfits.

use spec::{Evaluation, TrialState};

use super::axis::Axis;
use super::canvas::{Align, Canvas, Drawn, Font, Stroke, Symbol};
use super::clip::{Point, clip};
use super::palette::{BLUE, GREEN, GREY, INK, VERMILLION};
use super::panel::{Entry, Frame, Mark, Panel, SMALL};
use super::range::robust_with;
use super::render::Figure;
use super::series::from_base;
use crate::compare::Z95;
use crate::diagnose::{Diagnosis, Flag, Note};
use crate::number;
use crate::parameters;
use crate::text::{Lang, say};

const SHADE: f64 = 0.13;
const BAND: f64 = 0.3;

/// The curves of one run.
pub struct RunFigure<'a> {
    pub trial: &'a TrialState,
    pub base: Option<&'a Evaluation>,
    pub diagnosis: &'a Diagnosis,
    pub lang: Lang,
}

impl RunFigure<'_> {
    fn series(&self, of: impl Fn(&Evaluation) -> Option<f64>) -> Vec<Point> {
        from_base(self.trial, self.base, of)
    }

    fn frame(&self, curves: [&[Point]; 3]) -> Frame {
        let lang = self.lang;
        let config = &self.trial.trial.config;
        let shown: Vec<_> = parameters::most_tuned().collect();
        // The turn of the validation loss is what the picture is for: neither the base model, from
        // which every curve falls steeply, nor the retention loss stretches the axis.
        let own = curves[..2].iter().flat_map(|curve| curve.iter().filter(|p| p.0 > 0.0));
        let heights: Vec<f64> = own.map(|p| p.1).collect();
        let base = self.base.map(|base| base.eval_loss);
        let range = robust_with(&heights, base).unwrap_or((0.0, 1.0));
        // What lies out of the axis has no entry: a reader would look for it in vain.
        let is_shown = |loss: &f64| (range.0..=range.1).contains(loss);
        let last = curves.iter().filter_map(|curve| curve.last()).map(|p| p.0).fold(0.0, f64::max);
        let mut legend = vec![
            Entry::new("validation", Mark::Both(Stroke::solid(VERMILLION, 5), Symbol::Disc)),
            Entry::new("train", Mark::Both(Stroke::solid(BLUE, 5), Symbol::Square)),
        ];
        if !self.diagnosis.smooth.is_empty() {
            legend.push(Entry::new(say!(lang, PlotSmooth), Mark::Area(VERMILLION, BAND)));
        }
        if !clip(curves[2], range.0, range.1).is_empty() {
            let mark = Mark::Both(Stroke::solid(GREEN, 4), Symbol::Triangle);
            legend.push(Entry::new("retention", mark));
        }
        if base.as_ref().is_some_and(is_shown) {
            let label = say!(lang, PlotBaseValidation);
            legend.push(Entry::new(label, Mark::Line(Stroke::dashed(GREY, 3))));
        }
        if self.trial.best().is_some() {
            legend
                .push(Entry::new(say!(lang, PlotBestEvaluation), Mark::Symbol(Symbol::Ring, INK)));
        }
        if self.diagnosis.overfit.is_some() {
            legend.push(Entry::new(say!(lang, PlotOverfitting), Mark::Area(VERMILLION, SHADE)));
        }
        Frame {
            title: say!(lang, PlotTrialTitle, self.trial.trial.id.to_string(), self.headline()),
            subtitle: parameters::describe(config, &shown),
            x: Axis::epochs(last),
            y: Axis::linear(&say!(lang, PlotLoss), range),
            legend,
            grid: true,
            lang,
        }
    }

    fn headline(&self) -> String {
        let lang = self.lang;
        let memorizes = self.diagnosis.notes.contains(&Note::Memorizing);
        match (self.diagnosis.flag, self.diagnosis.memorizes_from.filter(|_| memorizes)) {
            (Flag::Ok, Some(from)) => say!(lang, PlotMemorizes, number::epoch(from)),
            (Flag::Ok, None) => say!(lang, PlotNoProblem),
            (Flag::Overfit, _) => {
                let probability = self.diagnosis.overfit_probability.unwrap_or_default();
                say!(lang, PlotOverfits, number::percent(probability))
            }
            (Flag::Underfit, _) => say!(lang, PlotUnderfits),
            (Flag::TooSlow, _) => say!(lang, PlotTooSlow),
            (flag, _) => flag.name().to_owned(),
        }
    }

    fn shade(&self, panel: &Panel<'_, '_>) -> Drawn {
        let Some(overfit) = &self.diagnosis.overfit else { return Ok(()) };
        let ((_, top), (_, bottom)) = panel.corners();
        let from = panel.at((overfit.best_epoch, 0.0)).0;
        let to = panel.at((overfit.end_epoch, 0.0)).0;
        panel.canvas.fill((from, top), (to, bottom), VERMILLION, SHADE)
    }

    /// The smooth validation loss between its 95 % limits.
    fn band(&self, panel: &Panel<'_, '_>) -> Drawn {
        let smooth = &self.diagnosis.smooth;
        if smooth.len() < 2 {
            return Ok(());
        }
        let at = |z: f64| -> Vec<Point> {
            smooth.iter().map(|point| (point.epoch, point.loss + z * point.deviation)).collect()
        };
        panel.band(&at(-Z95), &at(Z95), VERMILLION, BAND)?;
        panel.curve(&at(0.0), Stroke::dashed(VERMILLION, 2))
    }

    fn label_overfitting(&self, panel: &Panel<'_, '_>) -> Drawn {
        let Some(overfit) = &self.diagnosis.overfit else { return Ok(()) };
        let text = say!(
            self.lang,
            PlotOverfitsAfter,
            number::epoch(overfit.best_epoch),
            number::change(overfit.rise),
            number::percent(overfit.rise_share)
        );
        let ((left, top), (right, _)) = panel.corners();
        let from = panel.at((overfit.best_epoch, 0.0)).0;
        let to = panel.at((overfit.end_epoch, 0.0)).0;
        let font = Font { bold: true, color: VERMILLION, ..SMALL };
        let half = panel.canvas.text_width(&text, font)? / 2 + 10;
        let middle = i32::midpoint(from, to).clamp(left + half, (right - half).max(left + half));
        panel.canvas.label(&text, (middle, top + 26), Align::Center, font)
    }
}

impl Figure for RunFigure<'_> {
    fn name(&self) -> String {
        format!("runs/trial-{}", self.trial.trial.id)
    }

    fn draw(&self, canvas: &Canvas<'_>) -> Drawn {
        let validation = self.series(|e| Some(e.eval_loss));
        let train = self.series(|e| e.train_loss);
        let retention = self.series(|e| e.retention_loss);
        let frame = self.frame([&validation, &train, &retention]);
        let panel = Panel::framed(canvas, frame)?;
        self.shade(&panel)?;
        self.band(&panel)?;
        if let Some(base) = self.base {
            panel.level(base.eval_loss, Stroke::dashed(GREY, 3))?;
        }
        let styles = [
            (&retention, Stroke::solid(GREEN, 4), Symbol::Triangle),
            (&train, Stroke::solid(BLUE, 5), Symbol::Square),
            (&validation, Stroke::solid(VERMILLION, 5), Symbol::Disc),
        ];
        for (points, stroke, symbol) in styles {
            panel.curve(points, stroke)?;
            if points.len() <= 30 {
                for &point in points.iter().filter(|p| panel.shows(p.1)) {
                    panel.marker(point, symbol, 8, stroke.color)?;
                }
            }
        }
        self.label_overfitting(&panel)?;
        let Some(best) = self.trial.best() else {
            return panel.remark(&say!(self.lang, PlotNotEvaluated));
        };
        let point = (best.epoch, best.eval_loss);
        panel.marker(point, Symbol::Ring, 14, INK)?;
        panel.marker(point, Symbol::Disc, 8, VERMILLION)?;
        let (loss, epoch) = (number::loss(best.eval_loss), number::epoch(best.epoch));
        let text = say!(self.lang, PlotBestAt, loss, epoch);
        panel.annotate(&text, point, SMALL)
    }
}
