//! Answers that are generated together and reported one after the other.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use data::{AnswerText, Answers};
use trainer::generate::{Finish, Progress};

use super::prompts::Question;
use super::{Answer, Writer, finish_name};

/// What is heard while answers are written: in the order of the prompts, and of a prompt the base's
/// answer first.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerEvent<'a> {
    /// A prompt whose answers follow.
    Asked {
        /// Where it is from, if from a file.
        place: Option<&'a str>,
        /// Its text.
        prompt: &'a str,
        /// What the row answers.
        reference: Option<&'a str>,
    },
    /// An answer begins.
    Begins(Writer),
    /// More of its text.
    Text(&'a str),
    /// It has ended.
    Ends(&'a Answer),
}

/// One answer.
#[derive(Default)]
struct Open {
    text: AnswerText,
    /// What may be reported once it is its turn.
    held: String,
    tokens: usize,
    ended: Option<Finish>,
}

/// Puts tokens that come mixed in order.
pub struct Stream<'a> {
    reader: &'a Answers,
    questions: &'a [Question],
    writers: &'a [Writer],
    stops: &'a [String],
    tell: &'a mut dyn FnMut(&AnswerEvent<'_>),
    open: Vec<Open>,
    /// Those that were reported to their end; the next one is being reported.
    done: Vec<Answer>,
}

impl<'a> Stream<'a> {
    pub fn new(
        reader: &'a Answers,
        questions: &'a [Question],
        writers: &'a [Writer],
        stops: &'a [String],
        tell: &'a mut dyn FnMut(&AnswerEvent<'_>),
    ) -> Self {
        let open = (0..questions.len() * writers.len()).map(|_| Open::default()).collect();
        let mut stream = Self { reader, questions, writers, stops, tell, open, done: Vec::new() };
        stream.begin();
        stream
    }

    /// Takes what happened to an answer; a stop string ends it.
    pub fn take(&mut self, answer: usize, progress: Progress) -> ControlFlow<()> {
        let open = &mut self.open[answer];
        match progress {
            Progress::Token(token) => {
                open.tokens += 1;
                open.held += open.text.push(token, self.reader, self.stops);
            }
            Progress::End(finish) => {
                open.held += open.text.rest();
                open.ended = Some(finish);
            }
        }
        let is_stopped = open.text.is_stopped();
        self.tell_all();
        if is_stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The answers, in order.
    pub fn into_answers(self) -> Vec<Answer> {
        self.done
    }

    fn begin(&mut self) {
        let at = self.done.len();
        let Some(question) = self.questions.get(at / self.writers.len()) else { return };
        if at.is_multiple_of(self.writers.len()) {
            (self.tell)(&AnswerEvent::Asked {
                place: question.place.as_deref(),
                prompt: &question.asked.text,
                reference: question.asked.reference.as_deref(),
            });
        }
        (self.tell)(&AnswerEvent::Begins(self.writers[at % self.writers.len()]));
    }

    /// Reports what there is of the answer whose turn it is, and of those after it once it has ended.
    fn tell_all(&mut self) {
        while let Some(open) = self.open.get_mut(self.done.len()) {
            if !open.held.is_empty() {
                (self.tell)(&AnswerEvent::Text(&std::mem::take(&mut open.held)));
            }
            let Some(finish) = open.ended else { return };
            let answer = Answer {
                writer: self.writers[self.done.len() % self.writers.len()],
                text: open.text.text().to_owned(),
                tokens: open.tokens,
                finish: finish_name(finish),
                scores: BTreeMap::new(),
            };
            (self.tell)(&AnswerEvent::Ends(&answer));
            self.done.push(answer);
            self.begin();
        }
    }
}
