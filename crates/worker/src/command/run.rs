//! One trial's command while it runs: what it prints, and how it ends.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Instant;

use spec::{Event, Objective, Outcome, Trial, TrialId};

use super::left_over::Note;
use super::process::{self, News, Process};
use super::{CommandError, Resume, SHOWN_LINES};
use crate::error::chain;
use crate::metrics::{Curve, Line, Said, check_adapter, read};

/// A trial in training.
#[derive(Debug)]
pub(super) struct Run {
    trial: TrialId,
    pub attempt: u64,
    pub process: Process,
    /// Which process it is, for whoever comes after this one was killed.
    _note: Option<Note>,
    /// It needs no ending any more.
    pub is_over: bool,
    /// What it did and what is not read yet.
    pub news: VecDeque<News>,
    /// What it did is not to be read now.
    pub is_held: bool,
    /// From what the command said that it can go on, and at which step.
    checkpoint: Option<(u32, String)>,
    log: PathBuf,
    /// The folder that relative paths start at.
    dir: PathBuf,
    begun: Instant,
    curve: Curve,
    /// Which evaluation each adapter is of.
    adapters: Vec<(usize, PathBuf)>,
    /// Something that looks like a metric was printed but could not be read.
    is_unreadable: bool,
    /// The outcome was told; what the command says afterwards does not count.
    is_told: bool,
}

impl Run {
    pub fn new(
        trial: &Trial,
        attempt: u64,
        (note, process): (Option<Note>, Process),
        log: PathBuf,
        dir: PathBuf,
        resume: Resume,
        objective: Objective,
    ) -> Self {
        let Resume { step, checkpoint, evaluations, mut adapters } = resume;
        // A trainer may remove old ones when it writes new ones.
        adapters.retain(|(_, path)| check_adapter(path).is_ok());
        Self {
            trial: trial.id,
            attempt,
            process,
            _note: note,
            is_over: false,
            news: VecDeque::new(),
            is_held: false,
            checkpoint: checkpoint.map(|checkpoint| (step, checkpoint)),
            log,
            dir,
            begun: Instant::now(),
            curve: Curve::begun(trial, step, evaluations, objective),
            adapters,
            is_unreadable: false,
            is_told: false,
        }
    }

    /// From what it can go on: the last checkpoint that it named, or its beginning.
    pub fn resume(&self) -> Resume {
        let Some((step, checkpoint)) = self.checkpoint.clone() else { return Resume::default() };
        let evaluations = self.curve.up_to(step).to_vec();
        let adapters = self.adapters.iter().filter(|(of, _)| *of < evaluations.len());
        let adapters = adapters.cloned().collect();
        Resume { step, checkpoint: Some(checkpoint), evaluations, adapters }
    }

    /// Whether there is something to read now.
    pub fn has_news(&self) -> bool {
        !self.is_held && !self.news.is_empty()
    }

    /// Reads what it did, up to its next evaluation: by that the trial may be judged.
    pub fn read(&mut self, events: &mut Vec<Event>) {
        while self.has_news() {
            let first = events.len();
            match self.news.pop_front() {
                Some(News::Line(text)) => self.line(&text, events),
                Some(News::Ended(status)) => self.ended(&status, events),
                None => return,
            }
            if events[first..].iter().any(|event| matches!(event, Event::Evaluated { .. })) {
                return;
            }
        }
    }

    /// A printed line.
    fn line(&mut self, text: &str, events: &mut Vec<Event>) {
        if self.is_told {
            return;
        }
        let unusable = |why| CommandError::Line { why, line: text.trim().to_owned() };
        let understood = match read(text).map_err(unusable) {
            Ok(Said::Metrics(line)) => self.metrics(&line, text, events),
            Ok(Said::Unreadable) => {
                self.is_unreadable = true;
                Ok(())
            }
            Ok(Said::Text) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = understood {
            self.fail(&error, events);
        }
    }

    fn metrics(
        &mut self,
        line: &Line,
        text: &str,
        events: &mut Vec<Event>,
    ) -> Result<(), CommandError> {
        let meant = self
            .curve
            .take(line, self.begun.elapsed().as_secs_f64())
            .map_err(|why| CommandError::Line { why, line: text.trim().to_owned() })?;
        events.extend(meant.answers);
        events.extend(meant.point);
        if let Some((evaluation, path)) = meant.adapter {
            let path = self.dir.join(path);
            check_adapter(&path)?;
            self.adapters.push((evaluation, path));
        }
        self.checkpoint = meant.checkpoint.or(self.checkpoint.take());
        if let Some(outcome) = meant.end {
            self.tell(outcome, events);
        }
        Ok(())
    }

    /// The command has ended.
    fn ended(&mut self, status: &io::Result<ExitStatus>, events: &mut Vec<Event>) {
        self.is_over = true;
        if self.is_told {
            return;
        }
        let end = check_end(status, &self.log).and_then(|()| {
            if !self.curve.is_evaluated() {
                return Err(self.no_loss());
            }
            // It may have been removed since it was named.
            Ok(self.best_adapter().map_or(Ok(()), check_adapter)?)
        });
        match end {
            Ok(()) => self.tell(Outcome::Completed, events),
            Err(error) => self.fail(&error, events),
        }
    }

    /// The adapter of the best evaluation, if the command named one.
    pub fn best_adapter(&self) -> Option<&Path> {
        let best = self.curve.best()?;
        let of_best = self.adapters.iter().rev().find(|(evaluation, _)| *evaluation == best);
        of_best.map(|(_, path)| path.as_path())
    }

    fn no_loss(&self) -> CommandError {
        CommandError::NoLoss {
            example: "{\"epoch\": 1, \"eval_loss\": 2.1}",
            hint: if self.is_unreadable {
                " (it printed lines that begin with `{` but are not JSON: print with json.dumps)"
            } else {
                ""
            },
            log: self.log.clone(),
            tail: process::tail(&self.log, SHOWN_LINES),
        }
    }

    fn fail(&mut self, error: &CommandError, events: &mut Vec<Event>) {
        self.tell(Outcome::Failed { error: chain(error) }, events);
    }

    fn tell(&mut self, outcome: Outcome, events: &mut Vec<Event>) {
        self.is_told = true;
        events.push(Event::TrialFinished { trial: self.trial, outcome });
    }
}

/// An error unless the command ended well.
pub(super) fn check_end(status: &io::Result<ExitStatus>, log: &Path) -> Result<(), CommandError> {
    let how = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => format!("ended with {status}"),
        Err(error) => format!("could not be waited for ({error})"),
    };
    let tail = process::tail(log, SHOWN_LINES);
    Err(CommandError::Failed { how, log: log.to_owned(), tail })
}
