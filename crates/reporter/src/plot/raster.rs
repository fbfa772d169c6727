//! A plotters backend that paints with tiny-skia: antialiased lines and areas at any width, and
//! PNG bytes in memory.

use std::convert::Infallible;

use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontStyle, FontTransform,
};
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, PixmapMut, Stroke,
    Transform,
};

use super::font;

/// Translucent lines whose edges are smoothed, which is most of their cost. What is drawn over so many
/// others covers edges anyhow.
const MOST_SMOOTH: usize = 500;

/// Paints on a pixmap that it borrows.
pub struct Raster<'a> {
    pixmap: PixmapMut<'a>,
    /// Translucent lines so far: only the many curves of an overlay are.
    translucent: usize,
}

impl<'a> Raster<'a> {
    pub fn new(pixmap: &'a mut Pixmap) -> Self {
        Self { pixmap: pixmap.as_mut(), translucent: 0 }
    }

    fn fill(&mut self, path: Option<Path>, color: BackendColor) {
        if let Some(path) = path {
            let paint = paint(color);
            self.pixmap.fill_path(&path, &paint, FillRule::Winding, Transform::identity(), None);
        }
    }

    fn stroke(&mut self, path: Option<Path>, color: BackendColor, width: u32) {
        if let Some(path) = path {
            let stroke = Stroke {
                width: width as f32,
                line_cap: LineCap::Butt,
                line_join: LineJoin::Round,
                ..Stroke::default()
            };
            self.translucent += usize::from(color.alpha < 1.0);
            let mut paint = paint(color);
            paint.anti_alias = color.alpha >= 1.0 || self.translucent <= MOST_SMOOTH;
            self.pixmap.stroke_path(&path, &paint, &stroke, Transform::identity(), None);
        }
    }
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl DrawingBackend for Raster<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.pixmap.width(), self.pixmap.height())
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    /// Blends one pixel; the page under it is opaque, so colours stay unmultiplied.
    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        let (width, height) = self.get_size();
        let (Ok(column), Ok(row)) = (u32::try_from(x), u32::try_from(y)) else { return Ok(()) };
        if column < width && row < height {
            let at = 4 * (row as usize * width as usize + column as usize);
            let pixel = &mut self.pixmap.data_mut()[at..at + 3];
            for (under, over) in pixel.iter_mut().zip([color.rgb.0, color.rgb.1, color.rgb.2]) {
                let mixed = f64::from(over) * color.alpha + f64::from(*under) * (1.0 - color.alpha);
                *under = mixed.round() as u8;
            }
        }
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        self.stroke(polyline([from, to], false), style.color(), style.stroke_width());
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        (left, top): BackendCoord,
        (right, bottom): BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom)];
        let path = polyline(corners, true);
        if fill {
            self.fill(path, style.color());
        } else {
            self.stroke(path, style.color(), style.stroke_width());
        }
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        self.stroke(polyline(path, false), style.color(), style.stroke_width());
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        (x, y): BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let circle = PathBuilder::from_circle(x as f32, y as f32, radius as f32);
        if fill {
            self.fill(circle, style.color());
        } else {
            self.stroke(circle, style.color(), style.stroke_width());
        }
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Drawn {
        self.fill(polyline(corners, true), style.color());
        Ok(())
    }

    /// Fills the glyphs' outlines, each at its exact place.
    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Drawn {
        let size = style.size() as f32;
        let (outline, width) = font::outline(text, size, matches!(style.style(), FontStyle::Bold));
        let Some(outline) = outline else { return Ok(()) };
        let across = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => -width / 2.0,
            HPos::Right => -width,
        };
        // From the baseline: a capital's height is about 0.63 of the line's.
        let down = match style.anchor().v_pos {
            VPos::Top => 0.8 * size,
            VPos::Center => 0.31 * size,
            VPos::Bottom => -0.2 * size,
        };
        let turn = match style.transform() {
            FontTransform::None => 0.0,
            FontTransform::Rotate90 => 90.0,
            FontTransform::Rotate180 => 180.0,
            FontTransform::Rotate270 => 270.0,
        };
        let transform = Transform::from_translate(across, down)
            .post_rotate(turn)
            .post_translate(x as f32, y as f32);
        let paint = paint(style.color());
        self.pixmap.fill_path(&outline, &paint, FillRule::Winding, transform, None);
        Ok(())
    }
}

fn polyline(points: impl IntoIterator<Item = BackendCoord>, close: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (at, (x, y)) in points.into_iter().enumerate() {
        if at == 0 {
            builder.move_to(x as f32, y as f32);
        } else {
            builder.line_to(x as f32, y as f32);
        }
    }
    if close {
        builder.close();
    }
    builder.finish()
}

fn paint(color: BackendColor) -> Paint<'static> {
    let (r, g, b) = color.rgb;
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    let alpha = (color.alpha.clamp(0.0, 1.0) * 255.0).round() as u8;
    paint.set_color(Color::from_rgba8(r, g, b, alpha));
    paint
}
