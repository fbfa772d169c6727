//! What the model expected of a trial.

use spec::{Objective, Sweep, SweepState, TrialConfig};

use super::observations::LossScale;
use super::{Bayes, Model, Posterior};

/// The validation loss that the model expects at the end of a trial, in nats, or whatever trials are
/// compared by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expectation {
    /// The middle: as likely to be below as above.
    pub loss: f64,
    /// 95% of such trials end between this ...
    pub low: f64,
    /// ... and this.
    pub high: f64,
}

impl Expectation {
    /// Costs as values of what trials are compared by.
    fn in_values(self, objective: &Objective) -> Self {
        let [loss, a, b] = [self.loss, self.low, self.high].map(|cost| objective.value_of(cost));
        Self { loss, low: a.min(b), high: a.max(b) }
    }

    /// From a normal distribution on the model's scale.
    pub(super) fn of(scale: LossScale, mean: f64, deviation: f64) -> Self {
        let at = |deviations: f64| scale.to_loss(mean + deviations * deviation);
        Self { loss: at(0.0), low: at(-1.96), high: at(1.96) }
    }
}

/// What `history` lets one expect of a configuration; `None` before anything was measured.
pub fn expectation(
    sweep: &Sweep,
    history: &SweepState,
    config: &TrialConfig,
) -> Option<Expectation> {
    expectations(sweep, history, &[config])?.into_iter().next()
}

/// As [`expectation`], of several configurations by one model.
pub fn expectations(
    sweep: &Sweep,
    history: &SweepState,
    configs: &[&TrialConfig],
) -> Option<Vec<Expectation>> {
    let bayes = Bayes::new(sweep);
    let history = history.within_space();
    let model = Model::new(&bayes, &history.costs(), 1.0);
    if model.observed.points.is_empty() {
        return None;
    }
    let posterior =
        Posterior::new(&model.kernel, &model.observed.points, &model.observed.losses, 1);
    let hyper = &model.kernel.hyper;
    // One at a time: thousands of them together would be a matrix of gigabytes.
    let of = |config: &&TrialConfig| {
        let end = bayes.features.point(config, f64::from(config.epochs), u32::MAX);
        let predicted = posterior.predict(&[end]);
        let deviation = (predicted.variance[0] + hyper.effect + hyper.noise).sqrt();
        Expectation::of(model.observed.scale, predicted.average(0), deviation)
            .in_values(&history.objective)
    };
    Some(configs.iter().map(of).collect())
}
