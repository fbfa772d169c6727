//! Bars on a terminal: one for the sweep, one for each running trial.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lorasweep::spec::{Event, SweepState, TrialId, TrialState, printable};
use lorasweep::worker::{Observer, Warning};

use super::pace::{Pace, in_words};
use super::{Plan, Progress};

/// Running totals need not be recomputed for every step.
const REFRESH: Duration = Duration::from_millis(200);
const WIDTH: &str = "24";
/// The sweep's bar fills with the share of the work, since trials differ in length.
const BAR_LENGTH: u64 = 1000;

/// See the module.
pub struct Bars {
    multi: MultiProgress,
    sweep: ProgressBar,
    trials: BTreeMap<TrialId, ProgressBar>,
    planned: Option<usize>,
    pace: Pace,
    refreshed: Option<Instant>,
}

impl Bars {
    pub fn new(plan: Plan) -> Self {
        let multi = MultiProgress::new();
        let sweep = multi.add(ProgressBar::new(BAR_LENGTH));
        sweep.set_style(style(&format!("{{prefix:<10}} [{{bar:{WIDTH}}}] {{msg}}")));
        sweep.set_prefix("sweep");
        let (planned, pace) = (plan.trials, Pace::new(plan.workload));
        Self { multi, sweep, trials: BTreeMap::new(), planned, pace, refreshed: None }
    }

    fn show_sweep(&mut self, state: &SweepState) {
        let done = self.pace.done_share(state).unwrap_or(0.0);
        self.sweep.set_position((done * BAR_LENGTH as f64) as u64);
        let remaining = self.pace.remaining(state).map(|left| format!("{} left", in_words(left)));
        let parts = [
            Some(format!("{} trials", super::ended_of(state, self.planned))),
            super::best(state),
            remaining,
        ];
        self.sweep.set_message(parts.into_iter().flatten().collect::<Vec<_>>().join("  "));
    }

    fn show_trial(&mut self, trial: &TrialState) {
        let id = trial.trial.id;
        if trial.outcome().is_some() {
            if let Some(bar) = self.trials.remove(&id) {
                bar.finish_and_clear();
            }
            return;
        }
        let multi = &self.multi;
        let bar = self.trials.entry(id).or_insert_with(|| {
            let bar = multi.add(ProgressBar::new(0));
            bar.set_style(style(&format!(
                "{{prefix:<10}} [{{bar:{WIDTH}}}] {{pos}}/{{len}} {{msg}}"
            )));
            bar.set_prefix(format!("trial {id}"));
            bar
        });
        bar.set_length(trial.total_steps.unwrap_or(0).into());
        bar.set_position(trial.train_points.last().map_or(0, |point| point.step.into()));
        bar.set_message(format!("{}  {}", super::settings(trial), super::numbers(trial)));
    }
}

impl Observer for Bars {
    fn event(&mut self, event: &Event, state: &SweepState) {
        if let Some(shortage) = super::shortage(event) {
            // Nothing can be done about a terminal that cannot be written to.
            let _ = self.multi.println(&*printable(&shortage));
        }
        let is_step = matches!(event, Event::Trained { .. });
        let is_pending = matches!(event, Event::TrialProposed { .. });
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
        self.sweep.finish_and_clear();
    }
}

/// The templates are constants of this file; a wrong one falls back to indicatif's own.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
