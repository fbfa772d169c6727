//! Spikes of the training loss: single steps far above what their neighbours spread over.

use spec::TrainPoint;

/// Steps before the one that is judged.
const WINDOW: usize = 32;

/// Fewer steps than this tell no spread.
const LEAST: usize = 16;

/// Robust standard deviations above the median of the window. The loss of a batch is noisy, with a
/// tail: six deviations and a fifth of the median apart are not noise.
const DEVIATIONS: f64 = 6.0;
const SHARE: f64 = 0.2;

/// The median absolute deviation of a normal variable is this share of its standard deviation.
const MAD_OF_NORMAL: f64 = 0.6745;

/// So many spikes, and this share of the steps, make a learning rate too high.
const MANY: usize = 3;
const MANY_SHARE: f64 = 0.005;

/// Number of spikes of a run, 0 when they are few enough to be chance.
pub fn spikes(points: &[TrainPoint]) -> usize {
    let losses: Vec<f64> = points.iter().map(|point| point.loss).collect();
    let count = (LEAST..losses.len())
        .filter(|&at| is_spike(&losses[at.saturating_sub(WINDOW)..at], losses[at]))
        .count();
    let many = MANY.max((MANY_SHARE * losses.len() as f64).ceil() as usize);
    if count >= many { count } else { 0 }
}

fn is_spike(before: &[f64], loss: f64) -> bool {
    let mut sorted = before.to_vec();
    let middle = median(&mut sorted);
    let mut apart: Vec<f64> = before.iter().map(|x| (x - middle).abs()).collect();
    let spread = median(&mut apart) / MAD_OF_NORMAL;
    loss - middle > DEVIATIONS * spread && loss > (1.0 + SHARE) * middle
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
