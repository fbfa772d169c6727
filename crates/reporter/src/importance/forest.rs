//! A regression forest over a unit box, and the variance of its marginals.
//!
//! A tree is a set of boxes with a value each. With `w(l)` the volume of box l and `y(l)` its value, the
//! mean is `sum w y` and the variance `sum w y^2 - mean^2`. The marginal of coordinate j at x is the sum of
//! `y(l) w(l) / length_j(l)` over the boxes whose side j covers x: a step function, whose steps are
//! added up in the order of their places.

use std::cmp::Ordering;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Column;

/// Trees; Optuna has as many.
const TREES: usize = 64;

/// A box with the mean loss of the runs in it.
struct Leaf {
    /// Lower and upper end of each side.
    sides: Vec<[f64; 2]>,
    value: f64,
}

impl Leaf {
    fn volume(&self) -> f64 {
        self.sides.iter().map(|[low, high]| high - low).product()
    }
}

pub struct Forest {
    trees: Vec<Vec<Leaf>>,
}

impl Forest {
    pub fn new(columns: &[Column], losses: &[f64]) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(0x000f_0e57);
        let count = losses.len();
        let trees = (0..TREES)
            .map(|_| {
                let rows: Vec<usize> = (0..count).map(|_| random.random_range(0..count)).collect();
                let mut leaves = Vec::new();
                grow(columns, losses, rows, vec![[0.0, 1.0]; columns.len()], &mut leaves);
                leaves
            })
            .collect();
        Self { trees }
    }

    /// Mean over trees of a coordinate's main effect, and its standard deviation.
    pub fn main_effect(&self, at: usize) -> (f64, f64) {
        let shares: Vec<f64> = self.trees.iter().filter_map(|tree| main_effect(tree, at)).collect();
        let count = shares.len().max(1) as f64;
        let mean = shares.iter().sum::<f64>() / count;
        let squares: f64 = shares.iter().map(|share| (share - mean).powi(2)).sum();
        (mean.clamp(0.0, 1.0), (squares / (count - 1.0).max(1.0)).sqrt())
    }
}

/// `Var f_j / Var f`; `None` for a tree that is flat.
fn main_effect(leaves: &[Leaf], at: usize) -> Option<f64> {
    let weighted = |f: fn(f64) -> f64| -> f64 {
        leaves.iter().map(|leaf| leaf.volume() * f(leaf.value)).sum()
    };
    let mean = weighted(|y| y);
    let variance = weighted(|y| y * y) - mean * mean;
    if variance <= 1e-12 * mean * mean {
        return None;
    }
    // Each box steps the marginal up where its side begins and down where it ends.
    let mut steps: Vec<(f64, f64)> = leaves
        .iter()
        .flat_map(|leaf| {
            let [low, high] = leaf.sides[at];
            // A box without extent adds nothing.
            let height = if high > low { leaf.value * leaf.volume() / (high - low) } else { 0.0 };
            [(low, height), (high, -height)]
        })
        .collect();
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut level, mut squares) = (0.0, 0.0);
    for pair in steps.windows(2) {
        level += pair[0].1;
        squares += (pair[1].0 - pair[0].0) * (level - mean).powi(2);
    }
    Some((squares / variance).clamp(0.0, 1.0))
}

/// A cut of a box in two.
struct Split {
    coordinate: usize,
    /// Rows below or at it go to the first part.
    place: f64,
    gain: f64,
}

/// Cuts until the rows of a box have one loss or one place (Breiman et al. 1984).
fn grow(
    columns: &[Column],
    losses: &[f64],
    rows: Vec<usize>,
    sides: Vec<[f64; 2]>,
    leaves: &mut Vec<Leaf>,
) {
    let mut open = vec![(rows, sides)];
    while let Some((rows, sides)) = open.pop() {
        let best = (0..columns.len())
            .filter_map(|at| best_split(columns, losses, &rows, at))
            .max_by(|a, b| a.gain.total_cmp(&b.gain));
        let Some(Split { coordinate, place, .. }) = best else {
            let value = rows.iter().map(|&row| losses[row]).sum::<f64>() / rows.len() as f64;
            leaves.push(Leaf { sides, value });
            continue;
        };
        let is_below = |row: &usize| columns[coordinate].values[*row] <= place;
        let (below, above) = rows.into_iter().partition(is_below);
        let (mut first, mut second) = (sides.clone(), sides);
        first[coordinate][1] = place;
        second[coordinate][0] = place;
        open.push((below, first));
        open.push((above, second));
    }
}

/// The cut of one coordinate that lowers the squared error most; `None` where there is nothing to cut.
fn best_split(columns: &[Column], losses: &[f64], rows: &[usize], at: usize) -> Option<Split> {
    let values = &columns[at].values;
    let mut sorted = rows.to_vec();
    sorted.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let total: f64 = sorted.iter().map(|&row| losses[row]).sum();
    let count = sorted.len() as f64;
    let mut below = 0.0;
    let mut best: Option<Split> = None;
    for (n, pair) in (1..).zip(sorted.windows(2)) {
        below += losses[pair[0]];
        let (low, high) = (values[pair[0]], values[pair[1]]);
        // Places beyond the range of numbers are none, and are not cut at.
        if low.partial_cmp(&high) != Some(Ordering::Less) {
            continue;
        }
        let n = f64::from(n);
        let gain =
            below * below / n + (total - below).powi(2) / (count - n) - total * total / count;
        if gain > 1e-12 * total.abs() && best.as_ref().is_none_or(|best| gain > best.gain) {
            let place = cut(&columns[at], low, high);
            best = Some(Split { coordinate: at, place, gain });
        }
    }
    best
}

/// Between two numbers the middle; between two names the border of the first one's part. Always below
/// `high`, so that a row is on either side: the middle of neighbouring numbers is rounded to one of them.
fn cut(column: &Column, low: f64, high: f64) -> f64 {
    if column.names > 0 {
        return low + 0.5 / column.names as f64;
    }
    let middle = f64::midpoint(low, high);
    if middle < high { middle } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The middle of two neighbouring numbers is one of them, and a range beyond all numbers has none:
    /// both were cut again and again, into all rows and none.
    #[test]
    fn neighbouring_numbers_and_places_that_are_none_are_not_cut_for_ever() {
        let columns = [
            Column { values: vec![0.0, 1.0_f64.next_down(), 1.0, 1.0], names: 0 },
            Column { values: vec![f64::NAN, 0.0, f64::NAN, f64::INFINITY], names: 0 },
            Column { values: vec![0.0, 5e-324, 5e-324, 1.0], names: 0 },
        ];
        for losses in [[1.0, 2.0, 5.0, 3.0], [1e300, -1e300, f64::MAX, f64::MIN]] {
            let forest = Forest::new(&columns, &losses);
            assert!(forest.trees.iter().all(|leaves| (1..=4).contains(&leaves.len())));
        }
        let shares =
            (0..3).map(|at| Forest::new(&columns, &[1.0, 2.0, 5.0, 3.0]).main_effect(at).0);
        assert!(shares.into_iter().all(|share| (0.0..=1.0).contains(&share)));
    }
}
