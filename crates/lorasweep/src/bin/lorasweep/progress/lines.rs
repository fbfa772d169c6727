//! Plain lines for logs: one for each end and, every few seconds, an evaluation.

use std::time::{Duration, Instant};

use lorasweep::outcome_name;
use lorasweep::spec::{Event, SweepState, TrialState};
use lorasweep::worker::{Observer, Warning};

use super::pace::{Pace, in_words};
use super::{Plan, Progress};
use crate::output::{self, Output};

/// Evaluations are shown at most this often, however many trials train.
const BETWEEN_EVALUATIONS: Duration = Duration::from_secs(5);

/// See the module.
pub struct Lines {
    output: Output,
    planned: Option<usize>,
    pace: Pace,
    shown: Option<Instant>,
}

impl Lines {
    pub fn new(plan: Plan, output: Output) -> Self {
        let (planned, pace) = (plan.trials, Pace::new(plan.workload));
        Self { output, planned, pace, shown: None }
    }

    fn is_due(&mut self) -> bool {
        let due = self.shown.is_none_or(|at| at.elapsed() >= BETWEEN_EVALUATIONS);
        if due {
            self.shown = Some(Instant::now());
        }
        due
    }
}

impl Observer for Lines {
    fn event(&mut self, event: &Event, state: &SweepState) {
        if matches!(event, Event::Trained { .. }) {
            return self.pace.begin(state);
        }
        let remaining = self.pace.remaining(state);
        let trial = event.trial().and_then(|id| state.trials.get(&id));
        let line = match (event, trial) {
            (Event::BaseEvaluated { evaluation }, _) => {
                format!("base model: eval_loss {:.4}", evaluation.eval_loss)
            }
            (Event::QuantizedBaseEvaluated { quantization, evaluation, .. }, _) => {
                format!(
                    "base model, quantization {quantization}: eval_loss {:.4}",
                    evaluation.eval_loss
                )
            }
            (Event::OutOfMemory { .. }, _) => super::shortage(event).unwrap_or_default(),
            (Event::TrialStarted { from_step, device, continues, .. }, Some(trial)) => {
                let from = match continues {
                    Some(other) => format!(", continues trial {other} from step {from_step}"),
                    None if *from_step > 0 => format!(" from step {from_step}"),
                    None => String::new(),
                };
                format!("trial {}: {} on {device}{from}", trial.trial.id, super::settings(trial))
            }
            (Event::Evaluated { .. }, Some(trial)) if self.is_due() => {
                let left = remaining.map(|left| format!("  {} left", in_words(left)));
                evaluated(trial) + &left.unwrap_or_default()
            }
            (Event::TrialPromoted { trial, reason, .. }, _) => {
                format!("trial {trial} continues after its early stop: {reason}")
            }
            (Event::TrialFinished { outcome, .. }, Some(trial)) => {
                let left =
                    remaining.map_or_else(String::new, |d| format!(", {} left", in_words(d)));
                let ended = super::ended_of(state, self.planned);
                format!(
                    "trial {}: {}, {} [{ended} ended{left}; {}]",
                    trial.trial.id,
                    outcome_name(outcome),
                    ending(trial),
                    super::best_in_words(state)
                )
            }
            _ => return,
        };
        output::note(&line);
    }

    fn warning(&mut self, warning: &Warning) {
        self.output.warning(&warning.to_string());
    }
}

impl Progress for Lines {}

fn evaluated(trial: &TrialState) -> String {
    let step = trial.last().map_or(0, |evaluation| evaluation.step);
    let total = trial.total_steps.map_or_else(|| "?".to_owned(), |n| n.to_string());
    format!("trial {}: step {step}/{total}  {}", trial.trial.id, super::numbers(trial))
}

fn ending(trial: &TrialState) -> String {
    trial.best().map_or_else(
        || "no evaluation".to_owned(),
        |best| format!("best {} at epoch {:.2}", trial.objective.in_short(best), best.epoch),
    )
}
