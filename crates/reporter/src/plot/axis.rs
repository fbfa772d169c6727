//! Axes: a range, a scale, and ticks where people expect them.

use crate::number;

/// One axis of a panel.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    pub title: String,
    pub low: f64,
    pub high: f64,
    pub log: bool,
    /// Places of the ticks with their labels, ascending.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Where `value` lies: 0 at the low end, 1 at the high end.
    pub fn share(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.log { v.max(f64::MIN_POSITIVE).ln() } else { v };
        (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
    }

    /// A linear axis over `range`, widened when it is empty, with round ticks.
    pub fn linear(title: &str, (low, high): (f64, f64)) -> Self {
        let (low, high) = widened(low, high);
        let step = round_step((high - low) / 6.0);
        let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        let first = (low / step).ceil() as i64;
        let last = (high / step).floor() as i64;
        let ticks = (first..=last)
            .map(|n| {
                let at = n as f64 * step;
                (at, format!("{at:.decimals$}"))
            })
            .collect();
        Self { title: title.to_owned(), low, high, log: false, ticks }
    }

    /// Epochs from 0 to `last`; whole numbers as soon as there are a few of them.
    pub fn epochs(last: f64) -> Self {
        let high = if last > 0.0 { last } else { 1.0 };
        let step =
            if high >= 4.0 { round_step(high / 8.0).max(1.0) } else { round_step(high / 5.0) };
        let ticks = (0..=(high / step + 1e-9).floor() as i64)
            .map(|n| (n as f64 * step, number::epoch(n as f64 * step)))
            .collect();
        Self { title: "epoch".to_owned(), low: 0.0, high: high * 1.02, log: false, ticks }
    }

    /// Learning rates on a log scale: the tried values as ticks when they are few, else 1 and 3
    /// of each decade.
    pub fn learning_rates(title: &str, tried: &[f64]) -> Self {
        let (low, high) = padded_log(tried);
        let few = tried.len() <= 9;
        let places = if few { tried.to_vec() } else { decades(low, high) };
        let ticks = places.into_iter().map(|rate| (rate, number::learning_rate(rate))).collect();
        Self { title: title.to_owned(), low, high, log: true, ticks }
    }

    /// Ranks on a log scale with the tried ranks as ticks.
    pub fn ranks(title: &str, tried: &[f64]) -> Self {
        let (low, high) = padded_log(tried);
        let ticks = tried.iter().map(|&rank| (rank, rank.to_string())).collect();
        Self { title: title.to_owned(), low, high, log: true, ticks }
    }
}

/// An empty or reversed range becomes one that can be drawn.
fn widened(low: f64, high: f64) -> (f64, f64) {
    if low < high {
        (low, high)
    } else {
        let half = if low == 0.0 { 0.5 } else { low.abs() * 0.05 };
        (low - half, low + half)
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn round_step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    let multiple = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * decade >= least * 0.999);
    multiple.unwrap_or(10.0) * decade
}

fn padded_log(tried: &[f64]) -> (f64, f64) {
    let low = tried.iter().copied().fold(f64::INFINITY, f64::min);
    let high = tried.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !(low > 0.0 && high.is_finite()) {
        return (1e-5, 1e-3);
    }
    let pad = (high / low).powf(0.06).max(1.15);
    (low / pad, high * pad)
}

/// 1 and 3 times the powers of ten in a range.
pub fn decades(low: f64, high: f64) -> Vec<f64> {
    let first = low.log10().floor() as i32;
    let last = high.log10().ceil() as i32;
    let places = (first..=last).flat_map(|decade| [1.0, 3.0].map(|m| m * 10_f64.powi(decade)));
    places.filter(|&place| (low..=high).contains(&place)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_lie_inside_the_axis_whatever_the_range() {
        for range in [(0.0, 1.0), (1.0, 1.0), (0.0, 0.0), (-3.2, 7.0), (1.234, 1.236), (1.0, 5e6)] {
            let axis = Axis::linear("loss", range);
            assert!(axis.low < axis.high, "{range:?}");
            assert!(axis.ticks.len() >= 2, "{range:?}: {:?}", axis.ticks);
            assert!(axis.ticks.len() <= 14, "{range:?}: {:?}", axis.ticks);
            for (at, _) in &axis.ticks {
                assert!((-1e-9..=1.0 + 1e-9).contains(&axis.share(*at)), "{range:?}: {at}");
            }
        }
    }

    #[test]
    fn few_learning_rates_are_the_ticks_and_many_give_decades() {
        let labels = |tried: &[f64]| -> Vec<String> {
            Axis::learning_rates("", tried).ticks.into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(labels(&[1e-4, 2e-4, 1e-3]), ["1e-4", "2e-4", "1e-3"]);
        let many: Vec<f64> = (0..40).map(|n| 1e-5 * 1.15_f64.powi(n)).collect();
        assert_eq!(labels(&many), ["1e-5", "3e-5", "1e-4", "3e-4", "1e-3", "3e-3"]);
    }

    #[test]
    fn epochs_are_whole_numbers_once_there_are_a_few() {
        let labels: Vec<String> =
            Axis::epochs(6.0).ticks.into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["0", "1", "2", "3", "4", "5", "6"]);
        assert!(Axis::epochs(0.0).ticks.len() >= 2);
    }
}
