//! The forms of one base model that trials ask for: loaded when the first one does, and kept.

use std::path::{Path, PathBuf};
use std::time::Instant;

use spec::{BaseForm, BaseSettings, Evaluation, ExampleLosses};

use super::evaluate::Losses;
use super::scoring::Written;
use crate::backend::Backend;
use crate::decoder::Decoder;
use crate::error::{Result, TrainerError};
use crate::model::{DecoderConfig, Model};

/// One base model in as many forms as trials have asked for; there is always one.
#[derive(Debug)]
pub struct Bases<B: Backend> {
    model_dir: PathBuf,
    /// The form of trials that ask for none.
    usual: BaseSettings,
    loaded: Vec<Base<B>>,
}

/// The base model in one form.
#[derive(Debug)]
pub struct Base<B: Backend> {
    /// How its weights are held.
    settings: BaseSettings,
    /// The frozen model.
    pub decoder: Decoder<B>,
    /// Its own losses, once computed.
    evaluated: Option<(Evaluation, ExampleLosses, Option<Written>)>,
}

impl<B: Backend> Base<B> {
    fn load(backend: B, model_dir: &Path, settings: BaseSettings) -> Result<Self> {
        let model = Model::load(&backend, model_dir, &settings)?;
        let decoder = Decoder { backend, model };
        Ok(Self { settings, decoder, evaluated: None })
    }
}

impl<B: Backend> Bases<B> {
    /// Loads the form of the trials that ask for none.
    pub fn load(backend: B, model_dir: PathBuf, usual: BaseSettings) -> Result<Self> {
        let first = Base::load(backend, &model_dir, usual.clone())?;
        Ok(Self { model_dir, usual, loaded: vec![first] })
    }

    /// The place of a form, which is loaded if it is not there yet.
    pub fn place(&mut self, form: Option<BaseForm>) -> Result<usize> {
        if let Some(place) = self.find(form) {
            return Ok(place);
        }
        let settings = self.usual.in_form(form);
        let base = Base::load(self.backend().clone(), &self.model_dir, settings)?;
        self.loaded.push(base);
        Ok(self.loaded.len() - 1)
    }

    fn find(&self, form: Option<BaseForm>) -> Option<usize> {
        let settings = self.usual.in_form(form);
        self.loaded.iter().position(|base| base.settings == settings)
    }

    /// The decoder at a place.
    pub fn decoder(&self, place: usize) -> &Decoder<B> {
        &self.loaded[place].decoder
    }

    /// Where all of them compute.
    pub fn backend(&self) -> &B {
        &self.loaded[0].decoder.backend
    }

    /// The model's shape, which is that of all forms.
    pub fn config(&self) -> &DecoderConfig {
        &self.loaded[0].decoder.model.config
    }

    /// The losses of the untouched model at a place, and what it answers where answers are scored;
    /// `measure` computes them, once.
    pub fn evaluate(
        &mut self,
        place: usize,
        measure: impl FnOnce(&Decoder<B>) -> Result<(Vec<Losses>, Option<Written>)>,
    ) -> Result<Evaluation> {
        let base = &mut self.loaded[place];
        if let Some((evaluation, ..)) = &base.evaluated {
            return Ok(evaluation.clone());
        }
        let started = Instant::now();
        let (losses, written) = measure(&base.decoder)?;
        let Some(losses) = losses.first().filter(|l| l.are_finite()) else {
            return Err(TrainerError::Weights {
                path: self.model_dir.clone(),
                message: "the base model's loss is not a number: its weights are damaged or do \
                          not fit its config.json"
                    .to_owned(),
            });
        };
        let mut evaluation = losses.evaluation(None);
        evaluation.scores = written.as_ref().map(|written| written.means(None)).unwrap_or_default();
        evaluation.seconds = started.elapsed().as_secs_f64();
        base.evaluated = Some((evaluation.clone(), losses.examples(), written));
        Ok(evaluation)
    }

    /// The losses of the single validation examples of a form that was evaluated.
    pub fn examples(&self, form: Option<BaseForm>) -> Option<ExampleLosses> {
        let base = &self.loaded[self.find(form)?];
        base.evaluated.as_ref().map(|(_, examples, _)| examples.clone())
    }

    /// What a form that was evaluated answered.
    pub fn written(&self, form: Option<BaseForm>) -> Option<&Written> {
        self.loaded[self.find(form)?].evaluated.as_ref()?.2.as_ref()
    }
}
