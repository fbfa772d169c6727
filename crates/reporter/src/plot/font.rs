//! The embedded fonts: `DejaVu` Sans, reduced to the characters a report can need.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, OutlineCurve, ScaleFont};
use plotters::style::{FontStyle, register_font};
use tiny_skia::{Path, PathBuilder};

const REGULAR: &[u8] = include_bytes!("../../fonts/DejaVuSans-subset.ttf");
const BOLD: &[u8] = include_bytes!("../../fonts/DejaVuSans-Bold-subset.ttf");

/// The family under which plotters knows the fonts, and which an SVG names.
pub const FAMILY: &str = "sans-serif";

/// Registers the fonts with plotters once, so that text has the same measure on every machine.
pub fn register() -> Result<(), String> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let done = *DONE.get_or_init(|| {
        register_font(FAMILY, FontStyle::Normal, REGULAR).is_ok()
            && register_font(FAMILY, FontStyle::Bold, BOLD).is_ok()
    });
    if done { Ok(()) } else { Err("the embedded font cannot be read".to_owned()) }
}

/// The outline of a line of text in pixels, from `(0, 0)` at the left of its baseline, and its
/// width. `size` is the height of a line, from the ascender to the descender.
pub fn outline(text: &str, size: f32, bold: bool) -> (Option<Path>, f32) {
    let Ok(font) = FontRef::try_from_slice(if bold { BOLD } else { REGULAR }) else {
        return (None, 0.0);
    };
    let scaled = font.as_scaled(size);
    let (scale_x, scale_y) = (scaled.h_scale_factor(), scaled.v_scale_factor());
    let mut builder = PathBuilder::new();
    let mut pen = 0.0;
    let mut previous = None;
    for character in text.chars() {
        let glyph = font.glyph_id(character);
        if let Some(previous) = previous {
            pen += scaled.kern(previous, glyph);
        }
        if let Some(outline) = font.outline(glyph) {
            let place = |p: ab_glyph::Point| (pen + p.x * scale_x, -p.y * scale_y);
            append(&mut builder, &outline.curves, place);
        }
        pen += scaled.h_advance(glyph);
        previous = Some(glyph);
    }
    (builder.finish(), pen)
}

/// Appends contours: a curve that does not begin where the last one ended begins a new contour.
fn append(
    builder: &mut PathBuilder,
    curves: &[OutlineCurve],
    place: impl Fn(ab_glyph::Point) -> (f32, f32),
) {
    let mut at = None;
    for curve in curves {
        let (from, to) = match curve {
            OutlineCurve::Line(from, to)
            | OutlineCurve::Quad(from, _, to)
            | OutlineCurve::Cubic(from, _, _, to) => (*from, *to),
        };
        if at != Some(from) {
            let (x, y) = place(from);
            builder.move_to(x, y);
        }
        let (x, y) = place(to);
        match curve {
            OutlineCurve::Line(..) => builder.line_to(x, y),
            OutlineCurve::Quad(_, control, _) => {
                let (cx, cy) = place(*control);
                builder.quad_to(cx, cy, x, y);
            }
            OutlineCurve::Cubic(_, first, second, _) => {
                let ((ax, ay), (bx, by)) = (place(*first), place(*second));
                builder.cubic_to(ax, ay, bx, by, x, y);
            }
        }
        at = Some(to);
    }
}
