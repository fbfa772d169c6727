//! Critical values where a variance is estimated.

/// Normal quantile of a one-sided 95 % comparison: the least that several can have.
pub const SINGLE: f64 = 1.644_854;

/// Normal quantile of a two-sided 95 % interval.
pub const TWO_SIDED: f64 = 1.959_964;

/// Degrees of freedom of a sum of estimated variances, each with its own (Satterthwaite 1946, Biometrics
/// Bulletin 2:110); endless where the sum is 0.
pub fn freedom_of_sum(parts: [(f64, f64); 2]) -> f64 {
    let sum: f64 = parts.iter().map(|(variance, _)| variance).sum();
    let squares: f64 = parts.iter().map(|(variance, freedom)| variance.powi(2) / freedom).sum();
    let freedom = sum.powi(2) / squares;
    if freedom.is_nan() { f64::INFINITY } else { freedom }
}

/// Student's quantile with `freedom` degrees of freedom at the level of the normal quantile `z`
/// (Abramowitz & Stegun 1964, 26.7.5); within 1 % from 3 degrees of freedom on.
pub fn student(z: f64, freedom: f64) -> f64 {
    let f = freedom.max(1.0);
    let odd = |coefficients: &[f64]| {
        // The lowest power first: c0 z + c1 z^3 + ...
        coefficients.iter().rev().fold(0.0, |sum, c| sum * z * z + c) * z
    };
    z + odd(&[1.0, 1.0]) / (4.0 * f)
        + odd(&[3.0, 16.0, 5.0]) / (96.0 * f.powi(2))
        + odd(&[-15.0, 17.0, 19.0, 3.0]) / (384.0 * f.powi(3))
        + odd(&[-945.0, -1920.0, 1482.0, 776.0, 79.0]) / (92_160.0 * f.powi(4))
}

/// Standard error of `ratio`, the sum of the pairs' first values over the sum `total` of their
/// second ones, from the residuals (Cochran 1977, Sampling Techniques, eq. 6.13); infinite for a
/// single pair.
pub fn ratio_error(pairs: impl Iterator<Item = (f64, f64)>, ratio: f64, total: f64) -> f64 {
    let (mut count, mut squares) = (0.0, 0.0);
    for (value, weight) in pairs {
        count += 1.0;
        squares += (value - ratio * weight).powi(2);
    }
    if count < 2.0 { f64::INFINITY } else { (squares * count / (count - 1.0)).sqrt() / total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (z, freedom, expected) in [
            (TWO_SIDED, 3.0, 3.182),
            (TWO_SIDED, 5.0, 2.571),
            (TWO_SIDED, 10.0, 2.228),
            (SINGLE, 4.0, 2.132),
            (SINGLE, 30.0, 1.697),
            (TWO_SIDED, f64::INFINITY, TWO_SIDED),
        ] {
            let found = student(z, freedom);
            assert!((found / expected - 1.0).abs() < 0.01, "{found} is not {expected}");
        }
    }

    #[test]
    fn the_larger_variance_decides_the_degrees_of_freedom() {
        assert!((freedom_of_sum([(1.0, 100.0), (1e-6, 3.0)]) - 100.0).abs() < 0.1);
        assert!((freedom_of_sum([(1e-6, 100.0), (1.0, 3.0)]) - 3.0).abs() < 0.1);
        assert_eq!(freedom_of_sum([(0.0, 100.0), (0.0, 3.0)]), f64::INFINITY);
    }
}
