//! Gap against validation loss: each run at its best evaluation, with a tail to where it ended.

use std::collections::BTreeMap;

use spec::{Evaluation, SweepState, TrialId, TrialState};

use super::axis::Axis;
use super::canvas::{Canvas, Drawn, Stroke, Symbol};
use super::clip::Point;
use super::palette::{GREY, INK, of_flag};
use super::panel::{Entry, Frame, Mark, Panel, SMALL};
use super::range::{robust, whole};
use super::render::Figure;
use super::shades::flags_legend;
use crate::diagnose::{Diagnosis, Flag, Reference};
use crate::number;
use crate::text::{Lang, say};

/// Gap against validation loss.
pub struct ScatterFigure<'a> {
    pub state: &'a SweepState,
    pub diagnoses: &'a BTreeMap<TrialId, Diagnosis>,
    pub lang: Lang,
}

fn place(evaluation: &Evaluation) -> Option<Point> {
    Some((evaluation.eval_loss, evaluation.gap()?))
}

impl ScatterFigure<'_> {
    fn flag(&self, trial: &TrialState) -> Flag {
        self.diagnoses.get(&trial.trial.id).map_or(Flag::Ok, |d| d.flag)
    }

    fn symbol(&self, trial: &TrialState) -> Symbol {
        match self.flag(trial) {
            Flag::Overfit => Symbol::Triangle,
            Flag::Diverged => Symbol::Cross,
            _ => Symbol::Disc,
        }
    }

    /// The evaluated runs; diverged ones only when there are no others.
    fn shown(&self) -> Vec<&TrialState> {
        let evaluated: Vec<&TrialState> =
            self.state.trials.values().filter(|trial| trial.best().is_some()).collect();
        let tame: Vec<&TrialState> =
            evaluated.iter().copied().filter(|t| self.flag(t) != Flag::Diverged).collect();
        if tame.is_empty() { evaluated } else { tame }
    }

    fn leaves_out(&self) -> bool {
        let evaluated = self.state.trials.values().filter(|trial| trial.best().is_some());
        evaluated.count() > self.shown().len()
    }

    fn frame(&self) -> Frame {
        let (lang, shown) = (self.lang, self.shown());
        let ends = || {
            let pairs = shown.iter().flat_map(|trial| [trial.best(), trial.last()]);
            pairs.flatten().filter_map(place)
        };
        let x: Vec<f64> = ends().map(|p| p.0).collect();
        let y: Vec<f64> = ends().map(|p| p.1).collect();
        let mut legend = flags_legend(shown.iter().map(|trial| self.flag(trial)), lang);
        legend.push(Entry::new(say!(lang, PlotAtBest), Mark::Heading));
        legend.push(Entry::new(say!(lang, PlotRun), Mark::Symbol(Symbol::Disc, INK)));
        let any = |flag: Flag| shown.iter().any(|trial| self.flag(trial) == flag);
        if any(Flag::Overfit) {
            legend
                .push(Entry::new(say!(lang, PlotOverfitRun), Mark::Symbol(Symbol::Triangle, INK)));
        }
        if any(Flag::Diverged) {
            legend.push(Entry::new(say!(lang, PlotDivergedRun), Mark::Symbol(Symbol::Cross, INK)));
        }
        legend.push(Entry::new(say!(lang, PlotToEnd), Mark::Line(Stroke::solid(GREY, 3))));
        let left_out = if self.leaves_out() { say!(lang, PlotLeftOut) } else { String::new() };
        Frame {
            title: say!(lang, PlotGapTitle),
            subtitle: say!(lang, PlotGapHint, left_out),
            x: Axis::linear(&say!(lang, PlotValidationLoss), robust(&x).unwrap_or((0.0, 1.0))),
            y: Axis::linear(
                &say!(lang, PlotGap),
                whole(y.iter().copied().chain((!y.is_empty()).then_some(0.0)))
                    .unwrap_or((0.0, 1.0)),
            ),
            legend,
            grid: true,
            lang,
        }
    }
}

impl Figure for ScatterFigure<'_> {
    fn name(&self) -> String {
        "gap_vs_loss".to_owned()
    }

    fn draw(&self, canvas: &Canvas<'_>) -> Drawn {
        let panel = Panel::framed(canvas, self.frame())?;
        panel.level(0.0, Stroke::solid(GREY, 2))?;
        let evaluated: Vec<(&TrialState, Point, Point)> = self
            .shown()
            .into_iter()
            .filter_map(|trial| Some((trial, place(trial.best()?)?, place(trial.last()?)?)))
            .collect();
        let color = |trial: &TrialState| of_flag(self.flag(trial));
        let alpha = (25.0 / evaluated.len().max(1) as f64).clamp(0.25, 0.7);
        for (trial, best, last) in &evaluated {
            let stroke = Stroke { alpha, ..Stroke::solid(color(trial), 3) };
            panel.segment(*best, *last, stroke)?;
        }
        let radius = if evaluated.len() > 40 { 8 } else { 12 };
        for (trial, best, _) in &evaluated {
            panel.marker(*best, self.symbol(trial), radius, color(trial))?;
        }
        let best = Reference::of(self.state).best;
        let Some((trial, evaluation)) = best.and_then(|trial| Some((trial, trial.best()?))) else {
            return panel.remark(&say!(self.lang, PlotNoRun));
        };
        let Some(at) = place(evaluation) else {
            return panel.remark(&say!(self.lang, PlotNoTrainLoss));
        };
        panel.outlined(at, radius + 8, INK)?;
        let (id, loss) = (trial.trial.id.to_string(), number::loss(evaluation.eval_loss));
        panel.annotate(&say!(self.lang, PlotBestTrial, id, loss), at, SMALL)
    }
}
