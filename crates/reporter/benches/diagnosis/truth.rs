//! What is true of a run at one of its evaluations, by its losses on rows that no rule sees.

use crate::table::Run;

/// What a level is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Two evaluations in a row, as the rule has it.
    Two,
    /// A single evaluation.
    One,
}

/// The rise of the loss over its lowest level up to the evaluation, as a share of that; 0 where less
/// than half of it is a widening of the gap.
pub fn rise(run: &Run, end: usize, level: Level) -> f64 {
    let truth: Vec<f64> = run.points[..=end].iter().map(|p| p.truth).collect();
    let train: Vec<f64> = run.points[..=end].iter().map(|p| p.train).collect();
    let mean = levels(&truth, level, f64::midpoint);
    let (below, above) = (levels(&truth, level, f64::max), levels(&truth, level, f64::min));
    let train = levels(&train, level, f64::midpoint);
    let last = mean.len() - 1;
    let lowest = (0..=last).min_by(|&a, &b| mean[a].total_cmp(&mean[b])).unwrap_or(0);
    let held = below.iter().copied().fold(f64::INFINITY, f64::min);
    let rise = (above[last] - mean[lowest]).min(mean[last] - held);
    let along = train[last] - train[lowest];
    if rise - along >= rise / 2.0 { (rise / mean[lowest]).max(0.0) } else { 0.0 }
}

/// At least half of a rise is a widening of the gap.
pub fn is_widening(losses: &[f64], train: &[f64], from: usize, to: usize) -> bool {
    let rise = losses[to] - losses[from];
    rise - (train[to] - train[from]) >= rise / 2.0
}

/// The base model's loss, then those of two evaluations in a row taken together.
fn levels(losses: &[f64], level: Level, together: fn(f64, f64) -> f64) -> Vec<f64> {
    match level {
        Level::One => losses.to_vec(),
        Level::Two => {
            let own = losses[1..].windows(2).map(|pair| together(pair[0], pair[1]));
            std::iter::once(losses[0]).chain(own).collect()
        }
    }
}

/// The lowest loss of the run itself up to an evaluation, or to where it diverged.
pub fn lowest(run: &Run, end: usize) -> f64 {
    run.points[1..=end.min(run.points.len() - 1)]
        .iter()
        .map(|p| p.truth)
        .fold(f64::INFINITY, f64::min)
}
