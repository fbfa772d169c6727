//! A sweep's base model as the headers of its files describe it, before anything is loaded.

use spec::{BaseSettings, Sweep};
use trainer::TrainerError;
use trainer::model::{BaseMemory, BaseStorage, DecoderConfig, Source};

use crate::error::Error;

/// A sweep's base model in every form that its trials ask for, known by the headers of its files.
pub struct Base {
    forms: Vec<Source>,
    config: DecoderConfig,
    warnings: Vec<String>,
}

impl Base {
    /// Opens the weight files; the error says everything that loading them would.
    pub fn open(sweep: &Sweep) -> Result<Self, Error> {
        let unusable = |source| Error::Model { path: sweep.model.clone(), source };
        let stored = BaseSettings { quantization: None, ..sweep.base.clone() };
        let stored = Source::open(&sweep.model, &stored).map_err(unusable)?;
        let forms = sweep.bases().into_iter().map(|base| stored.in_form(base.quantization));
        Ok(Self {
            forms: forms.collect::<Result<_, _>>().map_err(unusable)?,
            config: stored.config().clone(),
            warnings: stored.warnings().to_vec(),
        })
    }

    /// The model's shape.
    pub const fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// What a person should know of its files.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The forms.
    pub fn forms(&self) -> &[Source] {
        &self.forms
    }

    /// What all forms take at once.
    pub fn memory(&self, on: BaseStorage) -> Result<BaseMemory, TrainerError> {
        self.forms
            .iter()
            .try_fold(BaseMemory::default(), |sum, form| Ok(sum.beside(form.memory(on)?)))
    }
}
