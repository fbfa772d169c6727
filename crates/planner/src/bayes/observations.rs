//! What was measured, as the model learns from it.
//!
//! A trial is seen at up to [`MOST_PER_TRIAL`] of its evaluations. Losses are first capped at the
//! untrained base model's: a run that ends above it says that it was too wild, not how far its
//! losses then happened to go. What lies above the median trial is compressed logarithmically, so
//! that the model spends its flexibility on the good half; then all is standardised.

use spec::{Evaluation, Outcome, SweepState, TrialId, TrialState};

use super::features::{Features, Point};

/// A trial's curve is thinned to so many points.
const MOST_PER_TRIAL: usize = 4;
/// The model learns from at most so many points; the rest are those with the highest losses.
const MOST_POINTS: usize = 600;

/// Measured losses as the model learns from them.
#[derive(Debug, Clone)]
pub(crate) struct Observations {
    /// Where was measured; trials ascending, each one's evaluations in their order.
    pub points: Vec<Point>,
    /// What was measured there, on the model's scale.
    pub losses: Vec<f64>,
    /// Which evaluation of its trial each point is; `None` for an end that stands for a failure.
    pub origins: Vec<Origin>,
    /// From nats to the model's scale.
    pub scale: LossScale,
}

/// Where an observation comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Origin {
    pub trial: TrialId,
    /// Epochs trained; `None` when the trial has no adapter of that loss.
    pub epoch: Option<f64>,
}

/// The map from losses in nats to the model's scale: monotone, mean 0 and deviation 1 over trials.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LossScale {
    cap: f64,
    median: f64,
    knee: f64,
    mean: f64,
    deviation: f64,
}

impl LossScale {
    /// From every trial's own loss and the base model's, if it is known.
    fn new(trials: &[f64], base: Option<f64>) -> Self {
        let cap = base.unwrap_or(f64::INFINITY);
        let mut sorted: Vec<f64> = trials.iter().map(|loss| loss.min(cap)).collect();
        sorted.sort_by(f64::total_cmp);
        let lowest = sorted.first().copied().unwrap_or(0.0);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(lowest);
        // Too few losses to have a spread: what training can gain at all is their measure.
        let usual = base.map_or(0.1 * lowest.abs(), |base| 0.3 * (base - lowest)).max(1e-6);
        let knee = if median > lowest && sorted.len() > 2 { median - lowest } else { usual };
        let mut scale = Self { cap, median, knee, mean: 0.0, deviation: 1.0 };
        let compressed: Vec<f64> = sorted.iter().map(|loss| scale.compress(*loss)).collect();
        let count = compressed.len().max(1) as f64;
        scale.mean = compressed.iter().sum::<f64>() / count;
        let spread =
            (compressed.iter().map(|c| (c - scale.mean).powi(2)).sum::<f64>() / count).sqrt();
        // A usual spread stands in for two more trials.
        scale.deviation = (spread * count + usual * 2.0) / (count + 2.0);
        scale
    }

    fn compress(self, loss: f64) -> f64 {
        let loss = loss.min(self.cap);
        let above = (loss - self.median) / self.knee;
        if above > 0.0 { self.median + self.knee * above.ln_1p() } else { loss }
    }

    /// To the model's scale.
    pub fn to_model(self, loss: f64) -> f64 {
        (self.compress(loss) - self.mean) / self.deviation
    }

    /// Back to nats.
    pub fn to_loss(self, value: f64) -> f64 {
        let compressed = value * self.deviation + self.mean;
        let above = (compressed - self.median) / self.knee;
        let loss = if above > 0.0 { self.median + self.knee * above.exp_m1() } else { compressed };
        loss.min(self.cap)
    }
}

impl Observations {
    pub fn new(history: &SweepState, features: &Features) -> Self {
        let base = history.base.as_ref().map(|base| base.eval_loss);
        let trials: Vec<&TrialState> =
            history.trials.values().filter(|trial| is_observed(trial)).collect();
        let worst = trials
            .iter()
            .flat_map(|trial| &trial.evaluations)
            .map(|evaluation| evaluation.eval_loss)
            .fold(f64::NEG_INFINITY, f64::max);
        let useless = base.unwrap_or(if worst.is_finite() { worst } else { 10.0 });
        let own: Vec<f64> = trials
            .iter()
            .map(|trial| match trial.last() {
                Some(last) if !is_useless(trial) => last.eval_loss,
                _ => useless,
            })
            .collect();
        let scale = LossScale::new(&own, base);
        let mut all = Self { points: Vec::new(), losses: Vec::new(), origins: Vec::new(), scale };
        for trial in trials {
            all.add(trial, useless, features);
        }
        all.limit(MOST_POINTS);
        all
    }

    fn add(&mut self, trial: &TrialState, useless: f64, features: &Features) {
        let (id, config) = (trial.trial.id, &trial.trial.config);
        for evaluation in thinned(&trial.evaluations) {
            self.points.push(features.point(config, evaluation.epoch, id.0));
            self.losses.push(self.scale.to_model(evaluation.eval_loss));
            self.origins.push(Origin { trial: id, epoch: Some(evaluation.epoch) });
        }
        if is_useless(trial) {
            self.points.push(features.point(config, f64::from(config.epochs), id.0));
            self.losses.push(self.scale.to_model(useless));
            self.origins.push(Origin { trial: id, epoch: None });
        }
    }

    /// Keeps the `most` lowest losses, in their order.
    fn limit(&mut self, most: usize) {
        if self.points.len() <= most {
            return;
        }
        let mut order: Vec<usize> = (0..self.points.len()).collect();
        order.sort_by(|&a, &b| self.losses[a].total_cmp(&self.losses[b]));
        order.truncate(most);
        order.sort_unstable();
        self.points = order.iter().map(|&i| self.points[i].clone()).collect();
        self.losses = order.iter().map(|&i| self.losses[i]).collect();
        self.origins = order.iter().map(|&i| self.origins[i]).collect();
    }
}

fn is_observed(trial: &TrialState) -> bool {
    !trial.evaluations.is_empty() || is_useless(trial)
}

/// Whether the configuration cannot be trained: it diverged or failed.
fn is_useless(trial: &TrialState) -> bool {
    matches!(trial.outcome(), Some(Outcome::Diverged { .. } | Outcome::Failed { .. }))
}

/// The last evaluation, the lowest one, and some between, spread evenly on a logarithmic scale.
fn thinned(evaluations: &[Evaluation]) -> Vec<&Evaluation> {
    let Some(last) = evaluations.len().checked_sub(1) else { return Vec::new() };
    let lowest = (0..=last)
        .min_by(|&a, &b| evaluations[a].eval_loss.total_cmp(&evaluations[b].eval_loss))
        .unwrap_or(last);
    let mut kept = vec![last, lowest];
    let mut index = last + 1;
    while kept.len() < MOST_PER_TRIAL && index > 1 {
        index = index.div_ceil(2);
        if !kept.contains(&(index - 1)) {
            kept.push(index - 1);
        }
        if index == 1 {
            break;
        }
    }
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().map(|index| &evaluations[index]).collect()
}
