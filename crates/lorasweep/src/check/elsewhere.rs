//! What can be known of a sweep that another program trains: its trials, and the command line.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use spec::{CommandSettings, ExecutorKind, Sweep, Trial};
use store::SweepFolder;
use worker::CommandTrainer;

use super::{earlier, next};
use crate::args::CheckArgs;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::inputs::sweep_file::SweepFile;
use crate::plan::workload;

#[derive(Serialize)]
struct Findings<'a> {
    name: &'a str,
    fingerprint: String,
    method: spec::Method,
    /// Trials in all (at most, for a method that may end before); absent without an end.
    trials: Option<usize>,
    /// What the shell will run for the first trial; absent where nothing is run.
    command: Option<String>,
    max_parallel: Option<u32>,
    warnings: Vec<String>,
}

pub(super) fn run(args: &CheckArgs, file: &SweepFile) -> Result<Exit, Error> {
    let findings = find(&file.sweep, &args.results)?;
    if args.json {
        output::json("the findings", &findings)?;
    } else {
        file.warn();
        output::result(&render(&findings));
    }
    earlier(&file.sweep, findings.trials, &args.results)??;
    if !args.json {
        let command = if findings.command.is_some() { "run" } else { "ask" };
        output::result(&format!("\nNext:\n  {}", next(command, file, &args.results)));
    }
    Ok(Exit::Done)
}

fn find<'a>(sweep: &'a Sweep, results: &Path) -> Result<Findings<'a>, Error> {
    let planner = planner::for_sweep(sweep);
    let all = workload::all_trials(&*planner);
    let first = workload::known_trials(sweep, all.as_deref()).into_iter().next();
    let settings = match &sweep.executor.kind {
        ExecutorKind::Command(settings) => Some(settings),
        _ => None,
    };
    let folder = SweepFolder::at(results.join(&sweep.name));
    let preview = |(settings, trial): (&CommandSettings, Trial)| {
        CommandTrainer::preview(sweep, settings, &trial, &folder)
    };
    Ok(Findings {
        name: &sweep.name,
        fingerprint: sweep.fingerprint(),
        method: sweep.method,
        trials: planner.total(),
        command: settings.zip(first).map(preview).transpose()?,
        max_parallel: settings.map(|settings| settings.max_parallel),
        warnings: sweep.warnings.iter().map(|warning| warning.message.clone()).collect(),
    })
}

fn render(found: &Findings) -> String {
    let mut out = format!("sweep `{}`, {}, ", found.name, found.method);
    let _ = match found.trials {
        Some(trials) => writeln!(out, "at most {trials} trials"),
        None => writeln!(out, "trials without end: set `run_cap` for a number"),
    };
    match (&found.command, found.max_parallel) {
        (Some(command), Some(parallel)) => {
            let _ =
                writeln!(out, "each is a command, {parallel} at a time; for instance\n  {command}");
        }
        _ => {
            out += "they are trained elsewhere\n";
        }
    }
    out
}
