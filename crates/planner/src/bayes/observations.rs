//! What was measured, as the model learns from it.
//!
//! A trial is seen at up to [`MOST_PER_TRIAL`] of its evaluations. Losses are first capped at the
//! untrained base model's: a run that ends above it says that it was too wild, not how far its
//! losses then happened to go. What lies above the median trial is compressed logarithmically, so
//! that the model spends its flexibility on the good half; then all is standardised.

use spec::{Evaluation, Outcome, SweepState, TrialId, TrialState};

use super::earlier::Earlier;
use super::features::{Features, Point};

/// A trial's curve is thinned to so many points.
const MOST_PER_TRIAL: usize = 4;
/// An earlier sweep gives at most so many points: those with the lowest losses.
const MOST_EARLIER_POINTS: usize = 150;
/// The model learns from at most so many points; the rest are those with the highest losses.
const MOST_POINTS: usize = 600;

/// Measured losses as the model learns from them.
#[derive(Debug, Clone)]
pub(crate) struct Observations {
    /// Where was measured; trials ascending, each one's evaluations in their order.
    pub points: Vec<Point>,
    /// What was measured there, on the model's scale.
    pub losses: Vec<f64>,
    /// Which evaluation of this sweep each of the first points is; those of earlier sweeps follow.
    pub origins: Vec<Origin>,
    /// From nats to the model's scale.
    pub scale: LossScale,
}

/// Where an observation of this sweep comes from.
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

/// Earlier sweeps' trials are numbered above so many of this one.
const NUMBERS_OF_A_SWEEP: u32 = 1 << 24;

/// How the losses of one problem are seen.
struct Scale {
    losses: LossScale,
    /// What a trial that could not be trained is worth, in nats.
    useless: f64,
}

impl Scale {
    /// From sweeps of one problem, the first of which has the base model's loss if any has.
    fn new(histories: &[&SweepState]) -> Self {
        let base = histories.iter().find_map(|history| history.highest_base_loss());
        let trials: Vec<&TrialState> = histories
            .iter()
            .flat_map(|history| history.trials.values())
            .filter(|trial| is_observed(trial))
            .collect();
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
        Self { losses: LossScale::new(&own, base), useless }
    }
}

impl Observations {
    /// What was measured in this sweep and in earlier ones. Losses of the same problem share a scale;
    /// every other problem has its own.
    pub fn new(history: &SweepState, earlier: &[Earlier], features: &Features) -> Self {
        let (same, other): (Vec<&Earlier>, Vec<&Earlier>) =
            earlier.iter().partition(|earlier| earlier.is_same_problem);
        let histories: Vec<&SweepState> =
            std::iter::once(history).chain(same.iter().map(|e| &e.history)).collect();
        let scale = Scale::new(&histories);
        let mut all = Self::of(history, &scale, features);
        all.limit(MOST_POINTS);
        for (place, earlier) in (1..).zip(&same) {
            all.append(Self::of(&earlier.history, &scale, features), place, 0);
        }
        for (problem, earlier) in (1..).zip(&other) {
            let own = Scale::new(&[&earlier.history]);
            let place = u32::from(problem) + same.len() as u32;
            all.append(Self::of(&earlier.history, &own, features), place, problem);
        }
        all
    }

    /// Adds the best of an earlier sweep's points, at the `place` of that sweep.
    fn append(&mut self, mut earlier: Self, place: u32, problem: u16) {
        earlier.limit(MOST_EARLIER_POINTS);
        let points = earlier.points.into_iter().map(|mut point| {
            point.trial += place * NUMBERS_OF_A_SWEEP;
            point.problem = problem;
            point
        });
        self.points.extend(points);
        self.losses.extend(earlier.losses);
    }

    fn of(history: &SweepState, scale: &Scale, features: &Features) -> Self {
        let (points, losses, origins) = (Vec::new(), Vec::new(), Vec::new());
        let mut all = Self { points, losses, origins, scale: scale.losses };
        for trial in history.trials.values().filter(|trial| is_observed(trial)) {
            all.add(trial, scale.useless, features);
        }
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
