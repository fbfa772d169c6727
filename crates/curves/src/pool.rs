//! What the runs of a sweep say of each other's rise.
//!
//! Runs on the same training rows turn at about the same train loss: what one of them has to memorise,
//! the others have too. With few validation rows a run's own curve is the weaker witness, and the
//! levels of the other runs at the same train loss are further ones: the noise of their rises is nearly
//! independent (its correlation between runs of a sweep is 0.04 to 0.16 in `results/bench/diagnosis.txt`).
//!
//! A run whose own rise is several standard errors high needs no witness: how far it has risen is its own
//! matter, and runs with other settings that rise by less would pull it down. So the others' weight falls
//! with the run's own rise over its standard error.
//!
//! Notation: `p_i` is the probability that a run overfits at level i by its own curve alone, `t_i` its
//! train loss there, `z_i` its rise there over the rise's standard error; j runs over the levels of all
//! other runs.
//!
//! ```text
//! w_ij = exp(-((ln t_i - ln t_j) / NEAR)² / 2)        W_i = Σ_j w_ij
//! q_i  = (OWN p_i + Σ_j w_ij p_j) / (OWN + W_i)       h_i = W_i / (OWN + W_i)
//! g_i = exp(-(z_i / SURE)² / 2)
//! logit p'_i = logit p_i + g_i h_i (BESIDE logit q_i - LESS logit p_i)
//! ```
//!
//! A run that is alone, or whose train loss was not measured, keeps its own probability. There is no
//! constant term: both witnesses at one half leave it at one half. `BESIDE` and `LESS` are a logistic
//! regression over the cases of `scripts/bench/diagnosis_pool.py`, which also says what is gained
//! where a regime has no part in the regression, and what other values of `SURE` would give.

use std::collections::BTreeMap;

use crate::overfit::{Level, Rise};

/// Train losses apart by this, in logarithms, are one standard deviation of the weights apart.
const NEAR: f64 = 0.15;

/// So many other levels a level counts for.
const OWN: f64 = 0.5;

const BESIDE: f64 = 0.77;
const LESS: f64 = 0.56;

/// With a rise of so many standard errors the others weigh 0.6 of what they do beside no rise.
const SURE: f64 = 2.0;

/// Probabilities are not taken to be surer than this: they come from a few hundred draws.
const LEAST: f64 = 1e-3;

/// Levels are counted in bins of this width, so that thousands of runs are pooled in no time.
const BIN: f64 = 0.03;

/// Bins that are farther away weigh less than a hundredth.
const FARTHEST: i64 = 15;

/// A train loss is taken to be at least this.
const LEAST_LOSS: f64 = 1e-6;

/// The levels of all runs of a sweep by train loss.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pool(BTreeMap<i64, Bin>);

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bin {
    levels: f64,
    probability: f64,
}

impl Pool {
    /// Of the runs of a sweep, each judged alone.
    pub fn of<'a>(rises: impl IntoIterator<Item = &'a Rise>) -> Self {
        let mut pool = Self::default();
        rises.into_iter().for_each(|rise| pool.add(&rise.levels, 1.0));
        pool
    }

    fn add(&mut self, levels: &[Level], sign: f64) {
        for level in levels {
            if let Some(at) = bin(level) {
                let bin = self.0.entry(at).or_default();
                bin.levels += sign;
                bin.probability += sign * level.probability;
            }
        }
    }

    /// Judges one of the pooled runs again, now with the others beside it.
    #[must_use]
    pub fn judge(&self, mut rise: Rise) -> Rise {
        let mut others = self.clone();
        others.add(&rise.levels, -1.0);
        for level in &mut rise.levels {
            level.probability = others.beside(level);
        }
        rise.settle();
        rise
    }

    fn beside(&self, level: &Level) -> f64 {
        let Some(here) = bin(level) else { return level.probability };
        let (mut weight, mut sum) = (0.0, 0.0);
        for (at, bin) in self.0.range(here - FARTHEST..=here + FARTHEST) {
            let apart = (at - here) as f64 * BIN / NEAR;
            let near = (-0.5 * apart * apart).exp();
            weight += near * bin.levels;
            sum += near * bin.probability;
        }
        if weight < LEAST {
            return level.probability;
        }
        let sure = level.rise_over_error / SURE;
        let share = (-0.5 * sure * sure).exp() * weight / (OWN + weight);
        let (own, pooled) =
            (logit(level.probability), logit((OWN * level.probability + sum) / (OWN + weight)));
        let sum = own + share * (BESIDE * pooled - LESS * own);
        1.0 / (1.0 + (-sum).exp())
    }
}

/// `None` where the train loss was not measured, or is no number any more.
fn bin(level: &Level) -> Option<i64> {
    let train = level.train.filter(|train| train.is_finite())?;
    Some((train.max(LEAST_LOSS).ln() / BIN).round() as i64)
}

fn logit(probability: f64) -> f64 {
    let probability = probability.clamp(LEAST, 1.0 - LEAST);
    (probability / (1.0 - probability)).ln()
}
