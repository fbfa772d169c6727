//! Overfitting: the level of the validation loss has left its own lowest one for good.
//!
//! A trial is judged by the rule of the report (the crate `curves`, module `overfit`): so many
//! evaluations in a row as `patience` says must each show a rise of at least `min_rise` with at least
//! `probability`. How much curves wobble is not pooled over the sweep's runs here, so that a trial's
//! end depends on its own evaluations alone.

use curves::{Curve, Rise, Shapes};
use spec::{SweepState, TrialId};

use super::{Decision, Pruner, running};

pub(super) struct Overfit {
    pub patience: u32,
    pub probability: f64,
    pub min_rise: f64,
}

impl Pruner for Overfit {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        let Some(judged) = running(state, trial) else { return Decision::Keep };
        let (count, patience) = (judged.evaluations.len(), self.patience as usize);
        if count < patience {
            return Decision::Keep;
        }
        let (targets, base) = (curves::group_targets(state), state.base_of(judged));
        let risen_at = |count: usize| {
            let curve = Curve::of(&judged.evaluations[..count], base, targets.as_deref());
            let rise = curves::rise(&curve, &Shapes::general(), self.min_rise)?;
            (rise.probability >= self.probability).then_some(rise)
        };
        // The last one first: it is seldom enough that it shows a rise.
        let risen: Option<Vec<Rise>> = (0..patience).map(|back| risen_at(count - back)).collect();
        match risen.as_deref() {
            Some([last, ..]) => Decision::early(self.reason(last)),
            _ => Decision::Keep,
        }
    }

    fn is_relative(&self) -> bool {
        false
    }
}

impl Overfit {
    fn reason(&self, last: &Rise) -> String {
        format!(
            "overfit: the level of the validation loss (two evaluations in a row) is {:.4} ± {:.4} \
             ({:.1}%) above its lowest, {:.4}, and at least {:.1}% with a probability of {:.0}%, for \
             {} {} in a row",
            last.rise,
            last.rise_stderr,
            last.rise / last.lowest * 100.0,
            last.lowest,
            self.min_rise * 100.0,
            last.probability * 100.0,
            self.patience,
            if self.patience == 1 { "evaluation" } else { "evaluations" },
        )
    }
}
