//! Simultaneous intervals of the differences from the best, by a paired bootstrap over examples.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::candidate::{Candidate, Candidates};
use super::{Against, Z95};

/// Replicates: the 95 % quantile then rests on 50 of them.
const REPLICATES: usize = 1000;

/// A candidate this many standard errors behind cannot be tied and is not resampled.
const FAR: f64 = 6.0;

/// So many candidates are resampled at most, the closest first.
const MOST_RESAMPLED: usize = 256;

/// The 95 % level of the intervals.
const LEVEL: f64 = 0.95;

/// The critical value of a single comparison, and the least that several can have.
pub const SINGLE: f64 = 1.644_854;

/// Every candidate against the best.
#[derive(Debug, Clone)]
pub struct Intervals {
    /// In the order of the candidates.
    pub of: Vec<Against>,
    /// Critical value of all of them together.
    pub critical: f64,
}

impl Intervals {
    /// Compares all candidates with the one at `best`.
    pub fn new(found: &Candidates, best: usize) -> Self {
        let reference = &found.list[best];
        let rough: Vec<(f64, f64)> = found
            .list
            .iter()
            .map(|candidate| (candidate.loss - reference.loss, paired(found, candidate, reference)))
            .collect();
        let mut close: Vec<usize> =
            (0..rough.len()).filter(|&at| at != best && rough[at].0 <= FAR * rough[at].1).collect();
        close.sort_by(|&a, &b| rough[a].0.total_cmp(&rough[b].0));
        close.truncate(MOST_RESAMPLED);

        let replicates = replicates(found, reference, &close);
        let mut stderr: Vec<f64> = rough.iter().map(|(_, stderr)| *stderr).collect();
        let count = found.targets.len() as f64;
        // A single example tells nothing of the spread; of few, resampling shows too little of it.
        if count >= 2.0 {
            for (row, &at) in replicates.iter().zip(&close) {
                stderr[at] = deviation(row) * (count / (count - 1.0)).sqrt();
            }
        }
        let critical = critical(&replicates, &close, &rough, &stderr);
        let of = rough
            .iter()
            .zip(&stderr)
            .map(|((difference, _), stderr)| interval(*difference, *stderr, critical))
            .collect();
        Self { of, critical }
    }

    /// Something that is no candidate, such as the base model, against the best.
    pub fn against(&self, found: &Candidates, other: &Candidate, best: usize) -> Against {
        let reference = &found.list[best];
        let stderr = paired(found, other, reference);
        interval(other.loss - reference.loss, stderr, self.critical.max(Z95))
    }
}

/// The interval around a difference.
pub fn interval(difference: f64, stderr: f64, critical: f64) -> Against {
    let half = critical * stderr;
    let (low, high) = (difference - half, difference + half);
    Against { difference, stderr, low, high, is_tied: low <= 0.0 }
}

/// Standard error of the difference of two losses on the same examples, with the variance between
/// seeds.
fn paired(found: &Candidates, a: &Candidate, b: &Candidate) -> f64 {
    if a.trials == b.trials {
        return 0.0;
    }
    let pairs = a.nll.iter().zip(&b.nll).zip(&found.targets).map(|((a, b), t)| (a - b, *t));
    let tokens: f64 = found.targets.iter().sum();
    let examples = ratio_error(pairs, a.loss - b.loss, tokens);
    let seeds = |c: &Candidate| found.seed_variance.unwrap_or(0.0) / c.trials.len() as f64;
    (examples.powi(2) + seeds(a) + seeds(b)).sqrt()
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

/// Differences from the reference, one row a candidate of `close`, one column a replicate.
fn replicates(found: &Candidates, reference: &Candidate, close: &[usize]) -> Vec<Vec<f64>> {
    let mut random = ChaCha8Rng::seed_from_u64(0x010a_5eed);
    let count = found.targets.len();
    let apart: Vec<Vec<f64>> = close
        .iter()
        .map(|&at| found.list[at].nll.iter().zip(&reference.nll).map(|(a, b)| a - b).collect())
        .collect();
    let deviation = |candidate: &Candidate| {
        (found.seed_variance.unwrap_or(0.0) / candidate.trials.len() as f64).sqrt()
    };
    let mut rows = vec![Vec::with_capacity(REPLICATES); close.len()];
    for _ in 0..REPLICATES {
        let mut weights = vec![0.0_f64; count];
        for _ in 0..count {
            weights[random.random_range(0..count)] += 1.0;
        }
        let tokens = dot(&weights, &found.targets);
        let moved = deviation(reference) * normal(&mut random);
        for ((row, apart), &at) in rows.iter_mut().zip(&apart).zip(close) {
            let own = deviation(&found.list[at]) * normal(&mut random);
            row.push(dot(&weights, apart) / tokens + own - moved);
        }
    }
    rows
}

/// The 95 % quantile of the largest studentised deviation.
fn critical(rows: &[Vec<f64>], close: &[usize], rough: &[(f64, f64)], stderr: &[f64]) -> f64 {
    let mut largest: Vec<f64> = (0..REPLICATES)
        .map(|b| {
            let each = rows.iter().zip(close).filter(|(_, at)| stderr[**at] > 0.0);
            each.map(|(row, &at)| (rough[at].0 - row[b]) / stderr[at]).fold(0.0, f64::max)
        })
        .collect();
    largest.sort_by(f64::total_cmp);
    largest[(LEVEL * REPLICATES as f64) as usize].max(SINGLE)
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// Four sums side by side, so that the additions need not wait for each other.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a4, a_rest), (b4, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    let mut sums = [0.0; 4];
    for (x, y) in a4.iter().zip(b4) {
        for lane in 0..4 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f64>() + rest
}

/// A standard normal deviate (Box & Muller 1958).
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}
