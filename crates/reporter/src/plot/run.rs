//! One run: train, validation and retention loss over epochs, and where it overfits.

use plotters::backend::DrawingBackend;
use spec::{Evaluation, TrialState};

use super::axis::Axis;
use super::canvas::{Align, Canvas, Font, Stroke, Symbol};
use super::clip::Point;
use super::palette::{BLUE, GREEN, GREY, INK, VERMILLION};
use super::panel::{Entry, Frame, Mark, Panel, SMALL};
use super::range::{Reach, robust_with};
use super::render::{Drawn, Figure};
use super::series::from_base;
use crate::diagnose::{Diagnosis, Flag};
use crate::number;
use crate::parameters::{self, PARAMETERS};

const SHADE: f64 = 0.13;

/// The curves of one run.
pub struct RunFigure<'a> {
    pub trial: &'a TrialState,
    pub base: Option<&'a Evaluation>,
    pub diagnosis: &'a Diagnosis,
}

impl RunFigure<'_> {
    fn series(&self, of: impl Fn(&Evaluation) -> Option<f64>) -> Vec<Point> {
        from_base(self.trial, self.base, of)
    }

    fn frame(&self, curves: [&[Point]; 3]) -> Frame {
        let config = &self.trial.trial.config;
        let shown: Vec<_> = PARAMETERS.iter().take(4).collect();
        let heights: Vec<f64> = curves.iter().flat_map(|curve| curve.iter().map(|p| p.1)).collect();
        let base = self.base.map(|base| base.eval_loss);
        let last = curves.iter().filter_map(|curve| curve.last()).map(|p| p.0).fold(0.0, f64::max);
        let mut legend = vec![
            Entry::new("validation", Mark::Both(Stroke::solid(VERMILLION, 5), Symbol::Disc)),
            Entry::new("train", Mark::Both(Stroke::solid(BLUE, 5), Symbol::Square)),
        ];
        if !curves[2].is_empty() {
            let mark = Mark::Both(Stroke::solid(GREEN, 4), Symbol::Triangle);
            legend.push(Entry::new("retention", mark));
        }
        if base.is_some() {
            let label = "base, validation";
            legend.push(Entry::new(label, Mark::Line(Stroke::dashed(GREY, 3))));
        }
        if self.trial.best().is_some() {
            legend.push(Entry::new("best evaluation", Mark::Symbol(Symbol::Ring, INK)));
        }
        if self.diagnosis.overfit.is_some() {
            legend.push(Entry::new("overfitting", Mark::Area(VERMILLION, SHADE)));
        }
        Frame {
            title: format!("Trial {}: {}", self.trial.trial.id, headline(self.diagnosis)),
            subtitle: parameters::describe(config, &shown),
            x: Axis::epochs(last),
            y: Axis::linear(
                "loss (nats per token)",
                robust_with(&heights, base, Reach::Far).unwrap_or((0.0, 1.0)),
            ),
            legend,
            grid: true,
        }
    }

    fn shade<DB: DrawingBackend>(&self, panel: &Panel<'_, DB>) -> Drawn<DB> {
        let Some(overfit) = &self.diagnosis.overfit else { return Ok(()) };
        let ((_, top), (_, bottom)) = panel.corners();
        let from = panel.at((overfit.best_epoch, 0.0)).0;
        let to = panel.at((overfit.end_epoch, 0.0)).0;
        panel.canvas.fill((from, top), (to, bottom), VERMILLION, SHADE)
    }

    fn label_overfitting<DB: DrawingBackend>(&self, panel: &Panel<'_, DB>) -> Drawn<DB> {
        let Some(overfit) = &self.diagnosis.overfit else { return Ok(()) };
        let text = format!(
            "overfits after epoch {}: {}",
            number::epoch(overfit.best_epoch),
            number::change(overfit.rise)
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

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Drawn<DB> {
        let validation = self.series(|e| Some(e.eval_loss));
        let train = self.series(|e| e.train_loss);
        let retention = self.series(|e| e.retention_loss);
        let frame = self.frame([&validation, &train, &retention]);
        let panel = Panel::framed(canvas, frame)?;
        self.shade(&panel)?;
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
            return panel.remark("not evaluated");
        };
        let point = (best.epoch, best.eval_loss);
        panel.marker(point, Symbol::Ring, 14, INK)?;
        panel.marker(point, Symbol::Disc, 8, VERMILLION)?;
        let text =
            format!("best {} at epoch {}", number::loss(best.eval_loss), number::epoch(best.epoch));
        panel.annotate(&text, point, SMALL)
    }
}

fn headline(diagnosis: &Diagnosis) -> &'static str {
    match diagnosis.flag {
        Flag::Ok => "no problem found",
        Flag::Overfit => "overfits",
        Flag::Underfit => "underfits",
        Flag::TooSlow => "too slow",
        flag => flag.name(),
    }
}
