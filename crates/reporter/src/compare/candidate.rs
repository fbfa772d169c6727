//! The candidates of a comparison: configurations with their losses example by example, or the costs of
//! whatever else trials are compared by.

use std::collections::HashMap;

use spec::{
    ConfigKey, ExampleLosses, Objective, Outcome, SweepState, TrialConfig, TrialId, TrialState,
};

use super::share::SeedShare;
use super::student::ratio_error;

/// A configuration, under one seed or several.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its runs; they differ in their seed alone.
    pub trials: Vec<TrialId>,
    /// The run with the lowest loss among them.
    pub trial: TrialId,
    /// Settings of that run.
    pub config: TrialConfig,
    /// Mean summed loss of each example.
    pub nll: Vec<f64>,
    /// Summed losses of each example run by run, where there are several runs.
    pub runs: Vec<Vec<f64>>,
    /// Loss per target token.
    pub loss: f64,
    /// LoRA rank.
    pub rank: u32,
    /// Validation minus train loss at the best evaluation, mean over runs.
    pub gap: f64,
    /// Retention loss at the best evaluation, mean over runs.
    pub retention: Option<f64>,
    /// Standard error of the loss, as the trainer measured it.
    pub stderr: f64,
}

impl Candidate {
    /// Summed losses of each example of one of its runs.
    pub fn one_run(&self) -> &[f64] {
        self.runs.first().unwrap_or(&self.nll)
    }
}

/// The base model on the same examples.
#[derive(Debug, Clone)]
pub struct Base {
    /// Summed loss of each example.
    pub nll: Vec<f64>,
    /// Loss per target token.
    pub loss: f64,
}

/// Everything that is compared.
#[derive(Debug, Clone)]
pub struct Candidates {
    /// Never empty.
    pub list: Vec<Candidate>,
    /// The base model.
    pub base: Option<Base>,
    /// Target tokens of each example.
    pub targets: Vec<f64>,
    /// Validation examples; more than `targets` has where the journal adds some of them together.
    pub examples: f64,
    /// What runs are compared by.
    pub objective: Objective,
    /// How much of each loss is the seed's.
    pub seeds: SeedShare,
}

impl Candidates {
    /// The runs that were measured on the same examples; `None` when there are none. How much of their
    /// losses is the seed's is still to be found.
    pub(super) fn measured(state: &SweepState) -> Option<Self> {
        let base_costs = state.base_example_costs();
        let of_trials = || state.trials.values().find_map(TrialState::example_costs);
        let reference = &base_costs.clone().or_else(of_trials)?;
        let targets: Vec<f64> = reference.targets.iter().map(|t| f64::from(*t)).collect();
        let tokens: f64 = targets.iter().sum();
        if tokens <= 0.0 {
            return None;
        }
        let loss = |nll: &[f64]| nll.iter().sum::<f64>() / tokens;

        let mut groups: Vec<Vec<(&TrialState, Vec<f64>)>> = Vec::new();
        let mut group_of: HashMap<ConfigKey, usize> = HashMap::new();
        for trial in state.trials.values() {
            let Some(nll) = nll_of(trial, reference) else { continue };
            let configuration = trial.trial.config.key_without_seed();
            let at = *group_of.entry(configuration).or_insert(groups.len());
            if at == groups.len() {
                groups.push(Vec::new());
            }
            groups[at].push((trial, nll));
        }
        let list: Vec<Candidate> = groups.iter().filter_map(|runs| candidate(runs, loss)).collect();
        let base = state.base.as_ref().and(usable(base_costs.as_ref(), reference));
        let base = base.map(|nll| Base { loss: loss(&nll), nll });
        if list.is_empty() {
            return None;
        }
        // Scores are never added together.
        let facts = state.facts.as_ref().filter(|_| state.objective.is_loss());
        let counted = facts.map_or(0, |facts| facts.validation_examples);
        let examples = (counted as f64).max(targets.len() as f64);
        let objective = state.objective.clone();
        Some(Self { list, base, targets, examples, objective, seeds: SeedShare::default() })
    }

    /// Loss per target token of summed losses.
    pub fn loss(&self, nll: &[f64]) -> f64 {
        nll.iter().sum::<f64>() / self.targets.iter().sum::<f64>()
    }

    /// Variance over examples of the loss per target token of summed losses, or of their differences.
    pub fn row_variance(&self, nll: &[f64]) -> f64 {
        let pairs = nll.iter().copied().zip(self.targets.iter().copied());
        ratio_error(pairs, self.loss(nll), self.targets.iter().sum()).powi(2)
    }

    /// Variance between seeds of the candidate's loss, which is the mean over its runs.
    pub fn seed_variance(&self, at: usize) -> f64 {
        self.seeds.of_run(at) / self.list[at].trials.len() as f64
    }

    /// Index of the candidate that a run belongs to.
    pub fn at(&self, trial: TrialId) -> Option<usize> {
        self.list.iter().position(|candidate| candidate.trials.contains(&trial))
    }

    /// Index of the lowest loss.
    pub fn best(&self) -> usize {
        (0..self.list.len())
            .min_by(|&a, &b| self.list[a].loss.total_cmp(&self.list[b].loss))
            .unwrap_or(0)
    }
}

fn nll_of(trial: &TrialState, reference: &ExampleLosses) -> Option<Vec<f64>> {
    let failed = matches!(trial.outcome(), None | Some(Outcome::Failed { .. }));
    if failed || trial.best().is_none() {
        return None;
    }
    usable(trial.example_costs().as_ref(), reference)
}

/// The losses, if they are of the same examples and all numbers.
fn usable(examples: Option<&ExampleLosses>, reference: &ExampleLosses) -> Option<Vec<f64>> {
    let examples = examples.filter(|e| {
        e.targets == reference.targets
            && e.nll.len() == e.targets.len()
            && e.nll.iter().all(|x| x.is_finite())
    })?;
    Some(examples.nll.iter().map(|x| f64::from(*x)).collect())
}

fn candidate(runs: &[(&TrialState, Vec<f64>)], loss: impl Fn(&[f64]) -> f64) -> Option<Candidate> {
    let count = runs.len() as f64;
    let best = runs.iter().min_by(|a, b| loss(&a.1).total_cmp(&loss(&b.1)))?.0;
    let evaluation = best.best()?;
    let evaluations: Vec<_> = runs.iter().filter_map(|(trial, _)| trial.best()).collect();
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let retention: Option<Vec<f64>> = evaluations.iter().map(|e| e.retention_loss).collect();
    let nll: Vec<f64> = (0..runs[0].1.len())
        .map(|e| runs.iter().map(|(_, nll)| nll[e]).sum::<f64>() / count)
        .collect();
    Some(Candidate {
        trials: runs.iter().map(|(trial, _)| trial.trial.id).collect(),
        trial: best.trial.id,
        config: best.trial.config.clone(),
        loss: loss(&nll),
        nll,
        runs: if runs.len() > 1 {
            runs.iter().map(|(_, nll)| nll.clone()).collect()
        } else {
            vec![]
        },
        rank: best.trial.config.rank,
        gap: mean(evaluations.iter().map(|e| e.gap()).collect::<Option<_>>()?),
        retention: retention.map(mean),
        stderr: best.objective.stderr(evaluation).unwrap_or_default(),
    })
}
