//! What the model expected of a trial, and how much each parameter matters to it.

use spec::{Parameter, Sweep, SweepState, TrialConfig};

use super::observations::LossScale;
use super::{Bayes, Model, Posterior};
use crate::sobol;

/// Pairs of configurations that differ in one parameter.
const PAIRS: u64 = 256;
/// Models fitted without another part of the trials each, to see how sure an importance is.
const PARTS: usize = 8;
/// Fewer trials than this say nothing of importance.
const FEWEST_TRIALS: usize = 4;

/// The validation loss that the model expects at the end of a trial, in nats.
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
    let bayes = Bayes::new(sweep);
    let model = Model::new(&bayes, history, 1.0);
    if model.observed.points.is_empty() {
        return None;
    }
    let posterior =
        Posterior::new(&model.kernel, &model.observed.points, &model.observed.losses, 1);
    let end = bayes.features.point(config, f64::from(config.epochs), u32::MAX);
    let predicted = posterior.predict(&[end]);
    let hyper = &model.kernel.hyper;
    let deviation = (predicted.variance[0] + hyper.effect + hyper.noise).sqrt();
    Some(Expectation::of(model.observed.scale, predicted.average(0), deviation))
}

/// How much of the loss' variation over the space a parameter has a part in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Importance {
    /// The parameter.
    pub parameter: Parameter,
    /// Its total effect: the share of the variance that would be left if all others were fixed, on
    /// average, interactions included. From 0 to 1; the shares of several may add up to more.
    pub share: f64,
    /// Standard error of the share, from models that lack a part of the trials.
    pub stderr: f64,
}

/// The importance of every varied parameter, the highest first: total effects (Jansen 1999) on the
/// model's mean. The error is a grouped jackknife over trials. Empty with fewer than four trials
/// measured.
pub fn importance(sweep: &Sweep, history: &SweepState) -> Vec<Importance> {
    let bayes = Bayes::new(sweep);
    let measured = |t: &&spec::TrialState| !t.evaluations.is_empty();
    if history.trials.values().filter(measured).count() < FEWEST_TRIALS {
        return Vec::new();
    }
    let parameters: Vec<Parameter> =
        sweep.space.varied().into_iter().filter(|p| *p != Parameter::Seed).collect();
    let whole = shares(&bayes, history, &parameters);
    let parts = PARTS.min(history.trials.len());
    let without: Vec<Vec<f64>> = (0..parts)
        .map(|part| {
            let mut rest = history.clone();
            rest.trials.retain(|id, _| id.0 as usize % parts != part);
            shares(&bayes, &rest, &parameters)
        })
        .collect();
    let mut all: Vec<Importance> = parameters
        .iter()
        .enumerate()
        .map(|(place, &parameter)| {
            let count = parts as f64;
            let mean = without.iter().map(|shares| shares[place]).sum::<f64>() / count;
            let squares: f64 = without.iter().map(|shares| (shares[place] - mean).powi(2)).sum();
            let stderr = ((count - 1.0) / count * squares).sqrt();
            Importance { parameter, share: whole[place], stderr }
        })
        .collect();
    all.sort_by(|a, b| b.share.total_cmp(&a.share));
    all
}

/// Total effects of the parameters on the mean of the model of one history.
fn shares(bayes: &Bayes, history: &SweepState, parameters: &[Parameter]) -> Vec<f64> {
    let model = Model::new(bayes, history, 1.0);
    let posterior =
        Posterior::new(&model.kernel, &model.observed.points, &model.observed.losses, 1);
    let losses = |points: &[[f64; Parameter::COUNT]]| -> Vec<f64> {
        let ends: Vec<_> = points
            .iter()
            .map(|shares| {
                let config = bayes.space.sample(shares);
                bayes.features.point(&config, f64::from(config.epochs), u32::MAX)
            })
            .collect();
        let predicted = posterior.predict(&ends);
        (0..ends.len()).map(|i| predicted.average(i)).collect()
    };
    let points: Vec<_> = (0..PAIRS).map(|index| sobol::shares(1, index)).collect();
    let others: Vec<_> = (0..PAIRS).map(|index| sobol::shares(2, index)).collect();
    let base = losses(&points);
    let mean = base.iter().sum::<f64>() / base.len() as f64;
    let variance = base.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / base.len() as f64;
    parameters
        .iter()
        .map(|parameter| {
            let axis = parameter.index();
            let moved: Vec<_> = points
                .iter()
                .zip(&others)
                .map(|(point, other)| {
                    let mut point = *point;
                    point[axis] = other[axis];
                    point
                })
                .collect();
            let squares: f64 = losses(&moved).iter().zip(&base).map(|(a, b)| (a - b).powi(2)).sum();
            squares / (2.0 * base.len() as f64) / variance.max(f64::MIN_POSITIVE)
        })
        .collect()
}
