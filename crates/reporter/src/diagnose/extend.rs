//! The search space extended beyond an edge, as lines of a sweep file.
//!
//! Only to what makes sense for the data: no rank that could hold the training rows many times over
//! (`capacity`), and no batch that leaves fewer than [`LEAST_STEPS`] optimizer steps an epoch.

use std::fmt::Write as _;

use spec::{SweepState, TrialConfig};

use super::capacity::Capacity;
use super::facts::{Edge, Side};
use crate::number::learning_rate;

/// Values listed before a range is written instead.
const MOST_LISTED: usize = 10;

/// New values beyond the edge.
const BEYOND: i32 = 2;

/// Fewer optimizer steps an epoch than this make a batch too large for the rows.
const LEAST_STEPS: u64 = 16;

/// Something sensible lies beyond the edge.
pub fn leads_on(state: &SweepState, edge: &Edge) -> bool {
    match (edge.parameter, edge.side) {
        ("rank", Side::Highest) => !is_far_beyond(state, edge.value),
        ("batch_size", Side::Highest) => is_batch_possible(state, 2 * edge.value as u32),
        ("learning_rate", _) => true,
        _ => edge.value > 1.0,
    }
}

/// The rows are enough for batches of this size.
pub fn is_batch_possible(state: &SweepState, batch_size: u32) -> bool {
    let rows = state.facts.as_ref().map_or(0, |facts| facts.train_examples);
    rows == 0 || rows / u64::from(batch_size.max(1)) >= LEAST_STEPS
}

fn is_far_beyond(state: &SweepState, rank: f64) -> bool {
    Capacity::of(state, rank as u32).is_some_and(|capacity| capacity.is_far_beyond())
}

/// Whether the parameter's values were drawn from a range, as far as the runs show: then hardly two have the
/// same. The highest drawn is not the range's end, which the journal does not tell.
pub fn is_drawn(state: &SweepState, edge: &Edge) -> bool {
    const FEWEST: usize = 4;
    let tried = tried(state, edge).len();
    tried >= FEWEST && 2 * tried > state.trials.len()
}

/// The values that runs have, rising.
fn tried(state: &SweepState, edge: &Edge) -> Vec<f64> {
    let of = |config: &TrialConfig| match edge.parameter {
        "learning_rate" => config.learning_rate,
        "rank" => f64::from(config.rank),
        _ => f64::from(config.batch_size),
    };
    let mut tried: Vec<f64> = state.trials.values().map(|t| of(&t.trial.config)).collect();
    tried.sort_by(f64::total_cmp);
    tried.dedup();
    tried
}

/// The parameter with what was tried around the edge and what to try beyond it; `None` where
/// nothing lies beyond (a rank below 1, a learning rate above 1), or where the values were drawn.
pub fn yaml(state: &SweepState, edge: &Edge) -> Option<String> {
    if is_drawn(state, edge) {
        return None;
    }
    let is_rate = edge.parameter == "learning_rate";
    let mut tried = tried(state, edge);
    if edge.side == Side::Lowest {
        tried.reverse();
    }
    let next = tried.iter().rev().nth(1).copied()?;
    let factor = (edge.value / next).max(next / edge.value).max(if is_rate { 1.5 } else { 2.0 });
    let beyond = |times: i32| {
        let value = match edge.side {
            Side::Highest => edge.value * factor.powi(times),
            Side::Lowest => edge.value / factor.powi(times),
        };
        if is_rate { value } else { value.round() }
    };
    let is_possible = |value: &f64| match edge.parameter {
        "learning_rate" => *value <= 1.0,
        "rank" => *value >= 1.0 && !is_far_beyond(state, *value),
        _ => *value >= 1.0 && is_batch_possible(state, *value as u32),
    };
    let new: Vec<f64> = (1..=BEYOND).map(beyond).filter(is_possible).collect();
    let last = *new.last().filter(|last| **last != edge.value)?;

    let mut text = "parameters:\n".to_owned();
    if tried.len() > MOST_LISTED {
        let (low, high) = (last.min(edge.value), last.max(edge.value));
        let distribution = if is_rate { "log_uniform_values" } else { "int_uniform" };
        let (low, high) = (write(is_rate, low), write(is_rate, high));
        let range = format!("{{distribution: {distribution}, min: {low}, max: {high}}}");
        let _ = writeln!(text, "  {}: {range}", edge.parameter);
    } else {
        let mut values = vec![next, edge.value];
        values.extend(new);
        values.sort_by(f64::total_cmp);
        let values: Vec<String> = values.into_iter().map(|v| write(is_rate, v)).collect();
        let _ = writeln!(text, "  {}: [{}]", edge.parameter, values.join(", "));
    }
    Some(text)
}

fn write(is_rate: bool, value: f64) -> String {
    if is_rate { learning_rate(value) } else { format!("{value:.0}") }
}
