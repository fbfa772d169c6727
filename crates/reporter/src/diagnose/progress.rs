//! How much of the best run's improvement a run reached, and whether it was still improving.

use std::collections::BTreeMap;

use spec::{Evaluation, ReportSettings, SweepState, TrialState};

use super::overfit::with_base;

/// A run is still falling when its last third brought more than this share of its improvement.
/// A linear decay of the learning rate leaves a ninth of the path to the last third, and an
/// exponential approach is below this only after more than four time constants.
const FALLING_SHARE: f64 = 0.05;

/// Share of `best`'s improvement over `base` that `own` reached; 0 when nothing beat the base.
pub fn recovered_share(base: f64, best: f64, own: f64) -> f64 {
    let possible = base - best;
    if possible > 0.0 { ((base - own) / possible).max(0.0) } else { 0.0 }
}

/// The evaluated runs of a sweep by rank, in the order of their numbers.
pub struct Peers<'a>(BTreeMap<u32, Vec<Peer<'a>>>);

/// What a run is looked at for by thousands of others.
struct Peer<'a> {
    trial: &'a TrialState,
    learning_rate: f64,
    batch_size: u32,
    epochs: u32,
    eval_loss: f64,
    eval_loss_stderr: f64,
}

impl<'a> Peers<'a> {
    /// The runs of `state`.
    pub fn of(state: &'a SweepState) -> Self {
        let mut by_rank: BTreeMap<u32, Vec<Peer<'_>>> = BTreeMap::new();
        for trial in state.trials.values() {
            let (Some(best), config) = (trial.best(), &trial.trial.config) else { continue };
            by_rank.entry(config.rank).or_default().push(Peer {
                trial,
                learning_rate: config.learning_rate,
                batch_size: config.batch_size,
                epochs: config.epochs,
                eval_loss: best.eval_loss,
                eval_loss_stderr: best.eval_loss_stderr,
            });
        }
        Self(by_rank)
    }

    /// The first run that reached a lower loss than `run`, by more than `sigma` standard errors, at
    /// the same rank with a lower learning rate and no more steps: then it is not steps that `run`
    /// lacked.
    pub fn further_at_a_lower_rate(&self, run: &TrialState, sigma: f64) -> Option<&'a TrialState> {
        let (config, best) = (&run.trial.config, run.best()?);
        let came_further = |other: &&Peer<'_>| {
            let noise = || other.eval_loss_stderr.hypot(best.eval_loss_stderr);
            other.trial.trial.config.quantization == config.quantization
                && other.learning_rate < config.learning_rate
                && other.batch_size >= config.batch_size
                && other.epochs <= config.epochs
                && best.eval_loss - other.eval_loss > sigma * noise()
        };
        Some(self.0.get(&config.rank)?.iter().find(came_further)?.trial)
    }
}

/// Was the validation loss still falling at the end? Returns the drop over the last third of the
/// steps when it was.
pub fn still_falling(
    evaluations: &[Evaluation],
    base: &Evaluation,
    settings: &ReportSettings,
) -> Option<f64> {
    let curve = with_base(evaluations, Some(base));
    let last = *curve.last()?;
    let two_thirds = f64::from(last.step) * 2.0 / 3.0;
    let before =
        curve.iter().rev().find(|e| e.step < last.step && f64::from(e.step) <= two_thirds)?;
    let drop = before.eval_loss - last.eval_loss;
    let improvement = base.eval_loss - last.eval_loss;
    let noise = last.rise_stderr.unwrap_or(last.eval_loss_stderr);
    (drop > settings.overfit_sigma * noise && drop > FALLING_SHARE * improvement).then_some(drop)
}
