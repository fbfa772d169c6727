//! From the lowest rank upwards, as long as a higher rank pays.
//!
//! A rung is one rank. On the lowest one the learning rate is searched widely around the usual
//! one, on every further one near the best of the rung below; everything else stays as it is in the
//! best trial. When a rung's trials have ended, its best validation loss is compared with that of
//! the rung below: the ladder goes on while it is lower by more than `sigma` times its noise.
//!
//! The noise is the paired standard error over validation examples that the better trial has at
//! its best evaluation: what a difference of two such losses may be by chance.

use std::collections::HashSet;

use spec::{
    Axis, ConfigKey, Evaluation, Goal, Objective, Parameter, RankLadderSettings, SearchSpace,
    Sweep, SweepState, Trial, TrialConfig, TrialState,
};

use crate::Planner;
use crate::bayes::usual;
use crate::suggest::{Ending, next_trials};

/// Decades from the rate at the centre, in the order they are tried; further ones repeat the
/// pattern farther out.
const OFFSETS: [f64; 5] = [0.0, 0.5, -0.5, 1.0, -1.0];
/// Above the lowest rung, the offsets are this much smaller.
const NEARER: f64 = 0.5;
/// A ladder over a range of ranks has a rung at every power of two in it.
const DOUBLINGS: u32 = 13;

/// Climbs the ranks.
#[derive(Debug)]
pub(crate) struct RankLadder {
    space: SearchSpace,
    settings: RankLadderSettings,
    ending: Ending,
    /// Ascending.
    ranks: Vec<u32>,
}

/// How the ladder stands.
enum Standing {
    /// Trials of this rung are to be run, around this configuration.
    Climbing { rung: usize, centre: TrialConfig },
    /// The rung's trials have not all ended.
    Waiting,
    /// No higher rank is tried.
    Ended { reason: String },
}

impl RankLadder {
    pub fn new(sweep: &Sweep) -> Self {
        let space = sweep.space.clone();
        Self {
            settings: sweep.rank_ladder.clone(),
            ending: Ending::new(sweep),
            ranks: ranks(space.axis(Parameter::Rank)),
            space,
        }
    }

    fn stand(&self, history: &SweepState) -> Standing {
        let mut centre = usual(&self.space, true);
        let mut below: Option<(&TrialState, &Evaluation)> = None;
        for (rung, &rank) in self.ranks.iter().enumerate() {
            let trials: Vec<&TrialState> =
                history.trials.values().filter(|t| t.trial.config.rank == rank).collect();
            let wanted = self.settings.trials_per_rung as usize;
            let left = self.rung(rung, &centre).any(|config| {
                let key = config.key();
                !trials.iter().any(|t| t.trial.config.key() == key)
            });
            if trials.len() < wanted && left {
                return Standing::Climbing { rung, centre };
            }
            if trials.iter().any(|t| t.outcome().is_none()) {
                return Standing::Waiting;
            }
            let best = trials
                .iter()
                .filter_map(|t| Some((*t, t.best()?)))
                .min_by(|a, b| a.1.eval_loss.total_cmp(&b.1.eval_loss));
            let Some(best) = best else {
                return Standing::Ended {
                    reason: format!("no trial of rank {rank} could be trained"),
                };
            };
            if let Some(below) = below
                && let Some(reason) = self.no_gain(below, best, &history.objective)
            {
                return Standing::Ended { reason };
            }
            centre = best.0.trial.config.clone();
            below = Some(best);
        }
        let top = self.ranks.last().copied().unwrap_or_default();
        Standing::Ended {
            reason: format!("rank {top} is the highest one, and it was still better"),
        }
    }

    /// Why the rung of `above` is the last one, if it is no better than the one below.
    fn no_gain(
        &self,
        below: (&TrialState, &Evaluation),
        above: (&TrialState, &Evaluation),
        objective: &Objective,
    ) -> Option<String> {
        let gain = below.1.eval_loss - above.1.eval_loss;
        let noise = noise(above.1).max(noise(below.1));
        if gain > self.settings.sigma * noise {
            return None;
        }
        let [low, high] = [below, above].map(|(t, _)| t.trial.config.rank);
        let metric = objective.in_words();
        let change = match (objective.goal, gain > 0.0) {
            (Goal::Minimize, true) => format!("lowers the {metric} by only {gain:.4}"),
            (Goal::Minimize, false) => format!("raises the {metric} by {:.4}", -gain),
            (Goal::Maximize, true) => format!("raises the {metric} by only {gain:.4}"),
            (Goal::Maximize, false) => format!("lowers the {metric} by {:.4}", -gain),
        };
        let gap = match above.1.gap().zip(below.1.gap()).map(|(above, below)| above - below) {
            Some(wider) if wider > 0.0 => {
                format!(", and the gap to the train loss widens by {wider:.4}")
            }
            Some(wider) => format!(", and the gap to the train loss narrows by {:.4}", -wider),
            None => String::new(),
        };
        Some(format!(
            "rank {high} instead of {low} {change} ({:.4} to {:.4}; its noise is {noise:.4}){gap}",
            objective.value_of(below.1.eval_loss),
            objective.value_of(above.1.eval_loss),
        ))
    }

    /// Configurations of a rung, around `centre`.
    fn rung(&self, rung: usize, centre: &TrialConfig) -> impl Iterator<Item = TrialConfig> {
        let reach = if rung == 0 { 1.0 } else { NEARER };
        let wanted = self.settings.trials_per_rung;
        let (rank, scale) =
            (self.ranks[rung], f64::from(self.ranks[rung]) / f64::from(centre.rank));
        let is_tuned = self.space.axis(Parameter::LearningRate).size() != Some(1);
        let count = if is_tuned { wanted.max(1) * 4 } else { 1 };
        let mut seen: HashSet<ConfigKey> = HashSet::new();
        let centre = centre.clone();
        (0..count)
            .map(move |i| {
                let (round, place) = (i as usize / OFFSETS.len(), i as usize % OFFSETS.len());
                let decades = reach * OFFSETS[place] * (1.0 + round as f64 / 3.0);
                let target = TrialConfig {
                    rank,
                    // A multiple of the rank grows with it; a fixed alpha is the nearest one.
                    lora_alpha: centre.lora_alpha * scale,
                    learning_rate: centre.learning_rate * 10_f64.powf(decades),
                    ..centre.clone()
                };
                self.space.nearest(&target)
            })
            .filter(move |config| seen.insert(config.key()))
            .take(wanted as usize)
    }
}

impl Planner for RankLadder {
    fn suggest(&self, history: &SweepState, count: usize) -> Vec<Trial> {
        let Standing::Climbing { rung, centre } = self.stand(history) else { return Vec::new() };
        let rank = self.ranks[rung];
        let there = history.trials.values().filter(|t| t.trial.config.rank == rank).count();
        let missing = (self.settings.trials_per_rung as usize).saturating_sub(there);
        next_trials(self.rung(rung, &centre), self.ending, history, count.min(missing))
    }

    fn conclusion(&self, history: &SweepState) -> Option<String> {
        match self.stand(history) {
            Standing::Ended { reason } => Some(format!("the rank ladder ended: {reason}")),
            Standing::Climbing { .. } | Standing::Waiting => None,
        }
    }

    fn is_adaptive(&self) -> bool {
        true
    }

    fn total(&self) -> Option<usize> {
        let all = self.ranks.len() * self.settings.trials_per_rung as usize;
        Some(self.ending.total(&self.space).map_or(all, |other| all.min(other)))
    }
}

/// What a difference of two losses may be by chance.
fn noise(evaluation: &Evaluation) -> f64 {
    evaluation.rise_stderr.unwrap_or(evaluation.eval_loss_stderr)
}

/// The rungs, ascending.
fn ranks(axis: &Axis) -> Vec<u32> {
    let mut ranks = match axis {
        Axis::Choice(choice) => choice
            .values()
            .iter()
            .filter_map(|rank| rank.number())
            .map(|rank| rank as u32)
            .collect(),
        Axis::Distribution(range) => {
            let (low, high) = (range.quantile(0.0) as u32, range.quantile(1.0) as u32);
            let doublings = (0..=DOUBLINGS).map(|power| 1 << power);
            let between = doublings.filter(|rank| (low..=high).contains(rank));
            std::iter::once(low).chain(between).collect::<Vec<u32>>()
        }
    };
    ranks.sort_unstable();
    ranks.dedup();
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ranks_has_a_rung_at_every_power_of_two() {
        let range = spec::Distribution {
            shape: spec::Shape::IntUniform { min: 3, max: 33 },
            q: None,
            lowest: 1.0,
            highest: 8192.0,
        };
        assert_eq!(ranks(&Axis::Distribution(range)), [3, 4, 8, 16, 32]);
    }
}
