//! Colours that people with any kind of colour vision tell apart: Okabe & Ito's set for named
//! things, viridis for ordered values.

use plotters::style::RGBColor;

use crate::diagnose::Flag;

pub const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub const FAINT_INK: RGBColor = RGBColor(0x5f, 0x5f, 0x5f);
pub const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
pub const EMPTY: RGBColor = RGBColor(0xf2, 0xf2, 0xf2);
pub const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
pub const VERMILLION: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
pub const GREEN: RGBColor = RGBColor(0x00, 0x9e, 0x73);
pub const GREY: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// The colour of runs with a flag, here and on the page.
pub const fn of_flag(flag: Flag) -> RGBColor {
    match flag {
        Flag::Ok => GREEN,
        Flag::Overfit => VERMILLION,
        Flag::Underfit => RGBColor(0xb8, 0x86, 0x0b),
        Flag::TooSlow => RGBColor(0xcc, 0x79, 0xa7),
        Flag::Diverged => RGBColor(0xb3, 0x26, 0x1e),
        Flag::Failed => RGBColor(0x7f, 0x1d, 0x1d),
        Flag::Running => BLUE,
        Flag::Pending => RGBColor(0x99, 0x99, 0x99),
        Flag::Base => RGBColor(0x77, 0x77, 0x77),
    }
}

/// Nine samples of matplotlib's viridis, evenly spaced.
const VIRIDIS: [(u8, u8, u8); 9] = [
    (68, 1, 84),
    (71, 44, 122),
    (59, 81, 139),
    (44, 113, 142),
    (33, 144, 141),
    (39, 173, 129),
    (92, 200, 99),
    (170, 220, 50),
    (253, 231, 37),
];

/// Viridis at `share` in `[0, 1]`: dark violet to yellow.
pub fn viridis(share: f64) -> RGBColor {
    let place = share.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let at = (place as usize).min(VIRIDIS.len() - 2);
    let (low, high) = (VIRIDIS[at], VIRIDIS[at + 1]);
    let part = place - at as f64;
    let mix = |a: u8, b: u8| (f64::from(a) + part * (f64::from(b) - f64::from(a))).round() as u8;
    RGBColor(mix(low.0, high.0), mix(low.1, high.1), mix(low.2, high.2))
}

/// A colour for place `at` of `n` ordered things, drawn as lines on white: viridis without its
/// palest end.
pub fn ordered(at: usize, n: usize) -> RGBColor {
    if n <= 1 { BLUE } else { viridis(0.88 * at as f64 / (n - 1) as f64) }
}

/// Black or white, whichever reads better on `background` (relative luminance as in WCAG 2).
pub fn ink_on(background: RGBColor) -> RGBColor {
    let linear = |channel: u8| (f64::from(channel) / 255.0).powf(2.2);
    let RGBColor(r, g, b) = background;
    let luminance = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    if luminance > 0.25 { INK } else { RGBColor(255, 255, 255) }
}
