//! Strokes, symbols and text in pixels of the page: the few primitives all figures are made of.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, DashedPathElement, PathElement, Polygon, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color, FontDesc, FontFamily, FontStyle, FontTransform, RGBColor, ShapeStyle, TextStyle, WHITE,
};

use super::font;

/// A place on the page, in pixels from the top left.
pub type Pixel = (i32, i32);

/// Pixels of a page; shown at half of this it is sharp on every screen.
pub const SIZE: (u32, u32) = (1600, 1000);

/// Why something cannot be drawn.
pub type Failure = DrawingAreaErrorKind<std::io::Error>;

/// What drawing returns.
pub type Drawn = Result<(), Failure>;

/// A page to draw on.
pub struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    pub color: RGBColor,
    pub width: u32,
    /// 0 (invisible) to 1.
    pub alpha: f64,
    pub dashed: bool,
}

impl Stroke {
    pub const fn solid(color: RGBColor, width: u32) -> Self {
        Self { color, width, alpha: 1.0, dashed: false }
    }

    pub const fn dashed(color: RGBColor, width: u32) -> Self {
        Self { color, width, alpha: 1.0, dashed: true }
    }

    fn style(self) -> ShapeStyle {
        self.color.mix(self.alpha).stroke_width(self.width)
    }
}

/// A marker's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbol {
    Disc,
    Ring,
    Square,
    Diamond,
    Triangle,
    Cross,
}

impl Symbol {
    /// Filled shapes that differ from each other, in turn.
    pub const fn nth(at: usize) -> Self {
        [Self::Disc, Self::Square, Self::Triangle, Self::Diamond][at % 4]
    }
}

/// How text looks.
#[derive(Debug, Clone, Copy)]
pub struct Font {
    pub size: u32,
    pub bold: bool,
    pub color: RGBColor,
}

/// Where a text's anchor lies on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Center,
    Right,
}

impl<'a> Canvas<'a> {
    /// A white page whose SVG is written into `svg` by [`Canvas::finish`].
    pub fn white(svg: &'a mut String) -> Result<Self, Failure> {
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        Ok(Self { area })
    }

    /// Writes the page out.
    pub fn finish(self) -> Drawn {
        self.area.present()
    }

    pub fn line(&self, points: &[Pixel], stroke: Stroke) -> Drawn {
        if points.len() < 2 || stroke.alpha <= 0.0 {
            Ok(())
        } else if stroke.dashed {
            let dash = 5 * stroke.width.max(2);
            let gap = 3 * stroke.width.max(2);
            self.area.draw(&DashedPathElement::new(points.to_vec(), dash, gap, stroke.style()))
        } else {
            self.area.draw(&PathElement::new(points.to_vec(), stroke.style()))
        }
    }

    pub fn fill(&self, from: Pixel, to: Pixel, color: RGBColor, alpha: f64) -> Drawn {
        self.area.draw(&Rectangle::new([from, to], color.mix(alpha).filled()))
    }

    pub fn area(&self, corners: Vec<Pixel>, color: RGBColor, alpha: f64) -> Drawn {
        self.area.draw(&Polygon::new(corners, color.mix(alpha).filled()))
    }

    pub fn outline(&self, from: Pixel, to: Pixel, stroke: Stroke) -> Drawn {
        let corners = [from, (to.0, from.1), to, (from.0, to.1), from, (to.0, from.1)];
        self.line(&corners, stroke)
    }

    /// A marker of about the same visual weight for every shape; filled ones get a white rim.
    pub fn symbol(&self, (x, y): Pixel, symbol: Symbol, radius: i32, color: RGBColor) -> Drawn {
        let white = RGBColor(255, 255, 255);
        let polygon = |corners: &dyn Fn(i32) -> Vec<Pixel>| {
            self.area.draw(&Polygon::new(corners(radius + 2), white.filled()))?;
            self.area.draw(&Polygon::new(corners(radius), color.filled()))
        };
        match symbol {
            Symbol::Disc => {
                self.area.draw(&Circle::new((x, y), radius + 2, white.filled()))?;
                self.area.draw(&Circle::new((x, y), radius, color.filled()))
            }
            Symbol::Ring => {
                self.area.draw(&Circle::new((x, y), radius, white.filled()))?;
                self.area.draw(&Circle::new((x, y), radius, color.stroke_width(4)))
            }
            Symbol::Square => polygon(&|r| {
                let r = r * 9 / 10;
                vec![(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)]
            }),
            Symbol::Diamond => polygon(&|r| {
                let r = r * 5 / 4;
                vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)]
            }),
            Symbol::Triangle => polygon(&|r| {
                let r = r * 5 / 4;
                vec![(x, y - r), (x + r, y + r * 3 / 4), (x - r, y + r * 3 / 4)]
            }),
            Symbol::Cross => {
                let stroke = Stroke::solid(color, 5);
                self.line(&[(x - radius, y - radius), (x + radius, y + radius)], stroke)?;
                self.line(&[(x - radius, y + radius), (x + radius, y - radius)], stroke)
            }
        }
    }

    pub fn circle(&self, center: Pixel, radius: i32, stroke: Stroke) -> Drawn {
        self.area.draw(&Circle::new(center, radius, stroke.style()))
    }

    /// Text whose vertical middle is at `y`.
    pub fn text(&self, text: &str, (x, y): Pixel, align: Align, font: Font) -> Drawn {
        let style = text_style(font).pos(Pos::new(horizontal(align), VPos::Center));
        self.area.draw_text(text, &style, (x, y))
    }

    /// Text that reads upwards, centred at a place.
    pub fn text_upwards(&self, text: &str, (x, y): Pixel, font: Font) -> Drawn {
        let style = text_style(font)
            .transform(FontTransform::Rotate270)
            .pos(Pos::new(HPos::Center, VPos::Center));
        self.area.draw_text(text, &style, (x, y))
    }

    /// Text on a translucent white ground, so that it can be read over lines.
    pub fn label(&self, text: &str, (x, y): Pixel, align: Align, font: Font) -> Drawn {
        let width = self.text_width(text, font)?;
        let left = match align {
            Align::Left => x,
            Align::Center => x - width / 2,
            Align::Right => x - width,
        };
        let half = font.size as i32 * 6 / 10;
        let white = RGBColor(255, 255, 255);
        self.fill((left - 6, y - half), (left + width + 6, y + half), white, 0.8)?;
        self.text(text, (x, y), align, font)
    }

    /// Width of a text in pixels.
    pub fn text_width(&self, text: &str, font: Font) -> Result<i32, Failure> {
        Ok(self.area.estimate_text_size(text, &text_style(font))?.0 as i32)
    }
}

fn text_style(text: Font) -> TextStyle<'static> {
    let style = if text.bold { FontStyle::Bold } else { FontStyle::Normal };
    let family = FontFamily::Name(font::FAMILY);
    let desc = FontDesc::new(family, f64::from(text.size), style);
    TextStyle { color: text.color.to_backend_color(), ..TextStyle::from(desc) }
}

const fn horizontal(align: Align) -> HPos {
    match align {
        Align::Left => HPos::Left,
        Align::Center => HPos::Center,
        Align::Right => HPos::Right,
    }
}
