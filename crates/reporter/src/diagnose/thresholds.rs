//! Thresholds that do not part runs with nearly the same curve.
//!
//! A share of 0.499 and one of 0.501 are the same curve twice. So a threshold is moved, by at most
//! [`MARGIN`], to the middle of the widest gap between the shares that the sweep's runs have around it.

use spec::{ReportSettings, SweepState};

use super::{Reference, improvement_share};

/// How far a threshold moves at most.
const MARGIN: f64 = 0.03;

/// The settings with thresholds of shares that fit the runs of `state`.
pub fn settled(settings: &ReportSettings, state: &SweepState) -> ReportSettings {
    let reference = Reference::of(state);
    let ended = state.trials.values().filter(|trial| trial.outcome().is_some());
    let shares: Vec<f64> = ended
        .filter_map(|trial| improvement_share(trial, reference.for_trial(trial, state)))
        .collect();
    ReportSettings {
        too_slow_share: moved(settings.too_slow_share, &shares),
        underfit_share: moved(settings.underfit_share, &shares),
        ..settings.clone()
    }
}

fn moved(threshold: f64, shares: &[f64]) -> f64 {
    let (low, high) = (threshold - MARGIN, threshold + MARGIN);
    let mut around: Vec<f64> =
        shares.iter().copied().filter(|share| (low..=high).contains(share)).collect();
    if around.is_empty() {
        return threshold;
    }
    around.extend([low, high]);
    around.sort_by(f64::total_cmp);
    let gaps = around.windows(2).map(|pair| (pair[1] - pair[0], f64::midpoint(pair[0], pair[1])));
    gaps.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(threshold, |(_, middle)| middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_moves_to_where_no_run_is_near() {
        assert_eq!(moved(0.5, &[0.1, 0.9]), 0.5);
        let between = moved(0.5, &[0.499, 0.501]);
        assert!(!(0.49..=0.51).contains(&between), "{between}");
        assert!((0.47..=0.53).contains(&between), "{between}");
    }
}
