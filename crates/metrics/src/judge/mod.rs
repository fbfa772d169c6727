//! A judge of one's own: a program that scores answers.
//!
//! It is started once, gets a JSON object a line on its stdin (`id`, `prompt`, `reference`, `output`) and
//! writes one score a line on its stdout: a plain number, in the order that it was asked, or
//! `{"id": .., "score": ..}` in any order. `DESIGN.md` says what happens when it does anything else.

mod error;
mod line;
mod running;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

pub use error::{JudgeError, JudgeFailure, JudgeFault};

use line::Scored;
use running::{Heard, Running};

/// What was heard after the last score of a call belongs to no line. A program that writes two lines for
/// each writes them together, so that a short wait sees it.
const SETTLE: Duration = Duration::from_millis(20);
/// A judge that closed its stdin is ending, or never will.
const TIME_TO_END: Duration = Duration::from_secs(1);

/// How a judge is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgeSettings {
    /// A line for the shell, such as `python judge.py`.
    pub command: String,
    /// The folder that it runs in.
    pub dir: PathBuf,
    /// The longest time without a score.
    pub timeout: Duration,
}

/// An answer that is to be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ToScore<'a> {
    /// Names the answer; no other one of the same call has it.
    pub id: &'a str,
    /// What was asked.
    pub prompt: &'a str,
    /// What the row answers, where it does.
    pub reference: Option<&'a str>,
    /// What the model wrote.
    pub output: &'a str,
}

/// A judge. It is started by the first call and ended, with all that it started, when this is dropped.
#[derive(Debug)]
pub struct Judge {
    settings: JudgeSettings,
    running: Option<Running>,
}

impl Judge {
    /// A judge that is not started yet.
    pub const fn new(settings: JudgeSettings) -> Self {
        Self { settings, running: None }
    }

    /// The scores of these answers, in their order; finite, and otherwise as the judge gives them.
    ///
    /// A judge that ends or falls silent is started again once, and asked for what it has not scored. After
    /// an error it is ended, and the next call starts it again.
    pub fn score(&mut self, asked: &[ToScore<'_>]) -> Result<Vec<f64>, JudgeError> {
        let mut call = Call::new(asked);
        let mut is_restarted = false;
        while call.left > 0 {
            let mut running = self.running()?;
            let fault = match call.run(&mut running, self.settings.timeout) {
                // One that ends by itself after its last score is started anew by the next call.
                Ok(()) => {
                    self.running = (!running.has_ended()).then_some(running);
                    break;
                }
                Err(fault) => fault,
            };
            let stderr = running.end();
            if is_restarted || !fault.may_pass() {
                let failure = JudgeFailure {
                    command: self.settings.command.clone(),
                    fault,
                    id: call.missing().next().map(|at| asked[at].id.to_owned()),
                    scored: asked.len() - call.left,
                    asked: asked.len(),
                    is_restarted,
                    stderr,
                };
                return Err(Box::new(failure).into());
            }
            is_restarted = true;
        }
        Ok(call.scores.into_iter().flatten().collect())
    }

    fn running(&mut self) -> Result<Running, JudgeError> {
        match self.running.take() {
            Some(running) => Ok(running),
            None => Running::start(&self.settings).map_err(|source| JudgeError::Start {
                command: self.settings.command.clone(),
                dir: self.settings.dir.clone(),
                source,
            }),
        }
    }
}

/// One call: what was asked and what is scored.
struct Call<'a> {
    asked: &'a [ToScore<'a>],
    places: HashMap<&'a str, usize>,
    scores: Vec<Option<f64>>,
    /// How many have no score.
    left: usize,
    /// The first that may have none.
    next: usize,
    /// Whether scores come with their ids.
    has_ids: Option<bool>,
}

impl<'a> Call<'a> {
    fn new(asked: &'a [ToScore<'a>]) -> Self {
        let places = asked.iter().enumerate().map(|(at, asked)| (asked.id, at)).collect();
        let scores = vec![None; asked.len()];
        Self { asked, places, scores, left: asked.len(), next: 0, has_ids: None }
    }

    fn missing(&self) -> impl Iterator<Item = usize> {
        (self.next..self.scores.len()).filter(|at| self.scores[*at].is_none())
    }

    /// Asks for all that is missing and waits for it.
    fn run(&mut self, running: &mut Running, timeout: Duration) -> Result<(), JudgeFault> {
        if let Some(Heard::Line(text)) = running.hear(Duration::ZERO) {
            return Err(JudgeFault::Unasked { line: line::shown(&text) });
        }
        let order: Vec<usize> = self.missing().collect();
        let before = running.asked();
        for &at in &order {
            running.ask(line::question(&self.asked[at]));
        }
        let mut wait = timeout;
        let mut is_closed = false;
        while self.left > 0 {
            match running.hear(wait) {
                Some(Heard::Line(text)) => {
                    let begun = running.begun().saturating_sub(before);
                    let last = order[..begun.min(order.len())].last();
                    self.take(&text, last.copied())?;
                }
                Some(Heard::TooLong) => return Err(JudgeFault::TooLong),
                Some(Heard::Closed) => (is_closed, wait) = (true, timeout.min(TIME_TO_END)),
                Some(Heard::Ended) => {
                    return Err(JudgeFault::Ended { how: running.how_it_ended() });
                }
                None if is_closed => return Err(JudgeFault::ClosedInput),
                None => return Err(JudgeFault::Silent { longest: timeout }),
            }
        }
        match running.hear(SETTLE) {
            Some(Heard::Line(text)) => Err(JudgeFault::TooMany { line: line::shown(&text) }),
            Some(Heard::TooLong) => Err(JudgeFault::TooLong),
            // What it cannot have read it cannot have scored.
            Some(Heard::Closed) => Err(JudgeFault::ClosedInput),
            _ if is_closed => Err(JudgeFault::ClosedInput),
            Some(Heard::Ended) | None => Ok(()),
        }
    }

    /// A line that the judge wrote; `last` is the last answer that it may have read of by then.
    fn take(&mut self, text: &[u8], last: Option<usize>) -> Result<(), JudgeFault> {
        let unusable = |why| JudgeFault::NotAScore { line: line::shown(text), why };
        let Scored { id, score } = line::read(text).map_err(unusable)?;
        if *self.has_ids.get_or_insert(id.is_some()) != id.is_some() {
            return Err(unusable("some of its lines have an `id` and some have none"));
        }
        let at = match &id {
            None => self.missing().next(),
            Some(id) => {
                let at = *self
                    .places
                    .get(id.as_str())
                    .ok_or_else(|| unusable("no answer has this `id`"))?;
                if self.scores[at].is_some() {
                    return Err(unusable("this `id` was scored before"));
                }
                Some(at)
            }
        };
        let is_read = |at: &usize| last.is_some_and(|last| *at <= last);
        let unasked = || JudgeFault::Unasked { line: line::shown(text) };
        let at = at.filter(is_read).ok_or_else(unasked)?;
        self.scores[at] = Some(score);
        self.left -= 1;
        while self.scores.get(self.next).is_some_and(Option::is_some) {
            self.next += 1;
        }
        Ok(())
    }
}
