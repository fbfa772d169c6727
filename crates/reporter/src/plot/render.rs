//! One drawing, two files: every figure is drawn once against any backend, and rendered as SVG
//! and as PNG.

use plotters::backend::{DrawingBackend, SVGBackend};
use plotters::drawing::{DrawingAreaErrorKind, IntoDrawingArea};
use plotters::style::{RGBColor, WHITE};
use tiny_skia::Pixmap;

use super::canvas::Canvas;
use super::font;
use super::raster::Raster;
use crate::error::ReportError;

/// Pixels of a picture; shown at half of this it is sharp on every screen.
pub const SIZE: (u32, u32) = (1600, 1000);

/// What drawing on a backend returns.
pub type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// Something that can be drawn on any backend.
pub trait Figure {
    /// File name without its extension; may contain a folder.
    fn name(&self) -> String;
    /// Draws it on a white page of [`SIZE`].
    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Drawn<DB>;
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

    let mut svg = String::new();
    draw(figure, SVGBackend::with_string(&mut svg, SIZE)).map_err(failed)?;

    let mut pixmap = Pixmap::new(SIZE.0, SIZE.1)
        .ok_or_else(|| failed(format!("no picture of {} x {} pixels", SIZE.0, SIZE.1)))?;
    draw(figure, Raster::new(&mut pixmap)).map_err(failed)?;
    let png = encode(&pixmap).map_err(|error| failed(error.to_string()))?;
    Ok(Plot { name, svg, png })
}

/// PNG bytes. The page is opaque, so there is no transparency to write.
fn encode(pixmap: &Pixmap) -> Result<Vec<u8>, png::EncodingError> {
    let (pixels, _) = pixmap.data().as_chunks::<4>();
    let mut colours = vec![0; 3 * pixels.len()];
    for (colour, pixel) in colours.chunks_exact_mut(3).zip(pixels) {
        colour.copy_from_slice(&pixel[..3]);
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, pixmap.width(), pixmap.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&colours)?;
    writer.finish()?;
    Ok(bytes)
}

fn draw<DB: DrawingBackend>(figure: &impl Figure, backend: DB) -> Result<(), String> {
    let area = backend.into_drawing_area();
    let page: RGBColor = WHITE;
    area.fill(&page)
        .and_then(|()| figure.draw(&Canvas::new(&area)))
        .and_then(|()| area.present())
        .map_err(|error| error.to_string())
}
