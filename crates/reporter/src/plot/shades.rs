//! Colours for the values of a parameter and for flags, and the legends that explain them.

use std::collections::BTreeSet;

use plotters::style::RGBColor;

use super::axis::decades;
use super::canvas::Stroke;
use super::palette::{BLUE, of_flag, ordered, viridis};
use super::panel::{Entry, Mark};
use crate::diagnose::Flag;
use crate::text::{Lang, say};

/// Values that a legend lists one by one; more are told apart by shade alone.
pub const LISTED: usize = 8;

/// A colour for every value of a parameter.
pub struct Shades {
    values: Vec<f64>,
}

impl Shades {
    pub fn of(values: Vec<f64>) -> Self {
        Self { values }
    }

    /// A few values are spaced evenly over the colours; many by their logarithm.
    pub fn color(&self, value: f64) -> RGBColor {
        let (Some(&low), Some(&high)) = (self.values.first(), self.values.last()) else {
            return BLUE;
        };
        if self.values.len() <= LISTED {
            let at = self.values.iter().position(|&known| known == value).unwrap_or(0);
            ordered(at, self.values.len())
        } else {
            viridis(0.88 * (value / low).ln() / (high / low).ln())
        }
    }

    /// The values to explain: all of a few, round ones along the range of many.
    pub fn samples(&self) -> Vec<f64> {
        match (self.values.first(), self.values.last()) {
            (Some(&low), Some(&high)) if self.values.len() > LISTED => decades(low, high),
            _ => self.values.clone(),
        }
    }
}

/// The flags that runs have, with their colours.
pub fn flags_legend(flags: impl Iterator<Item = Flag>, lang: Lang) -> Vec<Entry> {
    let present: BTreeSet<Flag> = flags.collect();
    let mut entries = vec![Entry::new(say!(lang, PlotFlag), Mark::Heading)];
    entries.extend(
        present
            .into_iter()
            .map(|flag| Entry::new(flag.name(), Mark::Line(Stroke::solid(of_flag(flag), 6)))),
    );
    entries
}

/// Positive values in ascending order, each once.
pub fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.filter(|v| v.is_finite() && *v > 0.0).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}
