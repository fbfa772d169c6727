//! Errors of the trainer: what failed, where, and what to do.

use std::path::{Path, PathBuf};

use spec::shown;

/// What can go wrong while loading a model, training or writing adapters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainerError {
    /// A file or folder could not be read or written.
    #[error("failed to {operation} {}", shown(path))]
    Io {
        /// The verb, for instance `read`.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// `config.json` says something this trainer does not do.
    #[error("{}: {message}", shown(path))]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// What is wrong and what is accepted.
        message: String,
    },
    /// A weight file is damaged or does not fit the configuration.
    #[error("{}: {message}", shown(path))]
    Weights {
        /// The weight file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A checkpoint or adapter file is damaged or belongs to another trial.
    #[error("{}: {message}", shown(path))]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The trial cannot be trained as configured.
    #[error("trial {trial}: {message}")]
    Trial {
        /// The trial.
        trial: spec::TrialId,
        /// What is wrong and what to change.
        message: String,
    },
    /// The test rows' loss is no number.
    #[error("the loss of the test rows is {loss}: the adapter or the base model is damaged")]
    Test {
        /// What came out.
        loss: f64,
    },
    /// Answers could not be scored.
    #[error("failed to score answers by `{metric}`")]
    Scoring {
        /// The metric.
        metric: String,
        /// Why.
        source: metrics::ScorerError,
    },
    /// The base model has no such linear layers.
    #[error("{0}")]
    Targets(String),
    /// The base model cannot be quantised as asked for.
    #[error("{0}")]
    Quantization(String),
    /// The requested device cannot be used.
    #[error("{0}")]
    Device(String),
    /// Not even one trial fits into the free memory.
    #[error(
        "one trial needs about {} MiB beside the {} MiB of the base model{}, but {} MiB may be used: \
         lower `train.max_seq_len` (the longest row has {longest} tokens) or the largest rank, or \
         free memory (`executor.memory_limit` raises a limit)",
        mib(*of_trial), mib(*of_base), held_at_once(*bases),
        mib(*usable)
    )]
    NotEnoughMemory {
        /// The least bytes that a trial needs: its adapter and a step's activations.
        of_trial: u64,
        /// Bytes of the base model, in all its forms.
        of_base: u64,
        /// Forms of the base that are held at once.
        bases: u64,
        /// Bytes that may be planned with.
        usable: u64,
        /// Tokens of the longest row.
        longest: usize,
    },
    /// A prompt cannot be continued.
    #[error("the prompt {0}")]
    Prompt(String),
    /// The device has no room for another buffer.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// The tensor library failed.
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),
}

/// What one can do about several bases.
fn held_at_once(bases: u64) -> String {
    if bases < 2 {
        return String::new();
    }
    format!(" (in {bases} forms, held at once: a sweep for each value of `quantization` holds one)")
}

/// Bytes as whole MiB, at least 1.
const fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

impl TrainerError {
    /// What was asked for when the device's memory ran out, if that is the error.
    pub(crate) fn out_of_memory(&self) -> Option<String> {
        match self {
            Self::OutOfMemory(what) => Some(what.clone()),
            Self::Tensor(error) => {
                let text = error.to_string();
                text.contains("OUT_OF_MEMORY").then_some(text)
            }
            _ => None,
        }
    }

    /// A weight file or model folder that cannot be used.
    pub(crate) fn weights(path: &Path, message: impl Into<String>) -> Self {
        Self::Weights { path: path.to_path_buf(), message: message.into() }
    }

    /// For `map_err`: an IO error with its path and operation.
    pub(crate) fn io<'a>(
        operation: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io { operation, path: path.to_path_buf(), source }
    }
}

/// Result of the trainer.
pub type Result<T> = std::result::Result<T, TrainerError>;
