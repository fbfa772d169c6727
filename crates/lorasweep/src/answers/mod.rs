//! What the adapters of a sweep answer, beside the base model.

mod chat;
mod loaded;
mod prompts;
mod stream;

use std::collections::BTreeMap;
use std::time::Instant;

use metrics::Metric;
use serde::Serialize;
use spec::TrialId;
use store::SweepFolder;
use trainer::generate::{AdapterId, Finish, Sampling};

use crate::error::Error;

pub use chat::Chat;
pub use prompts::PromptSource;
pub use stream::AnswerEvent;

use loaded::Opened;
use prompts::Question;

/// What to answer, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerOptions {
    /// Who answers beside the base model.
    pub writer: WriterOptions,
    /// What is asked.
    pub prompts: PromptSource,
    /// How answers are written.
    pub decoding: DecodingOptions,
    /// Names of the metrics by which answers are scored where there is a reference.
    pub metrics: Vec<String>,
}

/// Who answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterOptions {
    /// The trial; `None`: the one that the report chose.
    pub trial: Option<TrialId>,
    /// As it was at the end of this epoch, instead of its best evaluation; the sweep must have kept
    /// it (`save_strategy: epoch`).
    pub epoch: Option<u32>,
    /// The base model alone, without an adapter.
    pub base_alone: bool,
}

/// How answers are written.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodingOptions {
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
    /// How tokens are drawn; `None`: always the most likely one.
    pub sampling: Option<Sampling>,
    /// Strings that end an answer and do not belong to it.
    pub stop: Vec<String>,
}

/// Who writes an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    /// The base model.
    Base,
    /// A trial's adapter on it.
    Trial(TrialId),
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Base => f.write_str("base"),
            Self::Trial(trial) => write!(f, "trial {trial}"),
        }
    }
}

impl Serialize for Writer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Who wrote it.
    pub writer: Writer,
    /// What it says, without special tokens and without the stop string that ended it.
    pub text: String,
    /// Its tokens, without the end token.
    pub tokens: usize,
    /// Why it ended: `end`, `length`, `stop`, or `not_finite` where the model's numbers are none.
    pub finish: &'static str,
    /// Its scores by metric, where there is a reference.
    pub scores: BTreeMap<String, f64>,
}

/// A prompt with its answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answered {
    /// Where the prompt is from, if from a file.
    pub place: Option<String>,
    /// Its text, without special tokens.
    pub prompt: String,
    /// What the row answers, where it does.
    pub reference: Option<String>,
    /// The base's answer, and the trial's.
    pub answers: Vec<Answer>,
}

/// All that was answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnswerOutcome {
    /// The prompts, in order.
    pub rows: Vec<Answered>,
    /// The mean of each metric over the answers that have a reference, for each writer.
    pub means: Vec<MeanScore>,
    /// Seconds that the answers took, without loading.
    pub seconds: f64,
    /// What is not as it should be.
    pub warnings: Vec<String>,
}

/// The mean of a metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeanScore {
    /// The metric.
    pub metric: String,
    /// Whose answers.
    pub writer: Writer,
    /// Their mean score.
    pub mean: f64,
    /// How many they are.
    pub answers: usize,
}

/// Answers with the sweep in `folder`; `tell` is called for each answer as it is written, one after the other.
pub fn answer(
    folder: &SweepFolder,
    options: &AnswerOptions,
    tell: &mut dyn FnMut(&AnswerEvent<'_>),
) -> Result<AnswerOutcome, Error> {
    let metrics = named(&options.metrics)?;
    let opened = Opened::of(folder)?;
    let data = opened.rows()?;
    let reader = opened.reader(&data)?;
    let questions = prompts::questions(&options.prompts, &data, &reader)?;
    let loaded = opened.load(folder, options.writer, reader)?;
    let mut writers = vec![(Writer::Base, None)];
    writers.extend(loaded.trial);
    let started = Instant::now();
    let written = loaded.write(&questions, &writers, &options.decoding, tell)?;
    let seconds = started.elapsed().as_secs_f64();
    let rows = scored(questions, written, &metrics);
    let means = means(&rows, &writers, &metrics);
    Ok(AnswerOutcome { rows, means, seconds, warnings: opened.warnings })
}

fn named(names: &[String]) -> Result<Vec<(String, Metric)>, Error> {
    let metric = |name: &String| Ok((name.clone(), Metric::named(name)?));
    names.iter().map(metric).collect()
}

/// The answers beside their questions, scored where there is a reference.
fn scored(
    questions: Vec<Question>,
    written: Vec<Answer>,
    metrics: &[(String, Metric)],
) -> Vec<Answered> {
    let each = written.len() / questions.len().max(1);
    let mut written = written.into_iter();
    let row = |question: Question| {
        let mut answers: Vec<Answer> = written.by_ref().take(each).collect();
        if let Some(reference) = &question.asked.reference {
            for answer in &mut answers {
                let score = |(name, metric): &(String, Metric)| {
                    (name.clone(), metric.score(&answer.text, reference))
                };
                answer.scores = metrics.iter().map(score).collect();
            }
        }
        let (prompt, reference) = (question.asked.text, question.asked.reference);
        Answered { place: question.place, prompt, reference, answers }
    };
    questions.into_iter().map(row).collect()
}

fn means(
    rows: &[Answered],
    writers: &[(Writer, Option<AdapterId>)],
    metrics: &[(String, Metric)],
) -> Vec<MeanScore> {
    let mut means = Vec::new();
    for (metric, _) in metrics {
        for &(writer, _) in writers {
            let answers = rows.iter().flat_map(|row| &row.answers);
            let of_writer = answers.filter(|answer| answer.writer == writer);
            let scores: Vec<f64> =
                of_writer.filter_map(|answer| answer.scores.get(metric).copied()).collect();
            if !scores.is_empty() {
                let mean = scores.iter().sum::<f64>() / scores.len() as f64;
                means.push(MeanScore {
                    metric: metric.clone(),
                    writer,
                    mean,
                    answers: scores.len(),
                });
            }
        }
    }
    means
}

/// What an answer's end is called.
const fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::End => "end",
        Finish::Length => "length",
        Finish::Stopped => "stop",
        Finish::NotFinite => "not_finite",
    }
}
