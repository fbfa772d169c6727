//! What the adapters of a sweep answer, beside the base model.

mod prompts;
mod stream;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use data::Answers;
use metrics::Metric;
use reporter::{Lang, Ranking};
use serde::Serialize;
use spec::TrialId;
use store::SweepFolder;
use trainer::generate::{Finish, GenerateOptions, Generator, Prompt, Sampling};

use crate::error::Error;
use crate::export::{self, Found};
use crate::inputs::{self, Settings, rows};

pub use prompts::PromptSource;
pub use stream::AnswerEvent;

use prompts::Question;
use stream::Stream;

/// What to answer, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerOptions {
    /// The trial; `None`: the one that the report chose.
    pub trial: Option<TrialId>,
    /// As it was at the end of this epoch, instead of its best evaluation; the sweep must have kept
    /// it (`save_strategy: epoch`).
    pub epoch: Option<u32>,
    /// The base model alone, without an adapter.
    pub base_alone: bool,
    /// What is asked.
    pub prompts: PromptSource,
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
    /// How tokens are drawn; `None`: always the most likely one.
    pub sampling: Option<Sampling>,
    /// Strings that end an answer and do not belong to it.
    pub stop: Vec<String>,
    /// Names of the metrics by which answers are scored where there is a reference.
    pub metrics: Vec<String>,
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
    let identity = folder.identity()?;
    let settings = Settings::of(&identity)?;
    let state = folder.state()?;
    inputs::check_unchanged(&identity)?;
    let warnings: Vec<String> = inputs::other_weights(&identity).into_iter().collect();
    let data = rows::prepare(&settings.data, &settings.model, &settings.train)?;
    let reader =
        Answers::load(&settings.model, data.report.chat_format.is_some()).map_err(Error::Data)?;
    let questions = prompts::questions(&options.prompts, &data, &reader)?;

    let mut writers = vec![Writer::Base];
    let mut form = None;
    let mut adapter: Option<PathBuf> = None;
    if !options.base_alone {
        let ranking: Ranking = reporter::rank(&state, &settings.report, Lang::En);
        let trial = options.trial.or_else(|| export::best_trial(folder, &state, &ranking));
        let trial =
            trial.ok_or_else(|| Error::NothingToExport { dir: folder.path().to_path_buf() })?;
        let Found { adapter: found, .. } = export::find(folder, &state, trial, options.epoch)?;
        export::verify(trial, &found)?;
        form = state.trials.get(&trial).and_then(|trial| trial.trial.config.quantization);
        writers.push(Writer::Trial(trial));
        adapter = Some(found);
    }
    let unusable = |source| Error::Model { path: settings.model.clone(), source };
    let base = settings.base.in_form(form);
    let mut generator = Generator::load(&settings.model, &base, None).map_err(unusable)?;
    let mut adapters = vec![None];
    if let Some(dir) = adapter {
        adapters.push(Some(generator.add_adapter(&dir).map_err(unusable)?));
    }

    let asked = questions.iter().flat_map(|question| {
        let tokens = &question.asked.tokens;
        adapters.iter().map(|adapter| Prompt { tokens: tokens.clone(), adapter: *adapter })
    });
    let asked: Vec<Prompt> = asked.collect();
    let how = GenerateOptions {
        max_new_tokens: options.max_new_tokens,
        end_tokens: reader.end_tokens(),
        sampling: options.sampling,
        ..GenerateOptions::default()
    };
    let started = Instant::now();
    let mut stream = Stream::new(&reader, &questions, &writers, &options.stop, tell);
    generator
        .generate(&asked, &how, &mut |prompt, progress| stream.take(prompt, progress))
        .map_err(unusable)?;
    let seconds = started.elapsed().as_secs_f64();
    let written = stream.into_answers();
    let rows = scored(questions, written, &metrics);
    let means = means(&rows, &writers, &metrics);
    Ok(AnswerOutcome { rows, means, seconds, warnings })
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

fn means(rows: &[Answered], writers: &[Writer], metrics: &[(String, Metric)]) -> Vec<MeanScore> {
    let mut means = Vec::new();
    for (metric, _) in metrics {
        for &writer in writers {
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
