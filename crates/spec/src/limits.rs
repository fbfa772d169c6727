//! Which numbers a setting allows.

use std::fmt;

/// An interval of numbers, with words for messages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    pub whole: bool,
    low: End,
    high: End,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    None,
    Closed(f64),
    Open(f64),
}

impl Limits {
    /// Any finite number.
    pub const ANY: Self = Self { whole: false, low: End::None, high: End::None };

    /// A seed: whole, from 0 to 2^53, up to which whole numbers survive the way through a double
    /// and through JSON.
    pub const SEED: Self = Self::whole(0).to(9_007_199_254_740_992.0);

    /// Whole numbers, also negative ones, that are exact as doubles.
    pub const EXACT: Self = Self {
        whole: true,
        low: End::Closed(-9_007_199_254_740_992.0),
        high: End::Closed(9_007_199_254_740_992.0),
    };

    /// Numbers above `low`.
    pub const fn above(low: f64) -> Self {
        Self { whole: false, low: End::Open(low), high: End::None }
    }

    /// Numbers from `low` on.
    pub const fn from(low: f64) -> Self {
        Self { whole: false, low: End::Closed(low), high: End::None }
    }

    /// Whole numbers from `low` on.
    pub const fn whole(low: u32) -> Self {
        Self { whole: true, low: End::Closed(low as f64), high: End::None }
    }

    /// The same, but not above `high`.
    pub const fn to(self, high: f64) -> Self {
        Self { high: End::Closed(high), ..self }
    }

    /// The same, but below `high`.
    pub const fn below(self, high: f64) -> Self {
        Self { high: End::Open(high), ..self }
    }

    /// The same, but not above the largest `u32`.
    pub fn within_u32(self) -> Self {
        if self.highest() > f64::from(u32::MAX) { self.to(f64::from(u32::MAX)) } else { self }
    }

    /// The numbers that `other` allows, too.
    pub fn and(self, other: Self) -> Self {
        Self {
            whole: self.whole || other.whole,
            low: if other.lowest() > self.lowest() { other.low } else { self.low },
            high: if other.highest() < self.highest() { other.high } else { self.high },
        }
    }

    /// Its ends, each with the keyword that JSON Schema has for it.
    pub fn ends(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let low = match self.low {
            End::None => None,
            End::Closed(low) => Some(("minimum", low)),
            End::Open(low) => Some(("exclusiveMinimum", low)),
        };
        let high = match self.high {
            End::None => None,
            End::Closed(high) => Some(("maximum", high)),
            End::Open(high) => Some(("exclusiveMaximum", high)),
        };
        low.into_iter().chain(high)
    }

    /// The smallest allowed number.
    pub fn lowest(&self) -> f64 {
        match self.low {
            End::None => f64::MIN,
            End::Closed(low) => low,
            End::Open(low) => low.next_up().max(f64::MIN_POSITIVE),
        }
    }

    /// The largest allowed number.
    pub fn highest(&self) -> f64 {
        match self.high {
            End::None => f64::MAX,
            End::Closed(high) => high,
            End::Open(high) => high.next_down(),
        }
    }

    pub fn contains(&self, x: f64) -> bool {
        (self.lowest()..=self.highest()).contains(&x) && (!self.whole || x.fract() == 0.0)
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.whole { "a whole number" } else { "a number" })?;
        match (self.low, self.high) {
            (End::None, End::None) => Ok(()),
            (End::Closed(low), End::Closed(high)) => write!(f, " from {low} to {high}"),
            (End::Closed(low), End::Open(high)) => write!(f, " from {low} to below {high}"),
            (End::Open(low), End::Closed(high)) => write!(f, " above {low}, at most {high}"),
            (End::Open(low), End::Open(high)) => write!(f, " above {low} and below {high}"),
            (End::Closed(low), End::None) => write!(f, " from {low} on"),
            (End::Open(low), End::None) => write!(f, " above {low}"),
            (End::None, End::Closed(high)) => write!(f, " up to {high}"),
            (End::None, End::Open(high)) => write!(f, " below {high}"),
        }
    }
}
