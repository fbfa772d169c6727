//! The model of a sweep with the adapter that answers.

use std::path::PathBuf;

use data::{Answers, PreparedData};
use reporter::{Lang, Ranking};
use spec::SweepState;
use store::SweepFolder;
use trainer::generate::{AdapterId, GenerateOptions, Generator, Prompt};

use super::prompts::Question;
use super::stream::{AnswerEvent, Stream};
use super::{Answer, DecodingOptions, Writer, WriterOptions};
use crate::error::Error;
use crate::export::{self, Found};
use crate::inputs::{self, Settings, rows};

/// A sweep whose answers are asked for.
pub struct Opened {
    settings: Settings,
    state: SweepState,
    /// What is not as it should be.
    pub warnings: Vec<String>,
}

/// All that writes answers.
pub struct Loaded {
    model: PathBuf,
    generator: Generator,
    pub reader: Answers,
    /// The trial, unless the base was asked for alone.
    pub trial: Option<(Writer, Option<AdapterId>)>,
}

impl Opened {
    /// A sweep whose inputs are still those that it ran with.
    pub fn of(folder: &SweepFolder) -> Result<Self, Error> {
        let identity = folder.identity()?;
        let settings = Settings::of(&identity)?;
        let state = folder.state()?;
        inputs::check_unchanged(&identity)?;
        let warnings = inputs::other_weights(&identity).into_iter().collect();
        Ok(Self { settings, state, warnings })
    }

    /// Its rows.
    pub fn rows(&self) -> Result<PreparedData, Error> {
        let settings = &self.settings;
        rows::prepare(&settings.data, &settings.model, &settings.train)
    }

    /// What writes prompts as its rows are written.
    pub fn reader(&self, data: &PreparedData) -> Result<Answers, Error> {
        Answers::load(&self.settings.model, data.report.chat_format.is_some()).map_err(Error::Data)
    }

    /// Loads the base model, in the form that the trial was trained on, and the trial's adapter.
    pub fn load(
        &self,
        folder: &SweepFolder,
        writer: WriterOptions,
        reader: Answers,
    ) -> Result<Loaded, Error> {
        let (settings, state) = (&self.settings, &self.state);
        let mut chosen = None;
        let mut form = None;
        if !writer.base_alone {
            let ranking: Ranking = reporter::rank(state, &settings.report, Lang::En);
            let trial = writer.trial.or_else(|| export::best_trial(folder, state, &ranking));
            let trial =
                trial.ok_or_else(|| Error::NothingToExport { dir: folder.path().to_path_buf() })?;
            let Found { adapter, .. } = export::find(folder, state, trial, writer.epoch)?;
            export::verify(trial, &adapter)?;
            form = state.trials.get(&trial).and_then(|trial| trial.trial.config.quantization);
            chosen = Some((trial, adapter));
        }
        let model = settings.model.clone();
        let unusable = |source| Error::Model { path: model.clone(), source };
        let base = settings.base.in_form(form);
        let mut generator = Generator::load(&model, &base, None).map_err(unusable)?;
        let trial = match chosen {
            None => None,
            Some((trial, dir)) => {
                let adapter = generator.add_adapter(&dir).map_err(unusable)?;
                Some((Writer::Trial(trial), Some(adapter)))
            }
        };
        Ok(Loaded { model, generator, reader, trial })
    }
}

impl Loaded {
    /// Writes every writer's answer to every question, all of them together, and tells them in order.
    pub fn write(
        &self,
        questions: &[Question],
        writers: &[(Writer, Option<AdapterId>)],
        how: &DecodingOptions,
        tell: &mut dyn FnMut(&AnswerEvent<'_>),
    ) -> Result<Vec<Answer>, Error> {
        let asked = questions.iter().flat_map(|question| {
            let tokens = &question.asked.tokens;
            writers.iter().map(|(_, adapter)| Prompt { tokens: tokens.clone(), adapter: *adapter })
        });
        let asked: Vec<Prompt> = asked.collect();
        let options = GenerateOptions {
            max_new_tokens: how.max_new_tokens,
            end_tokens: self.reader.end_tokens(),
            sampling: how.sampling,
            ..GenerateOptions::default()
        };
        let names: Vec<Writer> = writers.iter().map(|(writer, _)| *writer).collect();
        let mut stream = Stream::new(&self.reader, questions, &names, &how.stop, tell);
        self.generator
            .generate(&asked, &options, &mut |prompt, progress| stream.take(prompt, progress))
            .map_err(|source| Error::Model { path: self.model.clone(), source })?;
        Ok(stream.into_answers())
    }
}
