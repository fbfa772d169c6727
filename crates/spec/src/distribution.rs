//! Distributions of numeric parameters, with the meanings they have in W&B sweeps.
//!
//! A distribution is a quantile function: it maps a number `u` in (0, 1) to a value, so that
//! uniform `u` gives values with that distribution. A planner therefore only ever works in the
//! unit cube, and the same map serves independent draws, low-discrepancy sequences and models.

use serde::Serialize;

use crate::normal;

/// A distribution of real numbers, resolved and checked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Distribution {
    /// The distribution before rounding.
    pub shape: Shape,
    /// Values are rounded to multiples of this, `round(x / q) * q`, halves to even.
    pub q: Option<f64>,
    /// No lower value is possible: the parameter's own limit, which cuts unbounded shapes off.
    pub lowest: f64,
    /// No higher value is possible.
    pub highest: f64,
}

/// A distribution before rounding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Every whole number from `min` to `max`, both included, with equal probability.
    IntUniform {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// Equal probability density from `min` to `max`.
    Uniform {
        /// Lower end.
        min: f64,
        /// Upper end.
        max: f64,
    },
    /// The logarithm is uniform; the ends are values of the parameter itself, not exponents.
    LogUniform {
        /// Lower end, above 0.
        min: f64,
        /// Upper end.
        max: f64,
    },
    /// Normal.
    Normal {
        /// Mean.
        mu: f64,
        /// Standard deviation, above 0.
        sigma: f64,
    },
    /// The natural logarithm is normal.
    LogNormal {
        /// Mean of the logarithm.
        mu: f64,
        /// Standard deviation of the logarithm, above 0.
        sigma: f64,
    },
}

impl Shape {
    /// The value below which the share `u` of all values lies; `u` in (0, 1).
    fn quantile(self, u: f64) -> f64 {
        match self {
            Self::IntUniform { min, max } => {
                let count = (max - min + 1) as f64;
                min as f64 + (u * count).floor().min(count - 1.0)
            }
            Self::Uniform { min, max } => min + u * (max - min),
            Self::LogUniform { min, max } => {
                (min.ln() + u * (max.ln() - min.ln())).exp().clamp(min, max)
            }
            Self::Normal { mu, sigma } => mu + sigma * normal::quantile(u),
            Self::LogNormal { mu, sigma } => (mu + sigma * normal::quantile(u)).exp(),
        }
    }

    /// The share of values below `x`.
    fn cdf(self, x: f64) -> f64 {
        match self {
            Self::IntUniform { min, max } => {
                ((x.ceil() - min as f64) / (max - min + 1) as f64).clamp(0.0, 1.0)
            }
            Self::Uniform { min, max } => ((x - min) / (max - min)).clamp(0.0, 1.0),
            Self::LogUniform { min, max } => {
                ((x.max(0.0).ln() - min.ln()) / (max.ln() - min.ln())).clamp(0.0, 1.0)
            }
            Self::Normal { mu, sigma } => normal::cdf((x - mu) / sigma),
            Self::LogNormal { mu, sigma } => normal::cdf((x.max(0.0).ln() - mu) / sigma),
        }
    }

    /// The ends of a bounded shape.
    pub(crate) fn ends(self) -> Option<(f64, f64)> {
        match self {
            Self::IntUniform { min, max } => Some((min as f64, max as f64)),
            Self::Uniform { min, max } | Self::LogUniform { min, max } => Some((min, max)),
            Self::Normal { .. } | Self::LogNormal { .. } => None,
        }
    }
}

impl Distribution {
    /// The value at the share `u` of the distribution; `u` outside (0, 1) is moved inside.
    /// Unbounded shapes are cut off at the parameter's limits: their quantile function is
    /// restricted to the part whose rounded values are allowed.
    pub fn quantile(&self, u: f64) -> f64 {
        let u = u.clamp(f64::EPSILON / 2.0, 1.0 - f64::EPSILON / 2.0);
        if self.shape.ends().is_some() {
            return self.round(self.shape.quantile(u));
        }
        let (from, to) = self.allowed_shares();
        self.round(self.shape.quantile(from + u * (to - from))).clamp(self.lowest, self.highest)
    }

    /// The share of the shape's values that the parameter allows (1 for all).
    pub(crate) fn allowed_share(&self) -> f64 {
        let (from, to) = self.allowed_shares();
        to - from
    }

    /// The shares of the shape below the first and up to the last allowed value.
    fn allowed_shares(&self) -> (f64, f64) {
        let Some(q) = self.q else {
            return (self.shape.cdf(self.lowest), self.shape.cdf(self.highest));
        };
        // A value rounds to an allowed multiple of q when it lies within q/2 of one.
        let lowest = (self.lowest / q).ceil() * q - q / 2.0;
        let highest = (self.highest / q).floor() * q + q / 2.0;
        (self.shape.cdf(lowest), self.shape.cdf(highest))
    }

    /// Number of different values; `None` when there is no end to them.
    pub fn size(&self) -> Option<u64> {
        match self.shape {
            Shape::IntUniform { min, max } => Some(max.abs_diff(min) + 1),
            shape => {
                let (min, max) = shape.ends()?;
                let q = self.q?;
                let steps = multiple(max, q) - multiple(min, q);
                // Beyond the whole numbers that a double can count, the steps are not exact.
                (steps < 2_f64.powi(53)).then_some(steps as u64 + 1)
            }
        }
    }

    /// The `index`-th smallest of the [`Self::size`] values.
    pub fn nth(&self, index: u64) -> f64 {
        match (self.shape, self.q) {
            (Shape::IntUniform { min, .. }, _) => min as f64 + index as f64,
            (shape, Some(q)) => {
                let first = shape.ends().map_or(0.0, |(min, _)| multiple(min, q));
                on_lattice(first + index as f64, q)
            }
            (shape, None) => shape.ends().map_or(0.0, |(min, _)| min),
        }
    }

    /// Whether a value can come out, whatever `q` rounds to.
    pub(crate) fn contains(&self, x: f64) -> bool {
        let (low, high) = self.range().unwrap_or((self.lowest, self.highest));
        // A range ends at the number as written, and a value of it may differ in the last digit.
        let slack = 1e-9 * x.abs();
        (low - slack..=high + slack).contains(&x)
    }

    /// What kind of distribution it is, with an article, for messages.
    pub(crate) fn in_words(&self) -> &'static str {
        match self.shape {
            Shape::IntUniform { .. } => "a range of whole numbers",
            Shape::Uniform { .. } | Shape::LogUniform { .. } => "a continuous range",
            Shape::Normal { .. } => "a normal distribution",
            Shape::LogNormal { .. } => "a log-normal distribution",
        }
    }

    /// The smallest and the largest value that can come out, after rounding, of a bounded shape.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        self.shape.ends().map(|(min, max)| (self.round(min), self.round(max)))
    }

    fn round(&self, x: f64) -> f64 {
        self.q.map_or(x, |q| on_lattice(multiple(x, q), q))
    }
}

/// Which multiple of `q` lies nearest to `x`.
fn multiple(x: f64, q: f64) -> f64 {
    (x / q).round_ties_even()
}

/// `k * q`, written as `k / (1/q)` where `1/q` is a whole number, so that the third multiple of
/// 0.1 is 0.3 and not 0.30000000000000004.
fn on_lattice(k: f64, q: f64) -> f64 {
    let per_unit = (1.0 / q).round();
    if per_unit >= 1.0 && (per_unit * q - 1.0).abs() < 1e-12 { k / per_unit } else { k * q }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Distribution, Shape};

    fn free(shape: Shape, q: Option<f64>) -> Distribution {
        Distribution { shape, q, lowest: f64::MIN, highest: f64::MAX }
    }

    #[test]
    fn quantiles_have_the_meanings_of_wandb() {
        let near = |x: f64, expected: f64| assert!((x - expected).abs() < 1e-12, "{x} {expected}");
        let uniform = Shape::Uniform { min: 1.0, max: 3.0 };
        near(free(uniform, None).quantile(0.25), 1.5);
        near(free(uniform, Some(0.1)).quantile(0.33), 1.7);
        let log = Shape::LogUniform { min: 1e-4, max: 1e-2 };
        near(free(log, None).quantile(0.5), 1e-3);
        let normal = Shape::Normal { mu: 10.0, sigma: 2.0 };
        near(free(normal, None).quantile(0.5), 10.0);
        near(free(normal, None).quantile(0.841_344_746_068_542_9), 12.0);
        near(free(normal, Some(4.0)).quantile(0.5), 8.0);
        let log_normal = Shape::LogNormal { mu: 1.0, sigma: 2.0 };
        near(free(log_normal, None).quantile(0.5), std::f64::consts::E);
        let int = Shape::IntUniform { min: -1, max: 1 };
        near(free(int, None).quantile(0.34), 0.0);
        near(free(int, None).quantile(1.0), 1.0);
    }

    #[test]
    fn multiples_of_a_decimal_step_are_written_as_people_write_them() {
        let steps = free(Shape::Uniform { min: 0.0, max: 0.5 }, Some(0.1));
        let values: Vec<f64> = (0..6).map(|i| steps.nth(i)).collect();
        assert_eq!(values, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]);
        assert_eq!(steps.size(), Some(6));
    }

    #[test]
    fn a_normal_distribution_is_cut_off_at_the_limits_and_not_heaped_up_there() {
        let shape = Shape::Normal { mu: 0.0, sigma: 1.0 };
        let half = Distribution { lowest: 0.0, ..free(shape, None) };
        // The median of the half-normal distribution is the upper quartile of the normal one.
        assert!((half.quantile(0.5) - 0.674_489_750_196_081_7).abs() < 1e-9);
        assert!(half.quantile(1e-9) > 0.0);
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        let ends = (-50.0..50.0_f64, 0.1..50.0_f64);
        prop_oneof![
            (-50..50_i64, 0..50_i64).prop_map(|(min, n)| Shape::IntUniform { min, max: min + n }),
            ends.clone().prop_map(|(min, d)| Shape::Uniform { min, max: min + d }),
            (0.001..1.0_f64, 1.1..1e3_f64)
                .prop_map(|(min, f)| Shape::LogUniform { min, max: min * f }),
            ends.clone().prop_map(|(mu, sigma)| Shape::Normal { mu, sigma }),
            (-3.0..3.0_f64, 0.1..3.0_f64).prop_map(|(mu, sigma)| Shape::LogNormal { mu, sigma }),
        ]
    }

    proptest! {
        #[test]
        fn values_rise_with_the_share(
            shape in shapes(),
            q in proptest::option::of(0.1..5.0_f64),
            a in 0.0..1.0_f64,
            b in 0.0..1.0_f64,
        ) {
            let d = free(shape, q);
            prop_assert!(d.quantile(a.min(b)) <= d.quantile(a.max(b)));
        }

        #[test]
        fn every_draw_from_a_countable_distribution_is_one_of_its_values(
            shape in shapes(),
            q in 0.1..5.0_f64,
            u in 0.0..1.0_f64,
        ) {
            let d = free(shape, Some(q));
            if let (Some(size), Shape::Uniform { .. } | Shape::LogUniform { .. }) =
                (d.size(), shape)
            {
                let drawn = d.quantile(u);
                prop_assert!((0..size).any(|i| d.nth(i) == drawn), "{drawn} in {d:?}");
            }
        }

        #[test]
        fn no_draw_leaves_the_limits(
            mu in -0.5..4.5_f64,
            sigma in 0.5..5.0_f64,
            q in proptest::option::of(0.1..2.0_f64),
            u in 0.0..1.0_f64,
        ) {
            let limits = Distribution {
                lowest: 0.0,
                highest: 4.0,
                ..free(Shape::Normal { mu, sigma }, q)
            };
            prop_assert!((0.0..=4.0).contains(&limits.quantile(u)));
        }
    }
}
