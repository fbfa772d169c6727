//! Logarithm of the expected improvement, which keeps its gradient where the improvement itself
//! is too small for a float (Ament et al. 2023, arXiv:2310.20708).

use std::f64::consts::{PI, SQRT_2};

/// `ln E[max(best - f, 0)]` for a normal f.
pub(crate) fn log_expected_improvement(mean: f64, variance: f64, best: f64) -> f64 {
    let deviation = variance.sqrt();
    deviation.ln() + log_h((best - mean) / deviation)
}

/// `ln(phi(z) + z Phi(z))`.
fn log_h(z: f64) -> f64 {
    let log_density = -0.5 * z * z - 0.5 * (2.0 * PI).ln();
    if z > -20.0 {
        let below = 0.5 * libm::erfc(-z / SQRT_2);
        (log_density.exp() + z * below).ln()
    } else {
        // Leading terms of the tail.
        let s = 1.0 / (z * z);
        log_density + s.ln() + (-3.0 * s + 15.0 * s * s).ln_1p()
    }
}

/// `ln` of the mean of the exponentials.
pub(crate) fn log_mean_exp(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let highest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    if highest == f64::NEG_INFINITY {
        return highest;
    }
    let (sum, count) =
        logs.fold((0.0, 0_usize), |(sum, n), log| (sum + (log - highest).exp(), n + 1));
    highest + (sum / count as f64).ln()
}

/// Probability that a normal value lies below `level`.
pub(crate) fn probability_below(level: f64, mean: f64, deviation: f64) -> f64 {
    0.5 * libm::erfc((mean - level) / (SQRT_2 * deviation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_agrees_with_the_expected_improvement_and_has_no_step() {
        // E[max(-f, 0)] for a standard normal f is the density at 0.
        let at_best = log_expected_improvement(0.0, 1.0, 0.0);
        assert!((at_best - (1.0 / (2.0 * PI).sqrt()).ln()).abs() < 1e-14);
        assert!((log_expected_improvement(-50.0, 4.0, 0.0) - 50.0_f64.ln()).abs() < 1e-12);
        let (left, right) = (log_h(-20.0 - 1e-9), log_h(-20.0 + 1e-9));
        assert!((left - right).abs() < 1e-4, "{left} {right}");
        assert!(log_h(-1e6).is_finite());
    }

    #[test]
    fn the_mean_of_exponentials_does_not_underflow() {
        let mean = log_mean_exp([-2000.0, -2000.0 + 3.0_f64.ln()].into_iter());
        assert!((mean - (-2000.0 + 2.0_f64.ln())).abs() < 1e-12);
    }
}
