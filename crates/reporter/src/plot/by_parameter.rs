//! Best validation loss against one parameter, a line per value of another: against learning
//! rate per rank, and against rank per learning rate.

use std::collections::{BTreeMap, HashMap};

use plotters::style::RGBColor;
use spec::{Parameter, SweepState, TrialConfig, TrialId, TrialState};

use super::axis::Axis;
use super::canvas::{Canvas, Drawn, Stroke, Symbol};
use super::clip::Point;
use super::palette::{GREY, INK};
use super::panel::{Entry, Frame, Mark, Panel, SMALL};
use super::range::robust_with;
use super::render::Figure;
use super::shades::{LISTED, Shades, distinct};
use crate::diagnose::{Diagnosis, Flag, Reference};
use crate::number;
use crate::text::{Lang, say};

/// More places than this along the axis mean that values were drawn at random: joining the runs
/// would only draw noise.
const MOST_JOINED: usize = 12;

/// The parameter along the x axis; the other one distinguishes the lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Along {
    LearningRate,
    Rank,
}

impl Along {
    fn x(self, config: &TrialConfig) -> f64 {
        match self {
            Self::LearningRate => config.learning_rate,
            Self::Rank => f64::from(config.rank),
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::LearningRate => Self::Rank,
            Self::Rank => Self::LearningRate,
        }
    }

    fn value(self, value: f64) -> String {
        match self {
            Self::LearningRate => number::learning_rate(value),
            Self::Rank => value.to_string(),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::LearningRate => Parameter::LearningRate.row().label,
            Self::Rank => Parameter::Rank.row().label,
        }
    }
}

/// Best validation loss against a parameter.
pub struct ByParameterFigure<'a> {
    pub state: &'a SweepState,
    pub diagnoses: &'a BTreeMap<TrialId, Diagnosis>,
    pub along: Along,
    pub lang: Lang,
}

/// The runs with one value of the other parameter.
struct Line {
    label: String,
    color: RGBColor,
    symbol: Symbol,
    /// Best loss at each place, ascending.
    points: Vec<Point>,
}

impl ByParameterFigure<'_> {
    fn diverged(&self, trial: &TrialState) -> bool {
        let flag = self.diagnoses.get(&trial.trial.id).map(|d| d.flag);
        flag == Some(Flag::Diverged)
    }

    fn places(&self, along: Along) -> Vec<f64> {
        distinct(self.state.trials.values().map(|t| along.x(&t.trial.config)))
    }

    fn lines(&self) -> Vec<Line> {
        let values = self.places(self.along.other());
        let shades = Shades::of(values.clone());
        let mut points = self.lowest_at_each_place();
        let line = |(at, value): (usize, f64)| Line {
            label: self.along.other().value(value),
            color: shades.color(value),
            symbol: Symbol::nth(at),
            points: points.remove(&value.to_bits()).unwrap_or_default(),
        };
        values.into_iter().enumerate().map(line).collect()
    }

    /// The lowest loss at each place, by the (bits of the) value of the other parameter.
    fn lowest_at_each_place(&self) -> HashMap<u64, Vec<Point>> {
        let mut lines: HashMap<u64, Vec<Point>> = HashMap::new();
        for trial in self.state.trials.values().filter(|trial| !self.diverged(trial)) {
            let (config, Some(best)) = (&trial.trial.config, trial.best()) else { continue };
            let line = lines.entry(self.along.other().x(config).to_bits()).or_default();
            line.push((self.along.x(config), best.eval_loss));
        }
        for points in lines.values_mut() {
            points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            points.dedup_by(|later, earlier| later.0 == earlier.0);
        }
        lines
    }

    /// Are the lines few enough to have a symbol each?
    fn listed(lines: &[Line]) -> bool {
        lines.len() <= LISTED
    }

    fn joined(&self, lines: &[Line]) -> bool {
        Self::listed(lines) && self.places(self.along).len() <= MOST_JOINED
    }

    /// The lines' colours and symbols; of many, the shades of round values.
    fn explained(&self, lines: &[Line]) -> Vec<Entry> {
        if !Self::listed(lines) {
            let shades = Shades::of(self.places(self.along.other()));
            let entry = |value: f64| {
                let mark = Mark::Symbol(Symbol::Disc, shades.color(value));
                Entry::new(self.along.other().value(value), mark)
            };
            return shades.samples().into_iter().map(entry).collect();
        }
        let joined = self.joined(lines);
        let mark = |line: &Line| {
            if joined {
                Mark::Both(Stroke::solid(line.color, 5), line.symbol)
            } else {
                Mark::Symbol(line.symbol, line.color)
            }
        };
        lines.iter().map(|line| Entry::new(line.label.clone(), mark(line))).collect()
    }

    fn frame(&self, lines: &[Line]) -> Frame {
        let lang = self.lang;
        let heights: Vec<f64> =
            lines.iter().flat_map(|line| line.points.iter().map(|p| p.1)).collect();
        let base = self.state.base.as_ref().map(|base| base.eval_loss);
        let mut legend = vec![Entry::new(self.along.other().words(), Mark::Heading)];
        legend.extend(self.explained(lines));
        legend.push(Entry::new(say!(lang, PlotMarks), Mark::Heading));
        let range = robust_with(&heights, base).unwrap_or((0.0, 1.0));
        if let Some(base) = base {
            let label = if base > range.1 {
                say!(lang, PlotBaseAbove, number::loss(base))
            } else {
                say!(lang, PlotBaseAt, number::loss(base))
            };
            legend.push(Entry::new(label, Mark::Line(Stroke::dashed(GREY, 3))));
        }
        if !heights.is_empty() {
            legend.push(Entry::new(say!(lang, PlotBestRun), Mark::Symbol(Symbol::Ring, INK)));
        }
        if self.state.trials.values().any(|trial| self.diverged(trial)) {
            legend.push(Entry::new("diverged", Mark::Symbol(Symbol::Cross, INK)));
        }
        let places = self.places(self.along);
        Frame {
            title: say!(lang, PlotBestAgainst, self.along.words()),
            subtitle: say!(lang, PlotBestAgainstHint),
            x: match self.along {
                Along::LearningRate => Axis::learning_rates(&say!(lang, PlotRates), &places),
                Along::Rank => Axis::ranks(&say!(lang, PlotRanks), &places),
            },
            y: Axis::linear(&say!(lang, PlotBestLoss), range),
            legend,
            grid: true,
            lang,
        }
    }

    /// Diverged runs stand at the top edge, wherever their losses went.
    fn diverged_marks(&self, panel: &Panel<'_, '_>) -> Drawn {
        for trial in self.state.trials.values().filter(|trial| self.diverged(trial)) {
            let point = (self.along.x(&trial.trial.config), f64::MAX);
            panel.marker(point, Symbol::Cross, 10, INK)?;
        }
        Ok(())
    }
}

impl Figure for ByParameterFigure<'_> {
    fn name(&self) -> String {
        match self.along {
            Along::LearningRate => Parameter::LearningRate.to_string(),
            Along::Rank => Parameter::Rank.to_string(),
        }
    }

    fn draw(&self, canvas: &Canvas<'_>) -> Drawn {
        let lines = self.lines();
        let panel = Panel::framed(canvas, self.frame(&lines))?;
        if let Some(base) = &self.state.base {
            panel.level(base.eval_loss, Stroke::dashed(GREY, 3))?;
        }
        if self.joined(&lines) {
            for line in &lines {
                panel.curve(&line.points, Stroke::solid(line.color, 5))?;
            }
        }
        for line in &lines {
            let symbol = if Self::listed(&lines) { line.symbol } else { Symbol::Disc };
            for &point in line.points.iter().filter(|p| panel.shows(p.1)) {
                panel.marker(point, symbol, 11, line.color)?;
            }
        }
        self.diverged_marks(&panel)?;
        let Some((trial, best)) =
            Reference::of(self.state).best.and_then(|trial| Some((trial, trial.best()?)))
        else {
            return panel.remark(&say!(self.lang, PlotNoRun));
        };
        let point = (self.along.x(&trial.trial.config), best.eval_loss);
        if !panel.shows(point.1) {
            return Ok(());
        }
        panel.outlined(point, 20, INK)?;
        let (id, loss) = (trial.trial.id.to_string(), number::loss(best.eval_loss));
        let text = say!(self.lang, PlotTrial, id, loss);
        panel.annotate(&text, point, SMALL)
    }
}
