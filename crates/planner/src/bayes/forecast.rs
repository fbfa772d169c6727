//! How a running trial will end.

use spec::{Sweep, SweepState, TrialId};

use super::acquisition::probability_below;
use super::{Bayes, Expectation, Model, Posterior};

/// Predicts the ends of running trials.
#[derive(Debug)]
pub(crate) struct Forecaster {
    bayes: Bayes,
}

/// A trial's last validation loss, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Forecast {
    pub loss: f64,
    pub low: f64,
    pub high: f64,
    /// Probability of ending below the level that was asked for.
    pub probability: f64,
}

impl Forecaster {
    pub fn new(sweep: &Sweep) -> Self {
        Self { bayes: Bayes::new(sweep) }
    }

    /// How `trial` will end, from its own curve and all others; `None` before it was evaluated.
    pub fn end(&self, state: &SweepState, trial: TrialId, level: f64) -> Option<Forecast> {
        let judged = state.trials.get(&trial)?;
        let last = judged.last()?;
        let model = Model::new(&self.bayes, state, 1.0);
        let observed = &model.observed;
        let posterior = Posterior::new(&model.kernel, &observed.points, &observed.losses, 1);
        let end = f64::from(judged.trial.config.epochs).max(last.epoch);
        let point = self.bayes.features.point(&judged.trial.config, end, trial.0);
        let predicted = posterior.predict_trials(&[point]);
        let (mean, deviation) =
            (predicted.average(0), (predicted.variance[0] + model.kernel.hyper.noise).sqrt());
        let Expectation { loss, low, high } = Expectation::of(observed.scale, mean, deviation);
        let probability = probability_below(observed.scale.to_model(level), mean, deviation);
        Some(Forecast { loss, low, high, probability })
    }
}
