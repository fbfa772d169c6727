//! Thresholds that do not part runs with nearly the same curve.
//!
//! A share of 0.499 and one of 0.501 are the same curve twice. So a threshold is moved, by at most a
//! margin, to the middle of the widest gap between the shares that the sweep's runs have around it.

use spec::{ReportSettings, SweepState, TrialState};

use super::progress::{FALLING_SHARE, Fall};
use super::{Reference, improvement_share};

/// How far the thresholds of the share that a run reached move at most.
const MARGIN: f64 = 0.03;

/// How far that of a run that is still falling moves at most.
const FALLING_MARGIN: f64 = 0.01;

/// Thresholds that fit the runs of a sweep.
pub struct Thresholds {
    /// The sweep's own, with the shares moved.
    pub settings: ReportSettings,
    /// A run is still falling when its last third brought more than this share of its improvement.
    pub falling_share: f64,
}

/// The thresholds for the runs of `state`.
pub fn settled(settings: &ReportSettings, state: &SweepState) -> Thresholds {
    let reference = Reference::of(state);
    let ended: Vec<&TrialState> =
        state.trials.values().filter(|trial| trial.outcome().is_some()).collect();
    let of = |trial| reference.for_trial(trial, state);
    let shares: Vec<f64> =
        ended.iter().filter_map(|trial| improvement_share(trial, of(trial))).collect();
    let falls: Vec<f64> = ended
        .iter()
        .filter_map(|trial| Fall::of(&trial.evaluations, of(trial).base?, settings))
        .map(|fall| fall.share)
        .collect();
    Thresholds {
        settings: ReportSettings {
            too_slow_share: moved(settings.too_slow_share, MARGIN, &shares),
            underfit_share: moved(settings.underfit_share, MARGIN, &shares),
            ..settings.clone()
        },
        falling_share: moved(FALLING_SHARE, FALLING_MARGIN, &falls),
    }
}

fn moved(threshold: f64, margin: f64, shares: &[f64]) -> f64 {
    let (low, high) = (threshold - margin, threshold + margin);
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
        assert_eq!(moved(0.5, MARGIN, &[0.1, 0.9]), 0.5);
        let between = moved(0.5, MARGIN, &[0.499, 0.501]);
        assert!(!(0.49..=0.51).contains(&between), "{between}");
        assert!((0.47..=0.53).contains(&between), "{between}");
    }
}
