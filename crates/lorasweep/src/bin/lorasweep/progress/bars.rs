//! Bars on a terminal: one for the sweep, one for each running trial while there is room, and the best
//! so far.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lorasweep::spec::{Event, SweepState, TrialId, TrialState, printable};
use lorasweep::worker::{Observer, Warning};

use super::pace::{Pace, Rate, in_words};
use super::{Plan, Progress};

/// Running totals need not be recomputed for every step.
const REFRESH: Duration = Duration::from_millis(200);
/// The sweep's bar fills with the share of the work, since trials differ in length.
const BAR_LENGTH: u64 = 1000;
/// Lines of the terminal that are not a trial's: the sweep, the best, and the prompt.
const OTHER_LINES: usize = 3;
/// On a terminal that does not say how high it is.
const USUAL_HEIGHT: u16 = 24;

// `{wide_msg}` takes what the terminal's width leaves, and is cut there.
const SWEEP: &str = "sweep [{bar:8}] {wide_msg}";
const TRIAL: &str = "{prefix:>5} [{bar:16}] {wide_msg}";
const TEXT: &str = "{wide_msg}";

/// See the module.
pub struct Bars {
    multi: MultiProgress,
    sweep: ProgressBar,
    trials: BTreeMap<TrialId, ProgressBar>,
    best: ProgressBar,
    planned: Option<usize>,
    pace: Pace,
    rate: Rate,
    refreshed: Option<Instant>,
}

impl Bars {
    pub fn new(plan: Plan) -> Self {
        let multi = MultiProgress::new();
        let line = |length, template| {
            let bar = multi.add(ProgressBar::new(length));
            bar.set_style(style(template));
            bar
        };
        let (sweep, best) = (line(BAR_LENGTH, SWEEP), line(0, TEXT));
        let (planned, pace) = (plan.trials, Pace::new(plan.workload));
        let (trials, rate) = (BTreeMap::new(), Rate::default());
        Self { multi, sweep, trials, best, planned, pace, rate, refreshed: None }
    }

    fn show_sweep(&mut self, state: &SweepState) {
        let done = self.pace.done_share(state).unwrap_or(0.0);
        self.sweep.set_position((done * BAR_LENGTH as f64) as u64);
        let parts = [
            Some(format!("{} trials", super::ended_of(state, self.planned))),
            Some(format!("{} training", super::in_training(state))),
            self.rate.tokens_per_second(state).map(|rate| format!("{rate:.0} tokens/s")),
            self.pace.remaining(state).map(|left| format!("{} left", in_words(left))),
        ];
        self.sweep.set_message(joined(parts));
        self.best.set_message(super::best_in_words(state));
    }

    fn show_trial(&mut self, trial: &TrialState) {
        let id = trial.trial.id;
        if trial.outcome().is_some() {
            if let Some(bar) = self.trials.remove(&id) {
                bar.finish_and_clear();
                self.multi.remove(&bar);
            }
            return;
        }
        if !self.trials.contains_key(&id) && self.trials.len() >= room() {
            return;
        }
        let (multi, best) = (&self.multi, &self.best);
        let bar = self.trials.entry(id).or_insert_with(|| {
            let bar = multi.insert_before(best, ProgressBar::new(0));
            bar.set_style(style(TRIAL));
            bar.set_prefix(id.to_string());
            bar
        });
        let step = trial.train_points.last().map_or(0, |point| point.step);
        bar.set_length(trial.total_steps.unwrap_or(0).into());
        bar.set_position(step.into());
        bar.set_message(super::trial_in_words(trial, step));
    }
}

/// Trials that have a line of their own.
fn room() -> usize {
    let height = Term::stderr().size_checked().map_or(USUAL_HEIGHT, |(rows, _)| rows);
    usize::from(height).saturating_sub(OTHER_LINES)
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

impl Observer for Bars {
    fn event(&mut self, event: &Event, state: &SweepState) {
        if let Some(shortage) = super::shortage(event) {
            // Nothing can be done about a terminal that cannot be written to.
            let _ = self.multi.println(&*printable(&shortage));
        }
        let is_step = matches!(event, Event::Trained { .. });
        let is_pending = matches!(event, Event::TrialProposed { .. } | Event::TrialRetried { .. });
        if is_step {
            self.pace.begin(state);
        }
        if let Some(trial) = event.trial().and_then(|id| state.trials.get(&id))
            && !is_pending
        {
            self.show_trial(trial);
        }
        if !is_step || self.refreshed.is_none_or(|at| at.elapsed() > REFRESH) {
            self.show_sweep(state);
            self.refreshed = Some(Instant::now());
        }
    }

    fn warning(&mut self, warning: &Warning) {
        // Nothing can be done about a terminal that cannot be written to.
        let _ = self.multi.println(&*printable(&format!("warning: {warning}")));
    }
}

impl Progress for Bars {
    fn close(&mut self) {
        for bar in std::mem::take(&mut self.trials).into_values() {
            bar.finish_and_clear();
        }
        for bar in [&self.best, &self.sweep] {
            bar.finish_and_clear();
        }
    }
}

/// The templates are constants of this file; a wrong one falls back to indicatif's own.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use lorasweep::spec::{Evaluation, TrainPoint, Trial, TrialConfig};

    use super::*;

    /// A trial that has long numbers everywhere.
    fn trial() -> TrialState {
        let mut state = SweepState::default();
        let id = TrialId(123);
        let config = TrialConfig {
            rank: 256,
            learning_rate: 1.994_884_429_493_682_4e-4,
            batch_size: 128,
            ..TrialConfig::default()
        };
        state.apply(&Event::proposed(Trial { id, config }));
        let point = TrainPoint {
            step: 123_456,
            epoch: 1.0,
            loss: 12.3456,
            grad_norm: None,
            learning_rate: 1e-4,
            tokens: 123_456_789,
            seconds: 10.0,
        };
        state.apply(&Event::Trained { trial: id, point });
        let evaluation = Evaluation {
            step: 123_456,
            epoch: 1.0,
            eval_loss: 12.3456,
            eval_loss_stderr: 0.0,
            rise_stderr: None,
            group_nll: Vec::new(),
            train_loss: None,
            retention_loss: None,
            scores: Vec::new(),
            tokens: 1,
            seconds: 1.0,
        };
        state.apply(&Event::Evaluated { trial: id, evaluation });
        state.trials[&id].clone()
    }

    #[test]
    fn a_trials_line_fits_80_columns() {
        let before = "  123 [] ".len() + 16;
        let line = super::super::trial_in_words(&trial(), 123_456);
        assert!(before + line.chars().count() <= 80, "{line}");
    }
}
