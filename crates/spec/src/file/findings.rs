//! What is found wrong, or open to misunderstanding, while a file is read.

use crate::error::{MOST_MISTAKES, Place};
use crate::mistake::Mistake;

/// A value with its place in the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    pub value: T,
    pub place: Place,
}

/// Collects mistakes and warnings.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub mistakes: Vec<At<Mistake>>,
    pub warnings: Vec<At<Notice>>,
}

/// The words of a warning.
#[derive(Debug, PartialEq)]
pub(crate) struct Notice {
    pub message: String,
    pub hint: String,
}

impl Findings {
    /// Adds a mistake, unless there are too many, and gives `None`, so that a reader can end with it.
    pub fn mistake<T>(&mut self, place: Place, mistake: Mistake) -> Option<T> {
        if self.mistakes.len() < MOST_MISTAKES {
            self.mistakes.push(At { value: mistake, place });
        }
        None
    }

    pub fn warning(&mut self, place: Place, message: String, hint: impl Into<String>) {
        self.warnings.push(At { value: Notice { message, hint: hint.into() }, place });
    }
}
