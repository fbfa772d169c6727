//! A titled panel with two axes and a legend beside it, never over the data.

use std::cell::RefCell;

use plotters::style::RGBColor;

use super::axis::Axis;
use super::canvas::{Align, Canvas, Drawn, Failure, Font, Pixel, SIZE, Stroke, Symbol};
use super::clip::{Point, clip};
use super::palette::{FAINT_INK, GRID, INK};
use crate::text::Lang;

const TITLE: Font = Font { size: 44, bold: true, color: INK };
const SUBTITLE: Font = Font { size: 29, bold: false, color: FAINT_INK };
pub const LABEL: Font = Font { size: 29, bold: false, color: INK };
pub const SMALL: Font = Font { size: 27, bold: false, color: INK };

const LEFT: i32 = 165;
const TOP: i32 = 160;
const BOTTOM: i32 = SIZE.1 as i32 - 120;
const RIGHT_MARGIN: i32 = 45;
const LEGEND_LINE: i32 = 42;

/// One line of a legend.
#[derive(Debug, Clone)]
pub struct Entry {
    pub label: String,
    pub mark: Mark,
}

/// What a legend's line explains.
#[derive(Debug, Clone, Copy)]
pub enum Mark {
    /// A heading over the lines below it.
    Heading,
    Line(Stroke),
    Symbol(Symbol, RGBColor),
    /// A line with a marker on it.
    Both(Stroke, Symbol),
    Area(RGBColor, f64),
}

impl Entry {
    pub fn new(label: impl Into<String>, mark: Mark) -> Self {
        Self { label: label.into(), mark }
    }
}

/// What is written around the data.
pub struct Frame {
    pub title: String,
    pub subtitle: String,
    pub x: Axis,
    pub y: Axis,
    pub legend: Vec<Entry>,
    /// Draw lines at the ticks.
    pub grid: bool,
    /// The language of the numbers at the ticks.
    pub lang: Lang,
}

/// The inside of a frame, in data coordinates.
pub struct Panel<'a, 'p> {
    pub canvas: &'a Canvas<'p>,
    x: Axis,
    y: Axis,
    lang: Lang,
    right: i32,
    /// Lines and markers drawn so far, which labels keep clear of.
    inked: RefCell<Vec<(Pixel, Pixel)>>,
}

impl<'a, 'p> Panel<'a, 'p> {
    /// Draws everything around the data and returns the inside.
    pub fn framed(canvas: &'a Canvas<'p>, frame: Frame) -> Result<Self, Failure> {
        canvas.text(&frame.title, (LEFT, 50), Align::Left, TITLE)?;
        canvas.text(&frame.subtitle, (LEFT, 104), Align::Left, SUBTITLE)?;
        let Frame { x, y, legend, grid, lang, .. } = frame;
        let legend = without_empty_headings(legend);
        let right = SIZE.0 as i32 - RIGHT_MARGIN - legend_width(canvas, &legend)?;
        let inked = RefCell::default();
        let panel = Self { canvas, x, y, lang, right, inked };
        panel.axes(grid)?;
        panel.legend(&legend)?;
        Ok(panel)
    }

    /// Pixels of a point, at most some pictures beyond the panel: other trainers may report an epoch
    /// or a loss of any size.
    pub fn at(&self, (x, y): Point) -> Pixel {
        const FAR: f64 = 10.0;
        let width = f64::from(self.right - LEFT);
        let height = f64::from(BOTTOM - TOP);
        (
            LEFT + (self.x.share(x).clamp(-FAR, FAR) * width).round() as i32,
            BOTTOM - (self.y.share(y).clamp(-FAR, FAR) * height).round() as i32,
        )
    }

    /// Pixels of the top left and bottom right corner of the inside.
    pub const fn corners(&self) -> (Pixel, Pixel) {
        ((LEFT, TOP), (self.right, BOTTOM))
    }

    /// A curve, cut at the panel's top and bottom.
    pub fn curve(&self, points: &[Point], stroke: Stroke) -> Drawn {
        for piece in clip(points, self.y.low, self.y.high) {
            let pixels: Vec<Pixel> = piece.into_iter().map(|point| self.at(point)).collect();
            if let [only] = pixels[..] {
                self.canvas.symbol(only, Symbol::Disc, 7, stroke.color)?;
            }
            self.canvas.line(&pixels, stroke)?;
            self.inked.borrow_mut().extend(pixels.windows(2).map(|pair| (pair[0], pair[1])));
        }
        Ok(())
    }

    /// The area between a lower and an upper curve over the same places, cut at the panel's top and
    /// bottom.
    pub fn band(&self, lower: &[Point], upper: &[Point], color: RGBColor, alpha: f64) -> Drawn {
        let within = |&(x, y): &Point| self.at((x, y.clamp(self.y.low, self.y.high)));
        let corners = lower.iter().map(within).chain(upper.iter().rev().map(within));
        self.canvas.area(corners.collect(), color, alpha)
    }

    /// Is a height within the panel?
    pub fn shows(&self, y: f64) -> bool {
        (self.y.low..=self.y.high).contains(&y)
    }

    /// A line across the panel at one height; nothing when that height is not shown.
    pub fn level(&self, y: f64, stroke: Stroke) -> Drawn {
        if !self.shows(y) {
            return Ok(());
        }
        let height = self.at((self.x.low, y)).1;
        self.canvas.line(&[(LEFT, height), (self.right, height)], stroke)
    }

    /// A marker; one that lies above the panel is set at its top edge.
    pub fn marker(&self, (x, y): Point, symbol: Symbol, radius: i32, color: RGBColor) -> Drawn {
        let (x, y) = (x.clamp(self.x.low, self.x.high), y.clamp(self.y.low, self.y.high));
        let (x, y) = self.at((x, y));
        let center = (x, y.max(TOP + radius + 4));
        let corners = ((x - radius, center.1 - radius), (x + radius, center.1 + radius));
        self.inked.borrow_mut().push(corners);
        self.canvas.symbol(center, symbol, radius, color)
    }

    /// A circle around a point, clear of its marker.
    pub fn outlined(&self, point: Point, radius: i32, color: RGBColor) -> Drawn {
        self.canvas.circle(self.at(point), radius, Stroke::solid(color, 4))
    }

    /// A straight line, cut at the panel's edges.
    pub fn segment(&self, from: Point, to: Point, stroke: Stroke) -> Drawn {
        let turned = |(x, y): Point| (y, x);
        for piece in clip(&[from, to], self.y.low, self.y.high) {
            let across: Vec<Point> = piece.into_iter().map(turned).collect();
            for piece in clip(&across, self.x.low, self.x.high) {
                let pixels: Vec<Pixel> = piece.into_iter().map(|p| self.at(turned(p))).collect();
                self.canvas.line(&pixels, stroke)?;
                self.inked.borrow_mut().extend(pixels.windows(2).map(|pair| (pair[0], pair[1])));
            }
        }
        Ok(())
    }

    /// A label near a point, at whichever place beside it covers least of what is drawn.
    pub fn annotate(&self, text: &str, point: Point, font: Font) -> Drawn {
        let (x, y) = self.at(point);
        let half = self.canvas.text_width(text, font)? / 2 + 8;
        let aside = half + 28;
        let inked = self.inked.borrow();
        // Ink under the label, in steps of `along`, and a little for being far away.
        let cost = |&(left, top): &Pixel| {
            let pieces = inked.iter().flat_map(|&(from, to)| along(from, to));
            let covered =
                pieces.filter(|p| (p.0 - left).abs() <= half && (p.1 - top).abs() <= 24).count();
            covered as i32 + ((left - x).abs() / 3 + (top - y).abs()) / 12
        };
        let place = [
            (0, 46),
            (0, -46),
            (aside, 0),
            (-aside, 0),
            (aside * 2 / 3, 46),
            (-aside * 2 / 3, 46),
            (aside * 2 / 3, -46),
            (-aside * 2 / 3, -46),
            (0, 80),
            (0, -80),
            (aside * 2 / 3, 110),
            (aside * 2 / 3, -110),
        ]
        .into_iter()
        .map(|(dx, dy)| ((x + dx).clamp(LEFT + half, (self.right - half).max(LEFT + half)), y + dy))
        .filter(|place| (TOP + 24..=BOTTOM - 24).contains(&place.1))
        .filter(|place| (place.0 - x).abs() > half + 14 || (place.1 - y).abs() > 38)
        .min_by_key(cost)
        .unwrap_or((x, y));
        self.canvas.label(text, place, Align::Center, font)
    }

    /// A remark in the middle, for want of data.
    pub fn remark(&self, text: &str) -> Drawn {
        let middle = (i32::midpoint(LEFT, self.right), i32::midpoint(TOP, BOTTOM));
        let font = Font { size: 36, bold: false, color: FAINT_INK };
        self.canvas.label(text, middle, Align::Center, font)
    }

    fn axes(&self, grid: bool) -> Drawn {
        let thin = Stroke::solid(GRID, 2);
        let ((left, top), (right, bottom)) = self.corners();
        let mut free_from = i32::MIN;
        for (at, label) in &self.x.ticks {
            let label = &*self.lang.number(label);
            let x = self.at((*at, self.y.low)).0;
            if grid {
                self.canvas.line(&[(x, top), (x, bottom)], thin)?;
            }
            let half = self.canvas.text_width(label, LABEL)? / 2;
            if x - half >= free_from {
                self.canvas.text(label, (x, bottom + 32), Align::Center, LABEL)?;
                free_from = x + half + 14;
            }
        }
        for (at, label) in &self.y.ticks {
            let y = self.at((self.x.low, *at)).1;
            if grid {
                self.canvas.line(&[(left, y), (right, y)], thin)?;
            }
            self.canvas.text(&self.lang.number(label), (left - 16, y), Align::Right, LABEL)?;
        }
        let axis = Stroke::solid(FAINT_INK, 2);
        self.canvas.line(&[(left, top), (left, bottom), (right, bottom)], axis)?;
        let middle = i32::midpoint(left, right);
        self.canvas.text(&self.x.title, (middle, bottom + 84), Align::Center, LABEL)?;
        self.canvas.text_upwards(&self.y.title, (34, i32::midpoint(top, bottom)), LABEL)
    }

    fn legend(&self, entries: &[Entry]) -> Drawn {
        let left = self.right + 40;
        let mut y = TOP + 20;
        for entry in entries {
            let mark = left + 24;
            let mut font = SMALL;
            let mut text = left + 64;
            match entry.mark {
                Mark::Heading => {
                    font.bold = true;
                    text = left;
                    if y > TOP + 20 {
                        y += 16;
                    }
                }
                Mark::Line(stroke) => self.canvas.line(&[(left, y), (left + 48, y)], stroke)?,
                Mark::Symbol(symbol, color) => self.canvas.symbol((mark, y), symbol, 11, color)?,
                Mark::Both(stroke, symbol) => {
                    self.canvas.line(&[(left, y), (left + 48, y)], stroke)?;
                    self.canvas.symbol((mark, y), symbol, 11, stroke.color)?;
                }
                Mark::Area(color, alpha) => {
                    self.canvas.fill((left, y - 13), (left + 48, y + 13), color, alpha)?;
                }
            }
            self.canvas.text(&entry.label, (text, y), Align::Left, font)?;
            y += LEGEND_LINE;
        }
        Ok(())
    }
}

/// Drops headings with nothing under them.
fn without_empty_headings(entries: Vec<Entry>) -> Vec<Entry> {
    let mut kept: Vec<Entry> = Vec::new();
    for entry in entries.into_iter().rev() {
        let heads_something = kept.last().is_some_and(|e| !matches!(e.mark, Mark::Heading));
        if heads_something || !matches!(entry.mark, Mark::Heading) {
            kept.push(entry);
        }
    }
    kept.reverse();
    kept
}

fn legend_width(canvas: &Canvas<'_>, entries: &[Entry]) -> Result<i32, Failure> {
    let mut widest = 0;
    for entry in entries {
        let (bold, indent) =
            if matches!(entry.mark, Mark::Heading) { (true, 0) } else { (false, 64) };
        let font = Font { bold, ..SMALL };
        widest = widest.max(indent + canvas.text_width(&entry.label, font)? + 50);
    }
    Ok(widest)
}

/// Points along a line, close enough together that none can hide between them.
fn along(from: Pixel, to: Pixel) -> impl Iterator<Item = Pixel> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let n = (dx.abs().max(dy.abs()) / 8).max(1);
    (0..=n).map(move |at| (from.0 + dx * at / n, from.1 + dy * at / n))
}
