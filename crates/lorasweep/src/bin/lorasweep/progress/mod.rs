//! A running sweep on the screen: bars on a terminal, lines in a log, JSON for programs.

mod bars;
mod json;
mod lines;
mod pace;

use lorasweep::spec::{Event, SweepState, TrialState};
use lorasweep::worker::{Observer, Warning};
use lorasweep::{Workload, best_so_far};

use crate::output::Output;

/// An observer that has something to put away at the end.
pub trait Progress: Observer {
    /// Leaves the screen in order.
    fn close(&mut self) {}
}

/// How to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bars on the terminal.
    Bars,
    /// A line for each evaluation and each end.
    Lines,
    /// One JSON event a line on stdout.
    Json,
    /// Warnings only.
    Quiet,
}

/// What progress is measured against.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Trials in all, if known.
    pub trials: Option<usize>,
    /// Their work, if known.
    pub workload: Workload,
}

/// The progress display of a mode.
pub fn start(mode: Mode, plan: Plan, output: Output) -> Box<dyn Progress> {
    match mode {
        Mode::Bars => Box::new(bars::Bars::new(plan)),
        Mode::Lines => Box::new(lines::Lines::new(plan, output)),
        Mode::Json => Box::new(json::Json::new(output)),
        Mode::Quiet => Box::new(Quiet { output }),
    }
}

struct Quiet {
    output: Output,
}

impl Progress for Quiet {}

impl Observer for Quiet {
    fn event(&mut self, _: &Event, _: &SweepState) {}

    fn warning(&mut self, warning: &Warning) {
        self.output.warning(&warning.to_string());
    }
}

/// `7/18` or, when the number of trials is not known, `7`.
fn ended_of(state: &SweepState, planned: Option<usize>) -> String {
    let ended = state.trials.values().filter(|trial| trial.outcome().is_some()).count();
    planned.map_or_else(|| ended.to_string(), |planned| format!("{ended}/{planned}"))
}

/// `best 004 eval_loss 1.2345`, once there is one.
fn best(state: &SweepState) -> Option<String> {
    best_so_far(state).map(|(id, loss)| format!("best {id} eval_loss {loss:.4}"))
}

/// `r 8 lr 2e-4 bs 4`: what tells trials apart at a glance.
fn settings(trial: &TrialState) -> String {
    let config = &trial.trial.config;
    format!("r {} lr {:e} bs {}", config.rank, config.learning_rate, config.batch_size)
}

/// `train_loss 1.23 eval_loss 1.34 5120 tokens/s`, as far as known.
fn numbers(trial: &TrialState) -> String {
    let train = trial.train_points.last().map(|p| format!("train_loss {:.4}", p.loss));
    let eval = trial.last().map(|e| format!("eval_loss {:.4}", e.eval_loss));
    let speed = pace::tokens_per_second(trial).map(|speed| format!("{speed:.0} tokens/s"));
    [train, eval, speed].into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// What a shortage of memory led to; `None` for other events.
fn shortage(event: &Event) -> Option<String> {
    let Event::OutOfMemory { error, tokens_per_step } = event else { return None };
    Some(format!("memory ran out ({error}); steps have at most {tokens_per_step} tokens now"))
}
