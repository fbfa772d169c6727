//! `lorasweep ask` and `lorasweep tell`: the sweep's trials are trained elsewhere.
//!
//! One JSON object a line goes in and comes out.

use std::io::{BufRead, BufReader, Read};

use lorasweep::worker::Asked;
use lorasweep::{Error, ExternalTrials};
use serde::Serialize;

use crate::args::{AskArgs, TellArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::{output, warn};

/// Bytes of lines that are taken together: some hundred, so that others do not wait for long.
const BUFFER: usize = 16 << 10;

/// Gives out trials.
pub fn ask(args: &AskArgs) -> Result<Exit, CliError> {
    let sweep = args.sweep.open()?;
    warn(&sweep);
    let trials = sweep.external_trials()?;
    let answers =
        if args.unfinished { trials.unfinished()? } else { trials.ask(args.number.into())? };
    let wanted = usize::from(args.number);
    answers.iter().try_for_each(print)?;
    let is_given = matches!(answers.first(), Some(Asked::Trial { .. }));
    if is_given && !args.unfinished && answers.len() < wanted {
        let (given, why) = (answers.len(), trials.why_fewer());
        output::note(&format!("{given} of {wanted}: {why}."));
    }
    Ok(Exit::Done)
}

/// Takes what trainers report.
pub fn tell(args: &TellArgs) -> Result<Exit, CliError> {
    let sweep = args.sweep.open()?;
    let trials = sweep.external_trials()?;
    if args.lines.is_empty() {
        tell_lines_of(&trials, std::io::stdin())?;
    }
    for (number, line) in (1..).zip(&args.lines) {
        print(&trials.tell(line, number)?)?;
    }
    Ok(Exit::Done)
}

/// Takes the lines of `input`: those that are there already together, for which the sweep is read once.
fn tell_lines_of(trials: &ExternalTrials, input: impl Read) -> Result<(), CliError> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let (mut number, mut is_at_end) = (0, false);
    while !is_at_end {
        let mut lines = Vec::new();
        // The first may have to be waited for.
        while lines.is_empty() || input.buffer().contains(&b'\n') {
            let mut line = String::new();
            let read = input.read_line(&mut line);
            if read.map_err(CliError::io("read a line of", "stdin"))? == 0 {
                is_at_end = true;
                break;
            }
            number += 1;
            if !line.trim().is_empty() {
                lines.push((number, line));
            }
        }
        if !lines.is_empty() {
            let lines = lines.iter().map(|(number, line)| (*number, line.as_str()));
            trials.tell_all(lines, |answer| print(&answer))?;
        }
    }
    Ok(())
}

fn print(answer: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(answer)
        .map_err(|source| Error::Json { what: "an answer", source })?;
    output::json_text(&text);
    Ok(())
}
