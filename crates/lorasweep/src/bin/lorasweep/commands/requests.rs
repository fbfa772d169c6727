//! `lorasweep stop` and `lorasweep retry`: what becomes of single trials.

use lorasweep::spec::{ExecutorKind, Outcome, Sweep as Resolved, SweepState, TrialId};
use lorasweep::store::Request;
use lorasweep::{Error, Sweep};

use crate::args::{Language, RetryArgs, RunArgs, StopArgs};
use crate::commands;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{self, Output};

/// Ends trials; what they have learnt stays.
pub fn stop(args: &StopArgs) -> Result<Exit, CliError> {
    let sweep = args.sweep.open()?;
    let state = sweep.state()?;
    let trials = known(&sweep, &state, &args.trials)?;
    let holder = sweep.holder()?;
    for id in trials {
        if state.trials[&id].outcome().is_some() {
            output::result(&format!("Trial {id} has ended already."));
            continue;
        }
        sweep.request(&Request::Stop { trial: id })?;
        output::result(&match &holder {
            Some(holder) => format!("Asked {holder} to end trial {id}."),
            None => format!("The sweep is not running; trial {id} ends when it runs again."),
        });
    }
    Ok(Exit::Done)
}

/// Has trials that ended run again, and runs the sweep unless it is running.
pub fn retry(args: &RetryArgs, output: Output) -> Result<Exit, CliError> {
    let sweep = args.sweep.open()?;
    let state = sweep.state()?;
    let trials =
        if args.trials.is_empty() { failed(&state) } else { known(&sweep, &state, &args.trials)? };
    if trials.is_empty() {
        output::result("No trial has failed.");
        return Ok(Exit::Done);
    }
    for &trial in &trials {
        sweep.request(&Request::Retry { trial })?;
    }
    if let Some(holder) = sweep.holder()? {
        output::result(&format!("Asked {holder} to run {} again.", in_words(&trials)));
        return Ok(Exit::Done);
    }
    let is_external = |sweep: &Resolved| sweep.executor.kind == ExecutorKind::External;
    if sweep.resolved().is_some_and(is_external) {
        output::result(&format!("The next `lorasweep ask` gives {} out again.", in_words(&trials)));
        return Ok(Exit::Done);
    }
    output::note(&format!("Running {} again.", in_words(&trials)));
    let run = RunArgs {
        sweep: args.sweep.clone(),
        fresh: false,
        json: false,
        quiet: args.quiet,
        add: Vec::new(),
        open: false,
        lang: Language::En,
    };
    commands::run::run(&run, output)
}

fn failed(state: &SweepState) -> Vec<TrialId> {
    let has_failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed { .. });
    let trials = state.trials.values().filter(|trial| trial.outcome().is_some_and(has_failed));
    trials.map(|trial| trial.trial.id).collect()
}

/// The trials with these numbers; an error when one is not there.
fn known(sweep: &Sweep, state: &SweepState, numbers: &[u32]) -> Result<Vec<TrialId>, Error> {
    let trial = |&number: &u32| {
        let id = TrialId(number);
        let folder = || sweep.folder().path().to_path_buf();
        state
            .trials
            .get(&id)
            .map(|_| id)
            .ok_or_else(|| Error::NoSuchTrial { dir: folder(), trial: id })
    };
    numbers.iter().map(trial).collect()
}

/// `trial 003`, `trials 003 and 012`.
fn in_words(trials: &[TrialId]) -> String {
    match trials {
        [one] => format!("trial {one}"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(TrialId::to_string).collect();
            format!("trials {} and {last}", first.join(", "))
        }
        [] => "no trial".to_owned(),
    }
}
