//! What an axis of losses shows: everything that matters, and not the heights to which a few
//! diverged runs went.

/// How far, in spreads of the values, a reference may lie outside them and still be shown.
const REACH: f64 = 0.6;

/// Range for `values` with a small margin. Values far above the bulk (more than twice its spread
/// above the 90 % quantile) are left outside, to be cut at the top. `None` without any value.
pub fn robust(values: &[f64]) -> Option<(f64, f64)> {
    bulk(values).map(|(low, high)| margin(low, high))
}

/// As [`robust`], reaching to `reference` unless that would squeeze the values.
pub fn robust_with(values: &[f64], reference: Option<f64>) -> Option<(f64, f64)> {
    let Some((low, high)) = bulk(values) else {
        return reference.map(|value| margin(value, value));
    };
    let stretch = REACH * (high - low);
    let near = |value: &f64| (low - stretch..=high + stretch).contains(value);
    Some(match reference.filter(near) {
        Some(value) => margin(low.min(value), high.max(value)),
        None => margin(low, high),
    })
}

/// Range for all of the values with a small margin.
pub fn whole(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let of = |range: Option<(f64, f64)>, value: f64| match range {
        Some((low, high)) => Some((low.min(value), high.max(value))),
        None => Some((value, value)),
    };
    values.filter(|value| value.is_finite()).fold(None, of).map(|(low, high)| margin(low, high))
}

/// Lowest and highest of the values that matter, without a margin.
pub fn bulk(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (&low, &top) = (sorted.first()?, sorted.last()?);
    let quantile = sorted[(sorted.len() - 1) * 9 / 10];
    let ceiling = if quantile > low { quantile + 2.0 * (quantile - low) } else { top };
    Some((low, top.min(ceiling)))
}

/// Room above for a remark, and below for the label of the lowest point.
fn margin(low: f64, high: f64) -> (f64, f64) {
    let spread = if high > low { high - low } else { low.abs().max(0.5) * 0.1 };
    (low - 0.13 * spread, high + 0.1 * spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_diverged_run_does_not_ruin_the_range() {
        let mut values: Vec<f64> = (0..50).map(|n| 1.0 + 0.02 * f64::from(n)).collect();
        values.push(400.0);
        let (low, high) = robust(&values).expect("values");
        assert!(low > 0.6 && low < 1.0);
        assert!(high < 7.0, "{high}");
    }

    #[test]
    fn a_reference_far_away_is_left_out_and_a_near_one_is_shown() {
        let values = [1.0, 1.2, 1.1, 1.05];
        let (_, high) = robust_with(&values, Some(1.3)).expect("values");
        assert!(high > 1.3);
        let (_, high) = robust_with(&values, Some(1.4)).expect("values");
        assert!(high < 1.4);
    }

    #[test]
    fn the_whole_range_leaves_nothing_out() {
        let (low, high) = whole([0.0, 1.0, 400.0].into_iter()).expect("values");
        assert!(low < 0.0 && high > 400.0);
        assert_eq!(whole([f64::NAN].into_iter()), None);
    }

    #[test]
    fn equal_values_still_span_an_axis() {
        for value in [0.0, 1.0, -2.0] {
            let (low, high) = robust(&[value, value]).expect("values");
            assert!(low < value && value < high);
        }
        assert_eq!(robust(&[]), None);
    }
}
