//! A running sweep on the screen: bars on a terminal, lines in a log, JSON for programs.

mod bars;
mod json;
mod lines;
mod pace;

use lorasweep::spec::{Event, Parameter, SweepState, TrialState, TrialStatus};
use lorasweep::worker::{Observer, Warning};
use lorasweep::{Workload, best_so_far};

use crate::output::Output;

pub use pace::in_words;

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
    /// A line for each end and, every few seconds, an evaluation.
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
    let (ended, of) = state.progress(planned);
    of.map_or_else(|| ended.to_string(), |of| format!("{ended}/{of}"))
}

/// Trials that workers have.
fn in_training(state: &SweepState) -> usize {
    state.trials.values().filter(|trial| trial.status == TrialStatus::Running).count()
}

/// `best so far: trial 004, eval_loss 1.2345 (r 8 lr 2e-4 bs 4)`.
fn best_in_words(state: &SweepState) -> String {
    let Some((id, best)) = best_so_far(state) else {
        return "no evaluation so far".to_owned();
    };
    let settings = state.trials.get(&id).map(|trial| format!(" ({})", settings(trial)));
    let value = state.objective.in_short(best);
    format!("best so far: trial {id}, {value}{}", settings.unwrap_or_default())
}

/// `r 8 lr 2e-4 bs 4`: what distinguishes trials at a glance.
fn settings(trial: &TrialState) -> String {
    let config = &trial.trial.config;
    let rate = Parameter::LearningRate.row().shown(config);
    format!("r {} lr {rate} bs {}", config.rank, config.batch_size)
}

/// `120/400 eval 1.3421 r 8 lr 2e-4 bs 4`, as far as known: what has room in a line.
fn trial_in_words(trial: &TrialState, step: u32) -> String {
    let total = trial.total_steps.map_or_else(|| "?".to_owned(), |total| total.to_string());
    let train = trial.train_points.last().map(|point| format!(" train {:.4}", point.loss));
    let loss = trial.last().map(|last| format!(" eval {:.4}", last.eval_loss)).or(train);
    format!("{step}/{total}{} {}", loss.unwrap_or_default(), settings(trial))
}

/// `train_loss 1.23 eval_loss 1.34`, as far as known.
fn numbers(trial: &TrialState) -> String {
    let train = trial.train_points.last().map(|p| format!("train_loss {:.4}", p.loss));
    let eval = trial.last().map(|e| {
        let scores = e.scores.iter().map(|s| format!(" {} {:.4}", s.metric, s.value));
        format!("eval_loss {:.4}{}", e.eval_loss, scores.collect::<String>())
    });
    [train, eval].into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// What a shortage of memory led to; `None` for other events.
fn shortage(event: &Event) -> Option<String> {
    let Event::OutOfMemory { error, tokens_per_step } = event else { return None };
    Some(format!("memory ran out ({error}); steps have at most {tokens_per_step} tokens now"))
}
