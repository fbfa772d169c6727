//! Simultaneous intervals of the differences from the best, by a paired bootstrap over examples and the
//! seeds' share.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Against;
use super::candidate::Candidates;
use super::student::{SINGLE, TWO_SIDED, freedom_of_sum, student};

/// Replicates: the 95 % quantile then rests on 50 of them.
const REPLICATES: usize = 1000;

/// A candidate this many standard errors behind cannot be tied and is not resampled.
const FAR: f64 = 6.0;

/// So many candidates are resampled at most, the closest first.
const MOST_RESAMPLED: usize = 256;

/// The 95 % level of the intervals.
const LEVEL: f64 = 0.95;

/// Every candidate against the best.
#[derive(Debug, Clone)]
pub struct Intervals {
    /// In the order of the candidates.
    pub of: Vec<Against>,
    /// A comparison with the best alone does not tell the candidate from it (95 %, one-sided); where
    /// no seed was repeated, not even over rows alone.
    pub is_close: Vec<bool>,
    /// Variance over examples of each one's difference.
    pub examples: Vec<f64>,
    /// Critical value of all of them together.
    pub critical: f64,
}

/// The two parts of the error of a difference.
#[derive(Debug, Clone, Copy)]
pub struct Errors {
    /// Variance over examples.
    pub examples: f64,
    /// Variance over seeds.
    pub seeds: f64,
}

impl Errors {
    fn both(self) -> f64 {
        (self.examples + self.seeds).sqrt()
    }
}

/// A bootstrap: rows are candidates, columns replicates.
struct Replicates {
    /// Differences from the reference on resampled examples.
    differences: Vec<Vec<f64>>,
    /// What other seeds would add, drawn with the uncertainty of their variance.
    moves: Vec<Vec<f64>>,
}

impl Intervals {
    /// Compares all candidates with the one at `best`.
    pub fn new(found: &Candidates, best: usize) -> Self {
        let rough = |at: usize| {
            let (own, other) = (&found.list[at], &found.list[best]);
            let examples = if at == best { 0.0 } else { paired(found, &own.nll, &other.nll) };
            (own.loss - other.loss, Errors { examples, seeds: of_seeds(found, at, best) })
        };
        let mut errors: Vec<(f64, Errors)> = (0..found.list.len()).map(rough).collect();
        let mut close: Vec<usize> = (0..errors.len())
            .filter(|&at| at != best && errors[at].0 <= FAR * errors[at].1.both())
            .collect();
        close.sort_by(|&a, &b| errors[a].0.total_cmp(&errors[b].0));
        close.truncate(MOST_RESAMPLED);

        let replicates = Replicates::draw(found, best, &close);
        let count = found.targets.len() as f64;
        // A single example tells nothing of the spread; of few, resampling shows too little of it.
        if count >= 2.0 {
            for (row, &at) in replicates.differences.iter().zip(&close) {
                errors[at].1.examples = variance(row) * count / (count - 1.0);
            }
        }
        let of_rows = replicates.critical(&close, &errors, |errors| errors.examples.sqrt(), false);
        let critical = replicates.critical(&close, &errors, Errors::both, true);
        let of = errors.iter().map(|(difference, errors)| {
            let is_tied_on_rows = *difference <= of_rows * errors.examples.sqrt();
            let apart = interval(*difference, *errors, critical);
            Against { is_tied: apart.is_tied || is_tied_on_rows, is_tied_on_rows, ..apart }
        });
        let of: Vec<Against> = of.collect();
        let is_close = of.iter().zip(&errors).map(|(against, (difference, errors))| {
            // What is exported is a trained run: that another seed might have been as good does not
            // make it so.
            let error = match found.seeds.repeated {
                0 => SINGLE * errors.examples.sqrt(),
                _ => single(found, *errors, SINGLE) * errors.both(),
            };
            against.is_tied && *difference <= error
        });
        let examples = errors.iter().map(|(_, errors)| errors.examples).collect();
        Self { is_close: is_close.collect(), of, examples, critical }
    }
}

/// Something that was not trained, such as the base model, against the candidate at `best`, by at least
/// the critical value `critical`.
pub fn against_untrained(found: &Candidates, nll: &[f64], best: usize, critical: f64) -> Against {
    let examples = paired(found, nll, &found.list[best].nll);
    let errors = Errors { examples, seeds: found.seed_variance(best) };
    let difference = found.loss(nll) - found.list[best].loss;
    let apart = interval(difference, errors, single(found, errors, TWO_SIDED).max(critical));
    let on_rows = critical.max(TWO_SIDED) * examples.sqrt();
    Against { is_tied_on_rows: difference <= on_rows, ..apart }
}

/// One run of the candidate `a` against one of `b`: the first's losses minus the second's, with a 95 %
/// interval of this one comparison.
pub fn pair(found: &Candidates, a: (usize, &[f64]), b: (usize, &[f64])) -> Against {
    let examples = paired(found, a.1, b.1);
    let seeds = if a.0 == b.0 { 0.0 } else { found.seeds.of_run(a.0) + found.seeds.of_run(b.0) };
    let difference = found.loss(a.1) - found.loss(b.1);
    alone(found, difference, Errors { examples, seeds })
}

/// The 95 % interval of a difference that stands alone.
pub fn alone(found: &Candidates, difference: f64, errors: Errors) -> Against {
    let apart = interval(difference, errors, single(found, errors, TWO_SIDED));
    let of_rows = single(found, Errors { seeds: 0.0, ..errors }, TWO_SIDED);
    Against {
        is_tied: apart.low <= 0.0 && apart.high >= 0.0,
        is_tied_on_rows: difference.abs() <= of_rows * errors.examples.sqrt(),
        ..apart
    }
}

/// The interval around a difference.
fn interval(difference: f64, errors: Errors, critical: f64) -> Against {
    let (stderr, stderr_on_rows) = (errors.both(), errors.examples.sqrt());
    let half = critical * stderr;
    let (low, high) = (difference - half, difference + half);
    let (is_tied, is_tied_on_rows) = (low <= 0.0, difference <= critical * stderr_on_rows);
    Against { difference, stderr, stderr_on_rows, low, high, is_tied, is_tied_on_rows }
}

/// Student's critical value of a single comparison, whose normal one is `normal`.
fn single(found: &Candidates, errors: Errors, normal: f64) -> f64 {
    let of_examples = (found.targets.len() as f64 - 1.0).max(1.0);
    let parts = [(errors.examples, of_examples), (errors.seeds, found.seeds.freedom)];
    student(normal, freedom_of_sum(parts))
}

/// Variance between seeds of the difference of two candidates' losses.
fn of_seeds(found: &Candidates, a: usize, b: usize) -> f64 {
    if a == b { 0.0 } else { found.seed_variance(a) + found.seed_variance(b) }
}

/// Variance over examples of the difference of two losses.
fn paired(found: &Candidates, a: &[f64], b: &[f64]) -> f64 {
    let apart: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    found.row_variance(&apart)
}

impl Replicates {
    fn draw(found: &Candidates, best: usize, close: &[usize]) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(0x010a_5eed);
        let count = found.targets.len();
        let reference = &found.list[best];
        let apart: Vec<Vec<f64>> = close
            .iter()
            .map(|&at| found.list[at].nll.iter().zip(&reference.nll).map(|(a, b)| a - b).collect())
            .collect();
        let deviation = |at: usize| found.seed_variance(at).sqrt();
        let freedom = found.seeds.freedom.round().max(1.0);
        let mut differences = vec![Vec::with_capacity(REPLICATES); close.len()];
        let mut moves = vec![Vec::with_capacity(REPLICATES); close.len()];
        for _ in 0..REPLICATES {
            let mut weights = vec![0.0_f64; count];
            for _ in 0..count {
                weights[random.random_range(0..count)] += 1.0;
            }
            let tokens = dot(&weights, &found.targets);
            // The variance itself is not known: it is the scale times freedom over chi-square.
            let chi_square: f64 = (0..freedom as usize).map(|_| normal(&mut random).powi(2)).sum();
            let stretch = (freedom / chi_square).sqrt();
            let moved = deviation(best) * normal(&mut random);
            for ((row, apart), (own, &at)) in
                differences.iter_mut().zip(&apart).zip(moves.iter_mut().zip(close))
            {
                row.push(dot(&weights, apart) / tokens);
                own.push(stretch * (deviation(at) * normal(&mut random) - moved));
            }
        }
        Self { differences, moves }
    }

    /// The 95 % quantile of the largest studentised deviation, with what seeds add or without.
    fn critical(
        &self,
        close: &[usize],
        errors: &[(f64, Errors)],
        stderr: fn(Errors) -> f64,
        with_seeds: bool,
    ) -> f64 {
        let deviation = |place: usize, b: usize| {
            let (difference, errors) = errors[close[place]];
            let seeds = if with_seeds { self.moves[place][b] } else { 0.0 };
            let stderr = stderr(errors);
            let moved = difference - self.differences[place][b] + seeds;
            if stderr > 0.0 { moved / stderr } else { 0.0 }
        };
        let mut largest: Vec<f64> = (0..REPLICATES)
            .map(|b| (0..close.len()).map(|place| deviation(place, b)).fold(0.0, f64::max))
            .collect();
        largest.sort_by(f64::total_cmp);
        largest[(LEVEL * REPLICATES as f64) as usize].max(SINGLE)
    }
}

fn variance(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64
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
pub fn normal(random: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}
