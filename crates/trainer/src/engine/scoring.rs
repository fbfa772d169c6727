//! Answers to validation prompts at an evaluation, and their scores: greedy, for all trials that are
//! evaluated together, in one batch.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use data::{AnswerText, Answers};
use metrics::{Answer, Scorer};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use spec::{Evaluation, KeptAnswer, MeanScore, MeasureEvery, Objective, ScoredAnswers};

use crate::backend::Backend;
use crate::decoder::{AttachedAdapter, Decoder};
use crate::error::{Result, TrainerError};
use crate::generate::{GenerateOptions, Progress, Prompt};

/// Answers that are kept to be looked at.
const KEPT: usize = 12;
/// Bytes of an answer that are kept to be looked at.
const LONGEST_KEPT: usize = 4000;

/// A validation example that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its place among the validation examples, from 0.
    pub example: usize,
    /// The tokens before its answer.
    pub tokens: Vec<u32>,
    /// The same as text.
    pub prompt: String,
    /// Its answer.
    pub reference: String,
}

/// A metric of answers.
#[derive(Debug)]
pub struct NamedScorer {
    /// Its name.
    pub name: String,
    /// What scores. The mutex is never locked: an engine is looked at by several threads while none scores.
    scorer: Mutex<Box<dyn Scorer>>,
}

impl NamedScorer {
    /// A metric under its name.
    pub fn new(name: impl Into<String>, scorer: Box<dyn Scorer>) -> Self {
        Self { name: name.into(), scorer: Mutex::new(scorer) }
    }
}

/// What is asked, how it is answered, and who scores.
pub struct Scoring {
    /// Reads answers.
    pub reader: Answers,
    /// What is asked; never empty.
    pub questions: Vec<Question>,
    /// The metrics.
    pub scorers: Vec<NamedScorer>,
    /// When answers are written.
    pub every: MeasureEvery,
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
    /// Strings that end an answer.
    pub stop: Vec<String>,
    /// What trials are compared by.
    pub objective: Objective,
}

impl fmt::Debug for Scoring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoring")
            .field("questions", &self.questions.len())
            .field("scorers", &self.scorers)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

/// What one adapter, or the base model, answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// Optimizer step of the evaluation.
    pub step: u32,
    /// The score of each answer by metric.
    pub scores: Vec<(String, Vec<f64>)>,
    /// The first few answers.
    pub kept: Vec<KeptAnswer>,
}

impl Scoring {
    /// Whether answers are written at an evaluation.
    pub fn is_due(&self, evaluation: &Evaluation, is_lowest: bool) -> bool {
        match self.every {
            MeasureEvery::Evaluation => true,
            MeasureEvery::Epoch => evaluation.whole_epoch().is_some(),
            MeasureEvery::Best => is_lowest,
        }
    }

    /// What a checkpoint holds of answers, at most, in bytes: those of the best and of the last
    /// evaluation.
    pub fn checkpoint_bytes(&self) -> u64 {
        /// A score as JSON, or a character of an answer that JSON escapes.
        const MOST: u64 = 24;
        let scores = (self.questions.len() * self.scorers.len()) as u64;
        let kept = (KEPT * LONGEST_KEPT) as u64;
        2 * (scores * MOST + kept * 6)
    }

    /// What each adapter answers; without adapters, what the base model does.
    pub fn measure<B: Backend>(
        &mut self,
        decoder: &Decoder<B>,
        adapters: &[AttachedAdapter<'_, B::Tensor>],
        tokens_per_step: usize,
    ) -> Result<Vec<Written>> {
        let runs = adapters.len().max(1);
        let is_base = adapters.is_empty();
        let prompts: Vec<Prompt> = (0..runs)
            .flat_map(|run| {
                let adapter = (!is_base).then_some(run);
                let of = move |q: &Question| Prompt { tokens: q.tokens.clone(), adapter };
                self.questions.iter().map(of)
            })
            .collect();
        let outputs = self.generate(decoder, adapters, &prompts, tokens_per_step)?;
        let each = outputs.chunks(self.questions.len());
        let mut written: Vec<Written> = each
            .clone()
            .map(|outputs| Written { kept: self.kept(outputs), ..Written::default() })
            .collect();
        for NamedScorer { name, scorer } in &mut self.scorers {
            let scorer = scorer.get_mut().unwrap_or_else(PoisonError::into_inner);
            let answers: Vec<Answer<'_>> = outputs
                .iter()
                .zip(self.questions.iter().cycle())
                .map(|(output, q)| Answer {
                    id: q.example,
                    prompt: &q.prompt,
                    reference: &q.reference,
                    output,
                })
                .collect();
            let scores = checked(name, answers.len(), scorer.score(&answers))?;
            for (written, scores) in written.iter_mut().zip(scores.chunks(self.questions.len())) {
                written.scores.push((name.clone(), scores.to_vec()));
            }
        }
        Ok(written)
    }

    fn generate<B: Backend>(
        &self,
        decoder: &Decoder<B>,
        adapters: &[AttachedAdapter<'_, B::Tensor>],
        prompts: &[Prompt],
        tokens_per_step: usize,
    ) -> Result<Vec<String>> {
        let usual = GenerateOptions::default();
        let how = GenerateOptions {
            max_new_tokens: self.max_new_tokens,
            end_tokens: self.reader.end_tokens(),
            tokens_per_step: usual.tokens_per_step.min(tokens_per_step).max(1),
            ..usual
        };
        // Without stop strings the text is made once, at the end.
        let mut texts =
            vec![AnswerText::default(); if self.stop.is_empty() { 0 } else { prompts.len() }];
        let mut take = |place: usize, progress: Progress| {
            let (Progress::Token(token), Some(text)) = (progress, texts.get_mut(place)) else {
                return ControlFlow::Continue(());
            };
            text.push(token, &self.reader, &self.stop);
            if text.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let generated = decoder.generate_with(adapters, prompts, &how, &mut take)?;
        if !texts.is_empty() {
            return Ok(texts.iter().map(|text| text.text().to_owned()).collect());
        }
        Ok(generated.par_iter().map(|answer| self.reader.text(&answer.tokens)).collect())
    }

    /// The answers that are kept, of one run.
    fn kept(&self, outputs: &[String]) -> Vec<KeptAnswer> {
        let kept = |(output, question): (&String, &Question)| KeptAnswer {
            example: question.example as u32,
            output: shortened(output),
            ..KeptAnswer::default()
        };
        outputs.iter().zip(&self.questions).take(KEPT).map(kept).collect()
    }

    /// The base model's answers, with what was asked.
    pub fn with_questions(&self, mut answers: ScoredAnswers) -> ScoredAnswers {
        for (kept, question) in answers.kept.iter_mut().zip(&self.questions) {
            kept.prompt = shortened(&question.prompt);
            kept.reference = shortened(&question.reference);
        }
        answers
    }
}

/// As many scores as answers, all of them numbers.
fn checked(
    metric: &str,
    answers: usize,
    scores: std::result::Result<Vec<f64>, metrics::ScorerError>,
) -> Result<Vec<f64>> {
    let wrong = |source| TrainerError::Scoring { metric: metric.to_owned(), source };
    let scores = scores.map_err(wrong)?;
    if scores.len() != answers {
        return Err(wrong(format!("{} scores for {answers} answers", scores.len()).into()));
    }
    match scores.iter().find(|score| !score.is_finite()) {
        Some(score) => Err(wrong(format!("a score is {score}").into())),
        None => Ok(scores),
    }
}

fn shortened(text: &str) -> String {
    let ends = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= LONGEST_KEPT);
    match ends.last().filter(|_| text.len() > LONGEST_KEPT) {
        Some(end) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl Written {
    /// Means of the scores, beside those of the run's best evaluation so far.
    pub fn means(&self, best: Option<&Self>) -> Vec<MeanScore> {
        let mean = |(metric, scores): &(String, Vec<f64>)| {
            let score = MeanScore::of_examples(metric.as_str(), scores);
            match best.and_then(|best| best.of(metric)) {
                Some(before) => score.since(scores, before),
                None => score,
            }
        };
        self.scores.iter().map(mean).collect()
    }

    fn of(&self, metric: &str) -> Option<&[f64]> {
        self.scores.iter().find(|(name, _)| name == metric).map(|(_, scores)| &scores[..])
    }

    /// What the journal keeps of it, and of the answers at the last evaluation where that was
    /// another one.
    pub fn answers(&self, last: Option<&Self>) -> ScoredAnswers {
        let short = |scores: &[f64]| scores.iter().map(|score| *score as f32).collect();
        let scores = self.scores.iter().map(|(metric, scores)| (metric.clone(), short(scores)));
        let last = last.filter(|last| last.step != self.step);
        ScoredAnswers {
            step: self.step,
            scores: scores.collect(),
            kept: self.kept.clone(),
            last: last.map(|last| last.kept.clone()).unwrap_or_default(),
        }
    }
}
