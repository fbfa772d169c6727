//! From a configuration back to a point of the unit cube (the inverse of [`SearchSpace::sample`]),
//! and to configurations that people would write.

use crate::distribution::Distribution;
use crate::parameter::{Kind, Parameter, ParameterValue};
use crate::space::{Axis, Choice, SearchSpace};
use crate::trial::TrialConfig;

impl SearchSpace {
    /// The shares, one a parameter in the order of [`Parameter::ALL`], at which
    /// [`Self::sample`] gives `config`, or what lies nearest to it in this space. Listed values
    /// have the middle of their range of shares; numbers are compared by their ratio.
    pub fn shares_of(&self, config: &TrialConfig) -> [f64; Parameter::COUNT] {
        Parameter::ALL.map(|parameter| {
            let own = parameter.row().get(config);
            match self.axis(parameter) {
                Axis::Choice(choice) => choice.share_by(|listed| {
                    let listed = listed.at_rank(config.rank);
                    match listed.number().zip(own.number()) {
                        Some((listed, own)) => apart(listed, own),
                        None => f64::from(u8::from(listed != own)),
                    }
                }),
                Axis::Distribution(distribution) => {
                    share_in(distribution, own.number().unwrap_or_default())
                }
            }
        })
    }

    /// What lies nearest to `config` in this space, readable.
    pub fn nearest(&self, config: &TrialConfig) -> TrialConfig {
        self.readable(self.sample(&self.shares_of(config)))
    }

    /// Rounds the continuous settings of a configuration to three digits, where the space allows
    /// it: nobody wants to type a learning rate of 0.000213748.
    pub fn readable(&self, mut config: TrialConfig) -> TrialConfig {
        for parameter in Parameter::ALL {
            let (Kind::Real(place) | Kind::Rate(place)) = &parameter.row().kind else { continue };
            let Some(distribution) = self.axis(parameter).distribution() else { continue };
            if distribution.size().is_some() || distribution.q.is_some() {
                continue;
            }
            let x = (place.get)(&config);
            let rounded: f64 = format!("{x:.2e}").parse().unwrap_or(x);
            let (low, high) =
                distribution.range().unwrap_or((distribution.lowest, distribution.highest));
            if (low..=high).contains(&rounded) {
                (place.set)(&mut config, rounded);
            }
        }
        config
    }
}

impl Choice {
    /// The middle of the shares of the listed value that is nearest, the first of equals.
    fn share_by(&self, distance: impl Fn(&ParameterValue) -> f64) -> f64 {
        let distances = self.values().iter().map(distance).enumerate();
        let (index, _) = distances.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
        let (before, own) = self.share_range(index);
        before + own / 2.0
    }
}

/// How far two numbers are from each other: by their ratio where both are above 0.
fn apart(a: f64, b: f64) -> f64 {
    if a > 0.0 && b > 0.0 { (a / b).ln().abs() } else { (a - b).abs() }
}

/// Bisects for the middle of the shares that give `x`, since a quantile function never falls.
fn share_in(distribution: &Distribution, x: f64) -> f64 {
    let bisect = |is_below: &dyn Fn(f64) -> bool| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if is_below(distribution.quantile(middle)) {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    };
    f64::midpoint(bisect(&|value| value < x), bisect(&|value| value <= x))
}
