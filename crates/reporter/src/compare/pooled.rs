//! The mean difference of several pairs of configurations.

use super::Against;
use super::bootstrap::{Errors, alone};
use super::candidate::Candidates;

/// The mean, over pairs of candidates, of the first one's loss minus the second's, with its 95 %
/// interval. Its error has the rows' part of the mean difference, the seeds' part of all runs, and, where the
/// pairs differ among themselves by more than that, their own spread.
pub fn pooled(found: &Candidates, pairs: &[(usize, usize)]) -> Against {
    let count = pairs.len() as f64;
    let mut mean = vec![0.0; found.targets.len()];
    for (a, b) in pairs {
        let both = found.list[*a].nll.iter().zip(&found.list[*b].nll);
        for (sum, (a, b)) in mean.iter_mut().zip(both) {
            *sum += (a - b) / count;
        }
    }
    let difference = found.loss(&mean);
    let examples = found.row_variance(&mean);
    let of = |(a, b): &(usize, usize)| found.seed_variance(*a) + found.seed_variance(*b);
    let seeds = pairs.iter().map(of).sum::<f64>() / count.powi(2);
    let apart = |(a, b): &(usize, usize)| found.list[*a].loss - found.list[*b].loss;
    let between = pairs.iter().map(|pair| (apart(pair) - difference).powi(2)).sum::<f64>()
        / (count - 1.0).max(1.0)
        / count;
    let seeds = seeds.max(between - examples);
    alone(found, difference, Errors { examples, seeds })
}
