//! One drawing, two files: a figure is drawn once as SVG, and the PNG is made from that.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::Tree;

use super::canvas::{Canvas, Drawn, Failure, SIZE};
use super::font;
use crate::error::ReportError;

/// Something that can be drawn.
pub trait Figure {
    /// File name without its extension; may contain a folder.
    fn name(&self) -> String;
    /// Draws it on a white page of [`SIZE`].
    fn draw(&self, canvas: &Canvas<'_>) -> Drawn;
}

/// A picture in both formats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plot {
    /// File name without its extension, for instance `overview` or `runs/trial-003`.
    pub name: String,
    /// The picture as SVG text.
    pub svg: String,
    /// The picture as PNG bytes.
    pub png: Vec<u8>,
}

/// Draws a figure in both formats.
pub fn render(figure: &impl Figure) -> Result<Plot, ReportError> {
    let name = figure.name();
    let failed = |reason: String| ReportError::Plot { plot: name.clone(), reason };
    font::register().map_err(failed)?;
    let svg = draw(figure).map_err(|error| failed(error.to_string()))?;
    let png = png(&svg).map_err(failed)?;
    Ok(Plot { name, svg, png })
}

fn draw(figure: &impl Figure) -> Result<String, Failure> {
    let mut svg = String::new();
    let canvas = Canvas::white(&mut svg)?;
    figure.draw(&canvas)?;
    canvas.finish()?;
    Ok(with_stroke_opacity(&svg))
}

/// Lines with the opacity of their stroke instead of that of an element, which would be drawn on a layer of
/// its own. The pictures are alike but for rounding, and thousands of translucent lines are drawn several times
/// as fast.
fn with_stroke_opacity(svg: &str) -> String {
    svg.replace("<polyline fill=\"none\" opacity=", "<polyline fill=\"none\" stroke-opacity=")
}

fn png(svg: &str) -> Result<Vec<u8>, String> {
    let tree = Tree::from_str(svg, font::options()).map_err(|error| error.to_string())?;
    let mut pixmap = Pixmap::new(SIZE.0, SIZE.1)
        .ok_or_else(|| format!("no picture of {} x {} pixels", SIZE.0, SIZE.1))?;
    resvg::render(&tree, Transform::identity(), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|error| error.to_string())
}
