//! The embedded fonts: `DejaVu` Sans, reduced to the characters a report can need.

use std::sync::{Arc, LazyLock, OnceLock};

use plotters::style::{FontStyle, register_font};
use resvg::usvg::Options;
use resvg::usvg::fontdb::Database;

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

/// How an SVG is read: with the embedded fonts and no others.
pub fn options() -> &'static Options<'static> {
    static OPTIONS: LazyLock<Options<'static>> = LazyLock::new(|| {
        let mut fonts = Database::new();
        fonts.load_font_data(REGULAR.to_vec());
        fonts.load_font_data(BOLD.to_vec());
        fonts.set_sans_serif_family("DejaVu Sans");
        Options { fontdb: Arc::new(fonts), ..Options::default() }
    });
    &OPTIONS
}
