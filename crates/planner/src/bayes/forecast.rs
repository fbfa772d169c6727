//! How trials that have begun will end, and whether a new one would do better.

use spec::{Method, Sweep, SweepState, TrialId};

use super::acquisition::probability_below;
use super::observations::Observations;
use super::{Bayes, Expectation, Model, Point, Posterior};
use crate::Planner;

/// Predicts the ends of running trials.
pub(crate) struct Forecaster {
    bayes: Bayes,
    method: Method,
}

/// A trial beside the level that it is to get below, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Asked {
    pub trial: TrialId,
    pub level: f64,
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
        Self { bayes: Bayes::new(sweep), method: sweep.method }
    }

    /// How a trial will end, from its own curve and all others; `None` before it was evaluated.
    pub fn end(&self, state: &SweepState, asked: Asked) -> Option<Forecast> {
        self.ends(state, &[asked])[0]
    }

    /// The same of several.
    pub fn ends(&self, state: &SweepState, asked: &[Asked]) -> Vec<Option<Forecast>> {
        let model = Model::new(&self.bayes, state, 1.0);
        let Observations { points, losses, .. } = &model.observed;
        let posterior = Posterior::new(&model.kernel, points, losses, 1);
        let end = |asked: &Asked| {
            let trial = state.trials.get(&asked.trial)?;
            let end = f64::from(trial.trial.config.epochs).max(trial.last()?.epoch);
            let point = self.bayes.features.point(&trial.trial.config, end, asked.trial.0);
            Some(forecast(&model, &posterior, point, asked.level))
        };
        asked.iter().map(end).collect()
    }

    /// The probability that a new trial ends below `level`, for each epoch that it takes; 0 when
    /// there is none to begin. Where the planner asks the model, so does this; other planners'
    /// trials are among the best `top` of all like any other.
    pub fn chance_of_new(&self, state: &SweepState, level: f64, top: u32) -> f64 {
        if self.method == Method::Bayes {
            let proposed = self.bayes.suggest(state, 1);
            let Some(trial) = proposed.first() else { return 0.0 };
            let model = Model::new(&self.bayes, state, 1.0);
            let Observations { points, losses, .. } = &model.observed;
            let posterior = Posterior::new(&model.kernel, points, losses, 1);
            let point = model.end_of(&trial.config, trial.id);
            let forecast = forecast(&model, &posterior, point, level);
            return forecast.probability / f64::from(trial.config.epochs);
        }
        let begun = state.trials.len();
        if self.bayes.total().is_some_and(|total| begun >= total) {
            return 0.0;
        }
        let epochs: u32 = state.trials.values().map(|trial| trial.trial.config.epochs).sum();
        let mean_epochs = f64::from(epochs) / begun.max(1) as f64;
        f64::from(top) / (begun + 1) as f64 / mean_epochs.max(1.0)
    }
}

fn forecast(model: &Model, posterior: &Posterior, end: Point, level: f64) -> Forecast {
    let predicted = posterior.predict_trials(&[end]);
    let (mean, deviation) =
        (predicted.average(0), (predicted.variance[0] + model.kernel.hyper.noise).sqrt());
    let scale = model.observed.scale;
    let Expectation { loss, low, high } = Expectation::of(scale, mean, deviation);
    let probability = probability_below(scale.to_model(level), mean, deviation);
    Forecast { loss, low, high, probability }
}
