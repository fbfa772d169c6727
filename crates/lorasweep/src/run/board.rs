//! `lorasweep ask` and `lorasweep tell`: the sweep's trials are trained by whoever asks for them.
//!
//! One JSON object a line goes in and comes out. Each command, and each line of a long `tell`, holds
//! the sweep for a moment, so that many callers may work on one.

use std::io::BufRead;
use std::path::Path;
use std::time::Duration;

use planner::{Planner, Pruner};
use serde::Serialize;
use spec::ExecutorKind;
use store::{Identity, Opened, SweepDir};
use worker::Board;

use crate::args::{AskArgs, TellArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::inputs;
use crate::output;
use crate::report::publish::tables;
use crate::inputs::sweep_file::{self, SweepFile};
use crate::plan::warm_start;

/// How long others may hold the sweep.
const PATIENCE: Duration = Duration::from_secs(30);

/// A sweep that can be joined again and again.
struct Joined<'a> {
    file: &'a SweepFile,
    results: &'a Path,
    identity: Identity,
    planner: Box<dyn Planner>,
    pruner: Option<Box<dyn Pruner>>,
}

impl<'a> Joined<'a> {
    fn new(file: &'a SweepFile, results: &'a Path) -> Result<Self, Error> {
        if file.sweep.executor.kind != ExecutorKind::External {
            return Err(Error::TrainsItself { path: file.path.clone() });
        }
        let total = planner::for_sweep(&file.sweep).total();
        let identity = inputs::identity(&file.sweep, total, results)?;
        let planner = warm_start::planner(&file.sweep, &identity, None)?;
        let pruner = planner::pruner_for(&file.sweep);
        Ok(Self { file, results, identity, planner, pruner })
    }

    fn open(&self) -> Result<Opened, Error> {
        let (identity, text) = (&self.identity, &self.file.text);
        let mut opened = SweepDir::join(self.results, identity, text, PATIENCE)?;
        if opened.state.name.is_empty() {
            let started = spec::Event::SweepStarted {
                name: identity.name.clone(),
                fingerprint: identity.fingerprint.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            opened.dir.record(std::slice::from_ref(&started))?;
            opened.state.apply(&started);
        }
        Ok(opened)
    }

    fn board<'b>(&'b self, sweep: &'b mut Opened) -> Board<'b> {
        let (planner, pruner) = (&*self.planner, self.pruner.as_deref());
        Board { sweep, planner, pruner, tables: &tables }
    }
}

/// Gives out trials.
pub fn ask(args: &AskArgs) -> Result<Exit, Error> {
    let file = sweep_file::load(&args.sweep)?;
    file.warn();
    let joined = Joined::new(&file, &args.results)?;
    let mut opened = joined.open()?;
    let mut board = joined.board(&mut opened);
    let answers =
        if args.unfinished { board.unfinished_trials() } else { board.ask(args.number.into())? };
    answers.iter().try_for_each(print)?;
    Ok(Exit::Done)
}

/// Takes what trainers report.
pub fn tell(args: &TellArgs) -> Result<Exit, Error> {
    let file = sweep_file::load(&args.sweep)?;
    let joined = Joined::new(&file, &args.results)?;
    if args.lines.is_empty() {
        for (number, line) in (1..).zip(std::io::stdin().lock().lines()) {
            let line = line.map_err(Error::io("read a line of", "stdin"))?;
            if !line.trim().is_empty() {
                tell_line(&joined, &line, number)?;
            }
        }
    }
    for (number, line) in (1..).zip(&args.lines) {
        tell_line(&joined, line, number)?;
    }
    Ok(Exit::Done)
}

fn tell_line(joined: &Joined, line: &str, number: usize) -> Result<(), Error> {
    let here = std::env::current_dir().map_err(Error::io("find the folder", "."))?;
    let mut opened = joined.open()?;
    let answer = joined.board(&mut opened).tell(line, &here);
    // Answered once it is journalled and others may go on.
    drop(opened);
    print(&answer.map_err(|source| Error::Tell { number, source })?)
}

fn print(answer: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string(answer)
        .map_err(|source| Error::Json { what: "an answer", source })?;
    output::json_text(&text);
    Ok(())
}
