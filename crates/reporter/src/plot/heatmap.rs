//! Rank against learning rate: the best validation loss of every combination.

use std::collections::BTreeMap;

use plotters::style::RGBColor;
use spec::{SweepState, TrialId};

use super::axis::Axis;
use super::canvas::{Align, Canvas, Drawn, Font, Stroke};
use super::palette::{EMPTY, FAINT_INK, GREY, INK, ink_on, viridis};
use super::panel::{Entry, Frame, Mark, Panel};
use super::range::bulk;
use super::render::Figure;
use super::shades::distinct;
use crate::diagnose::{Diagnosis, Flag};
use crate::number;
use crate::text::{Lang, say};

/// Columns or rows that can still be read; more values than that share cells.
const MOST: usize = 10;

/// The heat map of rank and learning rate.
pub struct HeatMapFigure<'a> {
    pub state: &'a SweepState,
    pub diagnoses: &'a BTreeMap<TrialId, Diagnosis>,
    pub lang: Lang,
}

/// What the runs of one cell came to.
#[derive(Clone, Copy, PartialEq)]
enum Cell {
    Empty,
    /// Runs, but none with an evaluation yet.
    Unknown,
    Diverged,
    Loss(f64),
}

/// Neighbouring values of a parameter that share a column or row.
struct Bins {
    groups: Vec<Vec<f64>>,
}

impl Bins {
    fn of(values: &[f64]) -> Self {
        let per_group = values.len().div_ceil(MOST).max(1);
        Self { groups: values.chunks(per_group).map(<[f64]>::to_vec).collect() }
    }

    fn find(&self, value: f64) -> Option<usize> {
        // Groups and their values ascend.
        let at = self.groups.partition_point(|group| group[0] <= value).checked_sub(1)?;
        self.groups[at].binary_search_by(|known| known.total_cmp(&value)).ok().map(|_| at)
    }

    /// A tick in the middle of every cell; where cells hold several values, ticks between the
    /// cells at the value that begins each.
    fn axis(&self, title: &str, write: fn(f64) -> String) -> Axis {
        let shared = self.groups.iter().any(|group| group.len() > 1);
        let offset = if shared { 0.0 } else { 0.5 };
        let firsts = self.groups.iter().filter_map(|group| group.first());
        let last = self.groups.last().and_then(|group| group.last()).filter(|_| shared);
        let ticks = firsts.chain(last).enumerate();
        Axis {
            title: title.to_owned(),
            low: 0.0,
            high: self.groups.len().max(1) as f64,
            log: false,
            ticks: ticks.map(|(at, value)| (at as f64 + offset, write(*value))).collect(),
        }
    }
}

struct Grid {
    rates: Bins,
    ranks: Bins,
    /// By rank, then learning rate.
    cells: Vec<Vec<Cell>>,
}

impl HeatMapFigure<'_> {
    fn grid(&self) -> Grid {
        let configs = || self.state.trials.values().map(|t| &t.trial.config);
        let rates = Bins::of(&distinct(configs().map(|c| c.learning_rate)));
        let ranks = Bins::of(&distinct(configs().map(|c| f64::from(c.rank))));
        let mut cells = vec![vec![Cell::Empty; rates.groups.len()]; ranks.groups.len()];
        for trial in self.state.trials.values() {
            let config = &trial.trial.config;
            let place = ranks.find(f64::from(config.rank)).zip(rates.find(config.learning_rate));
            let Some((row, column)) = place else { continue };
            let flag = self.diagnoses.get(&trial.trial.id).map(|d| d.flag);
            let own = match trial.best() {
                _ if flag == Some(Flag::Diverged) => Cell::Diverged,
                Some(best) => Cell::Loss(best.eval_loss),
                None => Cell::Unknown,
            };
            let cell = &mut cells[row][column];
            *cell = better(*cell, own);
        }
        Grid { rates, ranks, cells }
    }
}

/// A loss beats anything else, the lower the better; then what is known beats what is not.
fn better(a: Cell, b: Cell) -> Cell {
    match (a, b) {
        (Cell::Loss(x), Cell::Loss(y)) => Cell::Loss(x.min(y)),
        (Cell::Loss(x), _) | (_, Cell::Loss(x)) => Cell::Loss(x),
        (Cell::Diverged, _) | (_, Cell::Diverged) => Cell::Diverged,
        (Cell::Unknown, _) | (_, Cell::Unknown) => Cell::Unknown,
        (Cell::Empty, Cell::Empty) => Cell::Empty,
    }
}

/// Low losses are bright; the range is that of the bulk, so that one bad cell does not flatten
/// the rest.
fn color(loss: f64, (low, high): (f64, f64)) -> RGBColor {
    viridis(if high > low { 1.0 - (loss - low) / (high - low) } else { 1.0 })
}

impl Figure for HeatMapFigure<'_> {
    fn name(&self) -> String {
        "heatmap".to_owned()
    }

    fn draw(&self, canvas: &Canvas<'_>) -> Drawn {
        let (lang, grid) = (self.lang, self.grid());
        let losses: Vec<f64> = grid
            .cells
            .iter()
            .flatten()
            .filter_map(|cell| if let Cell::Loss(loss) = cell { Some(*loss) } else { None })
            .collect();
        let range = bulk(&losses).unwrap_or((0.0, 1.0));
        let frame = Frame {
            title: say!(lang, PlotHeatMap),
            subtitle: say!(lang, PlotHeatMapHint),
            x: grid.rates.axis("learning rate", number::rough_learning_rate),
            y: grid.ranks.axis("LoRA rank r", |rank| rank.to_string()),
            legend: legend(&grid, &losses, range, lang),
            grid: false,
            lang,
        };
        let panel = Panel::framed(canvas, frame)?;
        if grid.cells.is_empty() {
            return panel.remark(&say!(lang, PlotNoRuns));
        }
        let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
        let columns = grid.rates.groups.len();
        let mut best = None;
        for (row, cells) in grid.cells.iter().enumerate() {
            for (column, &cell) in cells.iter().enumerate() {
                let from = panel.at((column as f64, row as f64 + 1.0));
                let to = panel.at((column as f64 + 1.0, row as f64));
                draw_cell(canvas, &cell_text(cell, columns, lang), ground(cell, range), from, to)?;
                if cell == Cell::Loss(lowest) {
                    best = Some((from, to));
                }
            }
        }
        best.map_or(Ok(()), |(from, to)| {
            let inset = |(x, y): (i32, i32), by: i32| (x + by, y + by);
            canvas.outline(inset(from, 5), inset(to, -5), Stroke::solid(INK, 7))
        })
    }
}

fn legend(grid: &Grid, losses: &[f64], range: (f64, f64), lang: Lang) -> Vec<Entry> {
    let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = losses.iter().copied().fold(f64::NEG_INFINITY, f64::max).min(range.1);
    let mut legend = Vec::new();
    if lowest < highest {
        legend.push(Entry::new("loss", Mark::Heading));
        for at in 0..6 {
            let loss = lowest + (highest - lowest) * f64::from(at) / 5.0;
            legend.push(Entry::new(short(loss, lang), Mark::Area(color(loss, range), 1.0)));
        }
    }
    legend.push(Entry::new(say!(lang, PlotCells), Mark::Heading));
    if !losses.is_empty() {
        legend.push(Entry::new(say!(lang, PlotBest), Mark::Line(Stroke::solid(INK, 7))));
    }
    let has = |wanted: Cell| grid.cells.iter().flatten().any(|cell| *cell == wanted);
    if has(Cell::Diverged) {
        legend.push(Entry::new("diverged", Mark::Area(GREY, 1.0)));
    }
    if has(Cell::Empty) {
        legend.push(Entry::new(say!(lang, PlotNotTried), Mark::Area(EMPTY, 1.0)));
    }
    if has(Cell::Unknown) {
        legend.push(Entry::new(say!(lang, PlotUnknown), Mark::Area(EMPTY, 1.0)));
    }
    legend
}

fn short(loss: f64, lang: Lang) -> String {
    lang.number(&format!("{loss:.3}")).into_owned()
}

fn cell_text(cell: Cell, columns: usize, lang: Lang) -> String {
    match cell {
        Cell::Empty => "–".to_owned(),
        Cell::Unknown => "?".to_owned(),
        Cell::Diverged => if columns > 6 { "div." } else { "diverged" }.to_owned(),
        Cell::Loss(loss) => short(loss, lang),
    }
}

fn ground(cell: Cell, range: (f64, f64)) -> RGBColor {
    match cell {
        Cell::Empty | Cell::Unknown => EMPTY,
        Cell::Diverged => GREY,
        Cell::Loss(loss) => color(loss, range),
    }
}

fn draw_cell(
    canvas: &Canvas<'_>,
    text: &str,
    ground: RGBColor,
    from: (i32, i32),
    to: (i32, i32),
) -> Drawn {
    let gap = 2;
    canvas.fill((from.0 + gap, from.1 + gap), (to.0 - gap, to.1 - gap), ground, 1.0)?;
    let size = ((to.0 - from.0) / 4).clamp(20, 38) as u32;
    let ink = if ground == EMPTY { FAINT_INK } else { ink_on(ground) };
    let font = Font { size, bold: false, color: ink };
    let middle = (i32::midpoint(from.0, to.0), i32::midpoint(from.1, to.1));
    canvas.text(text, middle, Align::Center, font)
}
