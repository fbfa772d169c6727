//! `lorasweep explain`: what was expected of each trial when it was proposed, what came, and which
//! parameters matter. Works for every method, also while the sweep runs.

use std::fmt::Write as _;

use planner::Expectation;
use reporter::Importance;
use serde::Serialize;
use spec::{Event, Sweep, SweepState, Trial, TrialState};
use store::SweepFolder;

use crate::args::ExplainArgs;
use crate::commands::status::outcome_name;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;
use crate::sweep_file;

/// What there is to say of a sweep's choices.
#[derive(Serialize)]
struct Explanation {
    name: String,
    trials: Vec<TrialLine>,
    importance: Vec<ImportanceLine>,
    /// Why no further trial was proposed.
    conclusion: Option<String>,
}

#[derive(Serialize)]
struct TrialLine {
    trial: u32,
    settings: String,
    expected_loss: Option<f64>,
    expected_low: Option<f64>,
    expected_high: Option<f64>,
    eval_loss: Option<f64>,
    /// Whether it ended within what was expected.
    as_expected: Option<bool>,
    status: String,
}

#[derive(Serialize)]
struct ImportanceLine {
    parameter: &'static str,
    share: f64,
    stderr: f64,
}

pub fn run(args: &ExplainArgs) -> Result<Exit, CliError> {
    let sweep = sweep_file::load(&args.sweep)?.sweep;
    let folder = SweepFolder::open(args.results.join(&sweep.name))?;
    let explanation = explain(&sweep, &folder.events()?);
    if args.json {
        output::json("the explanation", &explanation)?;
    } else {
        output::result(&render(&explanation));
    }
    Ok(Exit::Done)
}

/// Goes through the journal, so that each expectation is from what was known at the proposal.
fn explain(sweep: &Sweep, events: &[Event]) -> Explanation {
    let mut state = SweepState::default();
    let mut proposals: Vec<(Trial, Option<Expectation>)> = Vec::new();
    for event in events {
        if let Event::TrialProposed { trial, .. } = event {
            let expected = planner::expectation(sweep, &state, &trial.config);
            proposals.push((trial.clone(), expected));
        }
        state.apply(event);
    }
    let lines = proposals
        .iter()
        .filter_map(|(trial, expected)| Some(line(sweep, state.trials.get(&trial.id)?, *expected)));
    Explanation {
        name: sweep.name.clone(),
        trials: lines.collect(),
        importance: reporter::importance(&state).iter().map(importance_line).collect(),
        conclusion: planner::for_sweep(sweep).conclusion(&state),
    }
}

fn line(sweep: &Sweep, trial: &TrialState, expected: Option<Expectation>) -> TrialLine {
    let eval_loss = trial.last().map(|last| last.eval_loss);
    let is_within = |(e, loss): (Expectation, f64)| (e.low..=e.high).contains(&loss);
    let ended = trial.outcome().is_some();
    TrialLine {
        trial: trial.trial.id.0,
        settings: settings(sweep, trial),
        expected_loss: expected.map(|e| e.loss),
        expected_low: expected.map(|e| e.low),
        expected_high: expected.map(|e| e.high),
        eval_loss,
        as_expected: expected.zip(eval_loss).filter(|_| ended).map(is_within),
        status: trial.outcome().map_or_else(|| "not ended".to_owned(), outcome_name),
    }
}

/// The varied settings of a trial.
fn settings(sweep: &Sweep, trial: &TrialState) -> String {
    let varied = sweep.space.varied();
    let shown = varied
        .iter()
        .map(|parameter| format!("{parameter} {}", parameter.row().get(&trial.trial.config)));
    shown.collect::<Vec<_>>().join(", ")
}

fn importance_line(importance: &Importance) -> ImportanceLine {
    let Importance { name, share, stderr } = *importance;
    ImportanceLine { parameter: name, share, stderr }
}

fn render(found: &Explanation) -> String {
    let mut out = format!("{}: what was expected of each trial, and what came\n\n", found.name);
    let _ = writeln!(
        out,
        "{:>5}  {:<27}  {:>9}  settings; how it ended",
        "trial", "expected (95% of the time)", "eval_loss"
    );
    for trial in &found.trials {
        let expected = match (trial.expected_loss, trial.expected_low, trial.expected_high) {
            (Some(loss), Some(low), Some(high)) => format!("{loss:.4} ({low:.4} to {high:.4})"),
            _ => "nothing was measured yet".to_owned(),
        };
        let came = trial.eval_loss.map_or_else(|| "-".to_owned(), |loss| format!("{loss:.4}"));
        let surprise = if trial.as_expected == Some(false) { "; a surprise" } else { "" };
        let _ = writeln!(
            out,
            "{:>5}  {expected:<27}  {came:>9}  {}; {}{surprise}",
            format!("{:03}", trial.trial),
            trial.settings,
            trial.status,
        );
    }
    if !found.importance.is_empty() {
        out += "\nShare of the loss' variance that each parameter explains alone (the report's page \
                shows the same):\n";
        for ImportanceLine { parameter, share, stderr } in &found.importance {
            let _ =
                writeln!(out, "{parameter:>16}  {:>3.0}% +- {:.0}", share * 100.0, stderr * 100.0);
        }
        let alone: f64 = found.importance.iter().map(|line| line.share).sum();
        let _ = writeln!(out, "{:>16}  {:>3.0}%", "together only", (1.0 - alone).max(0.0) * 100.0);
    }
    if let Some(conclusion) = &found.conclusion {
        let _ = writeln!(out, "\nNo further trial was proposed: {conclusion}.");
    }
    out
}
