//! What earlier sweeps tell: their trials are observations of a related loss.
//!
//! A sweep of the same data and base measured the same loss, and its trials count as this sweep's.
//! Another one's losses lie elsewhere and their optimum may, too: they have their own level and
//! scale, and what varies about the level agrees as far as the measured losses say (`related` in the
//! kernel).

use spec::{Objective, Parameter, SearchSpace, SweepState, TrialConfig, TrialState};

/// An earlier sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Earlier {
    /// What happened in it.
    pub history: SweepState,
    /// It validated the same base model on the same data, so that losses can be compared.
    pub is_same_problem: bool,
}

impl Earlier {
    /// The same in the costs of what this sweep compares trials by, where that was measured then; else of
    /// what the earlier sweep compared them by, which is another problem.
    pub(super) fn in_costs_of(self, objective: &Objective) -> Self {
        let mut evaluations = self.history.trials.values().flat_map(|trial| &trial.evaluations);
        let is_measured = evaluations.any(|evaluation| objective.value(evaluation).is_some());
        let own = self.history.objective.clone();
        let objective = if is_measured { objective } else { &own };
        Self {
            history: self.history.compared_by(objective).costs().into_owned(),
            is_same_problem: self.is_same_problem && is_measured,
        }
    }

    /// The same with those trials alone that `space` has too, but for the values of its axes.
    pub(super) fn within(mut self, space: &SearchSpace) -> Self {
        let varied = space.varied();
        let fixed = space.sample(&[0.5; Parameter::COUNT]);
        let fits = |config: &TrialConfig| {
            Parameter::ALL
                .iter()
                .filter(|parameter| !varied.contains(parameter))
                .all(|parameter| is_equal(*parameter, config, &fixed))
        };
        self.history.trials.retain(|_, trial| fits(&trial.trial.config));
        self
    }
}

impl Earlier {
    /// The `count` trials with the lowest losses.
    pub(super) fn best(&self, count: usize) -> Vec<&TrialConfig> {
        let loss = |trial: &TrialState| trial.best().map(|best| best.eval_loss);
        let mut trials: Vec<(f64, &TrialConfig)> = self
            .history
            .trials
            .values()
            .filter_map(|trial| Some((loss(trial)?, &trial.trial.config)))
            .collect();
        trials.sort_by(|a, b| a.0.total_cmp(&b.0));
        trials.into_iter().take(count).map(|(_, config)| config).collect()
    }
}

/// Alpha is mostly a multiple of the rank, curves show every number of epochs, and a seed is chance:
/// these may differ.
fn is_equal(parameter: Parameter, a: &TrialConfig, b: &TrialConfig) -> bool {
    matches!(parameter, Parameter::LoraAlpha | Parameter::Epochs | Parameter::Seed)
        || parameter.row().get(a) == parameter.row().get(b)
}
