//! Whoever scores answers: a metric, or a program of the user's.

use crate::judge::{Judge, ToScore};
use crate::metric::Metric;

/// An answer that is to be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Place of the example in its set, from 0.
    pub id: usize,
    /// What was asked.
    pub prompt: &'a str,
    /// What the row answers.
    pub reference: &'a str,
    /// What the model wrote.
    pub output: &'a str,
}

/// Why answers could not be scored.
pub type ScorerError = Box<dyn std::error::Error + Send + Sync>;

/// Scores answers, as many as there are at a time.
pub trait Scorer: std::fmt::Debug + Send {
    /// The score of each answer, in order: as many as there are answers, and all of them finite.
    fn score(&mut self, answers: &[Answer<'_>]) -> Result<Vec<f64>, ScorerError>;
}

impl Scorer for Metric {
    fn score(&mut self, answers: &[Answer<'_>]) -> Result<Vec<f64>, ScorerError> {
        let score = |answer: &Answer<'_>| Self::score(self, answer.output, answer.reference);
        Ok(answers.iter().map(score).collect())
    }
}

impl Scorer for Judge {
    fn score(&mut self, answers: &[Answer<'_>]) -> Result<Vec<f64>, ScorerError> {
        // Several trials answer the same example.
        let name = |(place, answer): (usize, &Answer<'_>)| format!("{}-{}", answer.id, place + 1);
        let names: Vec<String> = answers.iter().enumerate().map(name).collect();
        let asked: Vec<ToScore<'_>> = answers
            .iter()
            .zip(&names)
            .map(|(answer, id)| ToScore {
                id,
                prompt: answer.prompt,
                reference: Some(answer.reference),
                output: answer.output,
            })
            .collect();
        Ok(Self::score(self, &asked)?)
    }
}
