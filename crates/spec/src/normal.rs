//! The standard normal distribution: its cumulative distribution function and the inverse.
//!
//! Notation: Φ(x) is the probability of a value below x, p a probability in (0, 1).

use std::f64::consts::{PI, SQRT_2};

/// Φ(x) = erfc(-x / √2) / 2, which keeps its relative precision in the lower tail.
pub(crate) fn cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// The x with Φ(x) = p, for p in (0, 1); accurate to a few units in the last place.
///
/// Tukey's lambda approximation (within 0.5 of the root for every p that is a double) starts
/// Newton's iteration on ln Φ below one half; above it, Φ⁻¹(p) = -Φ⁻¹(1 - p). On the logarithm
/// the function is concave and nearly quadratic, so the iteration also converges in the far tail.
pub(crate) fn quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -quantile(1.0 - p);
    }
    let mut x = if p > 1e-3 {
        // Tukey's lambda with exponent 0.135.
        (p.powf(0.135) - (1.0 - p).powf(0.135)) / 0.1975
    } else {
        // Leading terms of the tail: Φ(x) ≈ exp(-x²/2) / (|x| √(2π)).
        let t = -2.0 * p.ln();
        -(t - (2.0 * PI * t).ln()).sqrt()
    };
    for _ in 0..20 {
        let below = cdf(x);
        let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
        let step = (below / p).ln() * below / density;
        x -= step;
        if step.abs() <= 4.0 * f64::EPSILON * x.abs().max(1.0) {
            break;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{cdf, quantile};

    #[test]
    fn quantiles_agree_with_published_values() {
        // Wichura 1988, Algorithm AS 241, table of test values.
        let published = [
            (0.25, -0.674_489_750_196_081_7),
            (0.001, -3.090_232_306_167_814),
            (1e-20, -9.262_340_089_798_408),
        ];
        for (p, expected) in published {
            assert!((quantile(p) - expected).abs() < 1e-12, "{p}: {}", quantile(p));
        }
    }

    #[test]
    fn the_median_is_zero() {
        assert!(quantile(0.5).abs() < 1e-16);
    }

    proptest! {
        #[test]
        fn the_quantile_inverts_the_distribution(exponent in -300.0..-0.302_f64) {
            let p = 10_f64.powf(exponent);
            prop_assert!((cdf(quantile(p)) / p - 1.0).abs() < 1e-10);
        }
    }
}
