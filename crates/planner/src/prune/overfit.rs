//! Overfitting: the validation loss has left its own minimum for good.
//!
//! An evaluation shows a rise when its loss lies above the lowest one before it by more than
//! `sigma` standard errors of that (paired) difference, and by more than the share `min_rise` of
//! that minimum. So many such evaluations in a row as `patience` says end the trial. These are the
//! thresholds of the report's diagnosis.

use spec::{Evaluation, SweepState, TrialId};

use super::{Decision, Pruner, running};

pub(super) struct Overfit {
    pub patience: u32,
    pub sigma: f64,
    pub min_rise: f64,
}

impl Overfit {
    /// The minimum that the evaluation at `index` has risen from, if it has.
    fn risen_from<'a>(
        &self,
        evaluations: &'a [Evaluation],
        index: usize,
    ) -> Option<&'a Evaluation> {
        let here = &evaluations[index];
        let lowest =
            evaluations[..index].iter().min_by(|a, b| a.eval_loss.total_cmp(&b.eval_loss))?;
        let rise = here.eval_loss - lowest.eval_loss;
        let noise = here.rise_stderr?;
        (rise > self.sigma * noise && rise > self.min_rise * lowest.eval_loss).then_some(lowest)
    }
}

impl Pruner for Overfit {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        let Some(judged) = running(state, trial) else { return Decision::Keep };
        let evaluations = &judged.evaluations;
        let (count, patience) = (evaluations.len(), self.patience as usize);
        let Some(first) = count.checked_sub(patience) else { return Decision::Keep };
        let lowest: Option<Vec<&Evaluation>> =
            (first..count).map(|i| self.risen_from(evaluations, i)).collect();
        match (lowest.as_deref(), evaluations.last()) {
            (Some([.., lowest]), Some(last)) => {
                let rise = last.eval_loss - lowest.eval_loss;
                Decision::early(format!(
                    "overfit: validation loss {:.4} at epoch {:.2} is {rise:.4} ({:.1}%) above its \
                     minimum {:.4} at epoch {:.2}, more than {} standard errors of {:.4}, for {} \
                     {} in a row",
                    last.eval_loss,
                    last.epoch,
                    rise / lowest.eval_loss * 100.0,
                    lowest.eval_loss,
                    lowest.epoch,
                    self.sigma,
                    last.rise_stderr.unwrap_or_default(),
                    patience,
                    if patience == 1 { "evaluation" } else { "evaluations" },
                ))
            }
            _ => Decision::Keep,
        }
    }

    fn is_relative(&self) -> bool {
        false
    }
}
