//! How much of the best run's improvement a run reached, and whether it was still improving.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use curves::{Noise, group_targets, with_base};
use spec::{Evaluation, ReportSettings, SweepState, TrialState};

/// A run is still falling when its last third brought more than about this share of its improvement.
/// A linear decay of the learning rate leaves a ninth of the path to the last third, and an
/// exponential approach is below this only after about five time constants. Of shares between 0.01 and
/// 0.05 it is the middle of those that foretell best, in regimes with no part in the choice, whether a run
/// falls when it is trained as long again (`scripts/bench/diagnosis_falling.py`).
pub const FALLING_SHARE: f64 = 0.03;

/// Share of `best`'s improvement over `base` that `own` reached; 0 when nothing beat the base.
pub fn recovered_share(base: f64, best: f64, own: f64) -> f64 {
    let possible = base - best;
    if possible > 0.0 { ((base - own) / possible).max(0.0) } else { 0.0 }
}

/// A rate is too high or too low from a loss on that is this share above what another one reached.
const BEHIND: f64 = 0.1;

/// On which side of a run's learning rate another one's is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    Lower,
    Higher,
}

/// The evaluated runs of a sweep by rank, those of the lowest loss first.
pub struct Peers<'a> {
    by_rank: BTreeMap<u32, Vec<Peer<'a>>>,
    targets: Option<Vec<f64>>,
}

/// What a run is looked at for by thousands of others.
struct Peer<'a> {
    trial: &'a TrialState,
    best: &'a Evaluation,
    learning_rate: f64,
    batch_size: u32,
    epochs: u32,
}

impl<'a> Peers<'a> {
    /// The runs of `state`.
    pub fn of(state: &'a SweepState) -> Self {
        let mut by_rank: BTreeMap<u32, Vec<Peer<'_>>> = BTreeMap::new();
        for trial in state.trials.values() {
            let (Some(best), config) = (trial.best(), &trial.trial.config) else { continue };
            by_rank.entry(config.rank).or_default().push(Peer {
                trial,
                best,
                learning_rate: config.learning_rate,
                batch_size: config.batch_size,
                epochs: config.epochs,
            });
        }
        for peers in by_rank.values_mut() {
            peers.sort_by(|a, b| a.best.eval_loss.total_cmp(&b.best.eval_loss));
        }
        Self { by_rank, targets: group_targets(state) }
    }

    /// The best run that reached a loss lower by [`BEHIND`] and by more than `sigma` standard
    /// errors, at the same rank with a learning rate on the given side and no more steps: then it
    /// is not steps that `run` lacked.
    pub fn further_at(&self, rate: Rate, run: &TrialState, sigma: f64) -> Option<&'a TrialState> {
        let (config, best) = (&run.trial.config, run.best()?);
        let is_on_side = |other: f64| match rate {
            Rate::Lower => other < config.learning_rate,
            Rate::Higher => other > config.learning_rate,
        };
        let came_further = |other: &&Peer<'_>| {
            let ahead = best.eval_loss - other.best.eval_loss;
            is_on_side(other.learning_rate)
                && other.batch_size >= config.batch_size
                && other.epochs <= config.epochs
                && ahead >= BEHIND * best.eval_loss
                && other.trial.trial.config.quantization == config.quantization
                && ahead > sigma * self.error_of_difference(best, other.best)
        };
        let all = self.by_rank.get(&config.rank)?.iter();
        // The lowest loss comes first, and behind the first that is not ahead by enough is none.
        let ahead = |peer: &&Peer<'_>| best.eval_loss - peer.best.eval_loss;
        let is_ahead = |peer: &&Peer<'_>| {
            ahead(peer).partial_cmp(&(BEHIND * best.eval_loss)) != Some(Ordering::Less)
        };
        Some(all.take_while(is_ahead).find(came_further)?.trial)
    }

    /// Standard error of the difference of two runs' losses, on the same examples.
    fn error_of_difference(&self, a: &Evaluation, b: &Evaluation) -> f64 {
        let is_known = |e: &Evaluation| !e.group_nll.is_empty();
        if is_known(a) && is_known(b) {
            Noise::of(&[a, b], self.targets.as_deref()).error_of_difference(0, 1)
        } else {
            a.eval_loss_stderr.hypot(b.eval_loss_stderr)
        }
    }
}

/// What the last third of a run's steps brought, where that is beyond its noise.
#[derive(Debug, Clone, Copy)]
pub struct Fall {
    /// How much lower the validation loss is.
    pub drop: f64,
    /// That as a share of the whole improvement over the base model.
    pub share: f64,
}

impl Fall {
    /// `None` where the loss did not fall by more than its noise.
    pub fn of(
        evaluations: &[Evaluation],
        base: &Evaluation,
        settings: &ReportSettings,
    ) -> Option<Self> {
        let curve = with_base(evaluations, Some(base));
        let last = *curve.last()?;
        let two_thirds = f64::from(last.step) * 2.0 / 3.0;
        let before =
            curve.iter().rev().find(|e| e.step < last.step && f64::from(e.step) <= two_thirds)?;
        let drop = before.eval_loss - last.eval_loss;
        let noise = last.rise_stderr.unwrap_or(last.eval_loss_stderr);
        let improvement = base.eval_loss - last.eval_loss;
        // One that is above the base model has improved by nothing, and any fall is more than that.
        let share = if improvement > 0.0 { drop / improvement } else { f64::INFINITY };
        (drop > settings.overfit_sigma * noise).then_some(Self { drop, share })
    }
}
