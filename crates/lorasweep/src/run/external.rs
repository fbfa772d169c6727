//! Sweeps whose trials are trained elsewhere: `lorasweep ask` and `lorasweep tell`.
//!
//! Each call holds the sweep for a moment, so that many callers may work on one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use planner::{Planner, Pruner};
use spec::{ExecutorKind, Method};
use store::{Identity, Opened, SweepDir};
use worker::{Answer, Asked, Board};

use super::extend;
use crate::error::Error;
use crate::inputs;
use crate::inputs::sweep_file::SweepFile;
use crate::plan::warm_start;
use crate::report::publish::tables;

/// How long others may hold the sweep.
const PATIENCE: Duration = Duration::from_secs(30);

/// The trials of a sweep that another program trains (`executor: {type: external}`): what to train is
/// asked for, and results are reported.
pub struct ExternalTrials<'a> {
    file: SweepFile,
    results: &'a Path,
    identity: Identity,
    planner: Box<dyn Planner>,
    pruner: Option<Box<dyn Pruner>>,
}

impl<'a> ExternalTrials<'a> {
    pub(crate) fn new(file: SweepFile, results: &'a Path) -> Result<Self, Error> {
        if file.sweep.executor.kind != ExecutorKind::External {
            return Err(Error::TrainsItself { path: file.path });
        }
        let total = planner::for_sweep(&file.sweep).total();
        let identity = inputs::identity(&file, total, results)?;
        let planner = warm_start::planner(&file.sweep, &identity, None)?;
        let pruner = planner::pruner_for(&file.sweep);
        Ok(Self { file, results, identity, planner, pruner })
    }

    /// Up to `count` new trials, or why there is none.
    pub fn ask(&self, count: usize) -> Result<Vec<Asked>, Error> {
        let mut opened = self.open()?;
        Ok(self.board(&mut opened).ask(count)?)
    }

    /// Why `ask` gives out fewer trials than it was asked for, though not none.
    pub fn why_fewer(&self) -> &'static str {
        match self.file.sweep.method {
            Method::Bayes => {
                "`method: bayes` has at most a quarter of `run_cap` in training at a time, since \
                 trials that are proposed together learn nothing from each other; ask again when one \
                 has ended"
            }
            Method::RankLadder => {
                "`method: rank_ladder` proposes one rank at a time; ask again when its trials have ended"
            }
            Method::Grid | Method::Random | Method::Sobol => "these are the last ones of the sweep",
        }
    }

    /// The trials that were given out and have not ended.
    pub fn unfinished(&self) -> Result<Vec<Asked>, Error> {
        let mut opened = self.open()?;
        Ok(self.board(&mut opened).unfinished_trials())
    }

    /// Takes one line that a trainer reports, a JSON object; an error names it by its `number`. Paths
    /// in it are relative to the current folder.
    pub fn tell(&self, line: &str, number: usize) -> Result<Answer, Error> {
        let here = here()?;
        // It is in the journal, and others may continue, before a caller is answered.
        let mut opened = self.open()?;
        let answer = self.board(&mut opened).tell(line, &here);
        answer.map_err(|source| Error::Tell { number, source })
    }

    /// The same with several lines by their numbers; `answered` is called for each as soon as it is
    /// journalled. The sweep is read once for all of them, and others wait until they are taken.
    pub fn tell_all<'l, E: From<Error>>(
        &self,
        lines: impl IntoIterator<Item = (usize, &'l str)>,
        mut answered: impl FnMut(Answer) -> Result<(), E>,
    ) -> Result<(), E> {
        let here = here()?;
        let mut opened = self.open()?;
        let mut board = self.board(&mut opened);
        for (number, line) in lines {
            let answer = board.tell(line, &here);
            answered(answer.map_err(|source| Error::Tell { number, source })?)?;
        }
        Ok(())
    }

    fn open(&self) -> Result<Opened, Error> {
        let (identity, text) = (&self.identity, &self.file.text);
        let mut opened = SweepDir::join(self.results, identity, text, PATIENCE)?;
        extend::extend(&mut opened, identity, &self.file.sweep, text)?;
        if opened.state.name.is_empty() {
            let started = spec::Event::SweepStarted {
                name: identity.name.clone(),
                fingerprint: identity.fingerprint.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                objective: self.file.sweep.metric.objective(),
            };
            opened.record(&[started])?;
        }
        Ok(opened)
    }

    fn board<'b>(&'b self, sweep: &'b mut Opened) -> Board<'b> {
        let (planner, pruner) = (&*self.planner, self.pruner.as_deref());
        Board { sweep, planner, pruner, tables: &tables }
    }
}

/// The folder that relative paths in reported lines start from.
fn here() -> Result<PathBuf, Error> {
    std::env::current_dir().map_err(Error::io("find the folder", "."))
}
