//! Colours for the values of a parameter, and the legend that explains them.

use plotters::style::RGBColor;
use spec::SweepState;

use super::axis::decades;
use super::canvas::Stroke;
use super::palette::{BLUE, ordered, viridis};
use super::panel::{Entry, Mark};
use crate::number;

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

    pub fn of_learning_rates(state: &SweepState) -> Self {
        Self::of(distinct(state.trials.values().map(|t| t.trial.config.learning_rate)))
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

    /// The learning rates with their colours.
    pub fn legend(&self) -> Vec<Entry> {
        let mut entries = vec![Entry::new("learning rate", Mark::Heading)];
        entries.extend(self.samples().into_iter().map(|rate| {
            let mark = Mark::Line(Stroke::solid(self.color(rate), 6));
            Entry::new(number::learning_rate(rate), mark)
        }));
        entries
    }
}

/// Positive values in ascending order, each once.
pub fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.filter(|v| v.is_finite() && *v > 0.0).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}
