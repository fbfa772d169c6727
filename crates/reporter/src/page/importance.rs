//! How much of the differences between runs each parameter explains alone.

use std::collections::BTreeMap;

use serde::Serialize;
use spec::SweepState;

use crate::parameters;

/// Values of a parameter are put into so many groups at most, of equal size.
const GROUPS: usize = 5;

/// Fewer runs than this explain nothing.
const LEAST_RUNS: usize = 4;

/// What one parameter explains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Importance {
    /// The parameter's name.
    pub name: &'static str,
    /// Share of the variance of the loss, in `[0, 1]`.
    pub share: f64,
}

/// For every parameter that the sweep varied, the share of the variance between runs that lies
/// between the groups of its values, corrected for what chance puts there (omega squared: Hays
/// 1963). The loss of each run is its best; those above the base model's count as the base model's,
/// so that a single diverged run does not decide. The largest share comes first.
pub fn importance(state: &SweepState) -> Vec<Importance> {
    let base = state.highest_base_loss().unwrap_or(f64::INFINITY);
    let runs: Vec<_> = state
        .trials
        .values()
        .filter_map(|t| Some((&t.trial.config, t.best()?.eval_loss.min(base))))
        .filter(|(_, loss)| loss.is_finite())
        .collect();
    if runs.len() < LEAST_RUNS {
        return Vec::new();
    }
    let configs: Vec<_> = runs.iter().map(|(config, _)| *config).collect();
    let losses: Vec<f64> = runs.iter().map(|(_, loss)| *loss).collect();
    let mut found: Vec<Importance> = parameters::varying(&configs)
        .into_iter()
        .filter_map(|parameter| {
            let values: Vec<String> = configs.iter().map(|c| parameter.value(c)).collect();
            let share = omega_squared(&groups(&values), &losses)?;
            Some(Importance { name: parameter.name, share })
        })
        .collect();
    found.sort_by(|a, b| b.share.total_cmp(&a.share));
    found
}

/// The group of each value: one a value when there are few, else quantiles of numbers.
fn groups(values: &[String]) -> Vec<usize> {
    let mut distinct: Vec<&String> = values.iter().collect();
    distinct.sort();
    distinct.dedup();
    let numbers: Option<Vec<f64>> = values.iter().map(|value| value.parse().ok()).collect();
    match numbers.filter(|_| distinct.len() > GROUPS) {
        Some(numbers) => {
            let below = |x: f64| numbers.iter().filter(|y| **y < x).count();
            numbers.iter().map(|x| below(*x) * GROUPS / numbers.len()).collect()
        }
        None => values.iter().map(|v| distinct.binary_search(&v).unwrap_or(0)).collect(),
    }
}

fn omega_squared(groups: &[usize], losses: &[f64]) -> Option<f64> {
    let mut of_group: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (group, loss) in groups.iter().zip(losses) {
        of_group.entry(*group).or_default().push(*loss);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let all = mean(losses);
    let total: f64 = losses.iter().map(|x| (x - all).powi(2)).sum();
    let between: f64 = of_group.values().map(|g| g.len() as f64 * (mean(g) - all).powi(2)).sum();
    let freedom = losses.len().checked_sub(of_group.len()).filter(|freedom| *freedom > 0)?;
    let within = (total - between) / freedom as f64;
    let share = (between - (of_group.len() - 1) as f64 * within) / (total + within);
    share.is_finite().then(|| share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_decides_all_has_it_all_and_one_that_does_nothing_has_none() {
        let losses: Vec<f64> = (0..40).map(|n| if n % 2 == 0 { 1.0 } else { 2.0 }).collect();
        let deciding: Vec<usize> = (0..40).map(|n| n % 2).collect();
        let idle: Vec<usize> = (0..40).map(|n| n / 2 % 2).collect();
        assert_eq!(omega_squared(&deciding, &losses), Some(1.0));
        assert_eq!(omega_squared(&idle, &losses), Some(0.0));
    }

    #[test]
    fn many_values_are_grouped_by_size_and_words_are_not() {
        let numbers: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        let found = groups(&numbers);
        assert_eq!((found[0], found[49]), (0, GROUPS - 1));
        let words: Vec<String> = "a b c d e f a".split(' ').map(str::to_owned).collect();
        assert_eq!(groups(&words), [0, 1, 2, 3, 4, 5, 0]);
    }
}
