//! `lorasweep ask` and `lorasweep tell`: the sweep's trials are trained elsewhere.
//!
//! One JSON object a line goes in and comes out.

use std::io::BufRead;

use lorasweep::{Error, ExternalTrials, Sweep};
use serde::Serialize;

use crate::args::{AskArgs, TellArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::{output, warn};

/// Gives out trials.
pub fn ask(args: &AskArgs) -> Result<Exit, CliError> {
    let sweep = Sweep::open_file(&args.sweep)?.with_results(&args.results);
    warn(&sweep);
    let trials = sweep.external_trials()?;
    let answers =
        if args.unfinished { trials.unfinished()? } else { trials.ask(args.number.into())? };
    answers.iter().try_for_each(print)?;
    Ok(Exit::Done)
}

/// Takes what trainers report.
pub fn tell(args: &TellArgs) -> Result<Exit, CliError> {
    let sweep = Sweep::open_file(&args.sweep)?.with_results(&args.results);
    let trials = sweep.external_trials()?;
    if args.lines.is_empty() {
        for (number, line) in (1..).zip(std::io::stdin().lock().lines()) {
            let line = line.map_err(CliError::io("read a line of", "stdin"))?;
            if !line.trim().is_empty() {
                tell_line(&trials, &line, number)?;
            }
        }
    }
    for (number, line) in (1..).zip(&args.lines) {
        tell_line(&trials, line, number)?;
    }
    Ok(Exit::Done)
}

fn tell_line(trials: &ExternalTrials, line: &str, number: usize) -> Result<(), CliError> {
    print(&trials.tell(line, number)?)
}

fn print(answer: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(answer)
        .map_err(|source| Error::Json { what: "an answer", source })?;
    output::json_text(&text);
    Ok(())
}
