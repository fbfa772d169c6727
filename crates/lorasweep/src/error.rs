//! What ends an operation on a sweep, and what to do about it.

use std::io::ErrorKind;
use std::path::PathBuf;

use data::DataError;
use spec::{SweepErrors, TrialId, shown};
use store::StoreError;
use trainer::TrainerError;
use worker::{ServeError, WorkerError};

use crate::hub::HubError;

/// Why an operation on a sweep failed. [`Error::help`] says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("failed to {operation} `{}`", shown(path))]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The sweep file cannot be read.
    #[error("failed to read the sweep file `{}`", shown(path))]
    SweepFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The sweep file has mistakes. Its text is complete, with places and hints.
    #[error("{0}")]
    Sweep(SweepErrors),
    /// The data cannot be used.
    #[error("{0}")]
    Data(#[source] DataError),
    /// The model or the device cannot be used.
    #[error("the model `{}` cannot be used", shown(path))]
    Model {
        /// The model's folder.
        path: PathBuf,
        /// Why.
        source: TrainerError,
    },
    /// The results folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The commands of trials cannot be started at all.
    #[error(transparent)]
    Command(#[from] worker::CommandError),
    /// A sweep whose trials lorasweep does not train.
    #[error(
        "the trials of `{}` are trained elsewhere (`executor: {{type: external}}`)",
        shown(path)
    )]
    TrainsElsewhere {
        /// The sweep file.
        path: PathBuf,
    },
    /// A sweep whose trials nobody else is asked to train.
    #[error("the trials of `{}` are trained by `lorasweep run`", shown(path))]
    TrainsItself {
        /// The sweep file.
        path: PathBuf,
    },
    /// A sweep was opened by its results folder, and the operation needs its file.
    #[error("`{}` is a results folder; this needs the sweep file", shown(path))]
    NoSweepFile {
        /// The results folder.
        path: PathBuf,
    },
    /// Workers would be this program once more, and it does not become a worker.
    #[error(
        "workers are this program once more, but it does not call \
         `lorasweep::worker_main_if_asked` at the start of `main`"
    )]
    NoWorkerMain,
    /// An earlier sweep that may still change.
    #[error("the sweep in `{}`, from which this one is to start, has not ended", shown(path))]
    Unfinished {
        /// The earlier sweep's results folder.
        path: PathBuf,
    },
    /// A line given to `tell` cannot be used.
    #[error("line {number}: {source}")]
    Tell {
        /// The line's number.
        number: usize,
        /// Why.
        source: worker::TellError,
    },
    /// Running failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A table or plot could not be made.
    #[error("failed to make the report")]
    Report(#[from] reporter::ReportError),
    /// A value could not be turned into JSON.
    #[error("failed to write {what} as JSON")]
    Json {
        /// The value.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// A file would be overwritten.
    #[error("`{}` exists already", shown(path))]
    Exists {
        /// The file or folder.
        path: PathBuf,
    },
    /// A file or folder would be replaced that lorasweep did not write.
    #[error("`{}` is not replaced: {why}", shown(path))]
    NotReplaced {
        /// The file or folder.
        path: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// The adapter of a trial is not as it was written.
    #[error("the adapter of trial {trial} cannot be used")]
    DamagedAdapter {
        /// The trial.
        trial: TrialId,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A few steps could not be trained to time them.
    #[error("a step could not be trained")]
    Measure {
        /// The trainer's reason.
        source: spec::TrainerError,
    },
    /// No such trial.
    #[error("the sweep in `{}` has no trial {trial}", shown(dir))]
    NoSuchTrial {
        /// The sweep's results folder.
        dir: PathBuf,
        /// The number that was asked for.
        trial: TrialId,
    },
    /// The trial has nothing to export.
    #[error("trial {trial} has no adapter yet: {why}")]
    NoAdapter {
        /// The trial.
        trial: TrialId,
        /// Why it has none.
        why: String,
    },
    /// The trial was not evaluated at the end of that epoch.
    #[error("trial {trial} has no epoch {epoch}: {}", match last {
        0 => "it was not evaluated at the end of any".to_owned(),
        last => format!("the last whose end it was evaluated at is {last}"),
    })]
    NoSuchEpoch {
        /// The trial.
        trial: TrialId,
        /// The epoch that was asked for.
        epoch: u32,
        /// The last evaluated epoch, or 0.
        last: u32,
    },
    /// The adapter of that epoch was not kept.
    #[error("the adapter of trial {trial} at the end of epoch {epoch} was not kept: {}", kept_in_words(kept, *best))]
    NoEpochAdapter {
        /// The trial.
        trial: TrialId,
        /// The epoch that was asked for.
        epoch: u32,
        /// Epochs whose adapters were kept.
        kept: Vec<u32>,
        /// The epoch of the best evaluation, where its adapter was kept.
        best: Option<f64>,
    },
    /// The sweep has nothing to export.
    #[error("no trial of the sweep in `{}` has an adapter yet", shown(dir))]
    NothingToExport {
        /// The sweep's results folder.
        dir: PathBuf,
    },
    /// A row that a set does not have.
    #[error("the {set} set has {rows} rows; there is no row {number}")]
    NoSuchRow {
        /// The set's name.
        set: &'static str,
        /// The row that was asked for, counted from 1.
        number: usize,
        /// Rows of the set.
        rows: usize,
    },
    /// Something that is no prompt.
    #[error("{}{why}", match place {
        Some(place) => format!("{}: ", spec::printable_line(place)),
        None => "no prompt: ".to_owned(),
    })]
    Prompt {
        /// The file and line, where it is from a file.
        place: Option<String>,
        /// Why it is none.
        why: String,
    },
    /// Nothing can be asked of the validation rows.
    #[error(
        "no validation row has a prompt before its answer, so that there is nothing to measure \
         `{metric}` on"
    )]
    NothingToAsk {
        /// The metric.
        metric: String,
    },
    /// There is no such metric.
    #[error(transparent)]
    Metric(#[from] metrics::MetricError),
    /// The base model could not be had from its hub.
    #[error(transparent)]
    Hub(Box<HubError>),
    /// An input of the sweep is not what it was when the sweep ran.
    #[error("the {what} file `{path}` has changed since the sweep ran")]
    ChangedInput {
        /// What the file is to the sweep.
        what: String,
        /// The file.
        path: String,
    },
    /// The inputs that a worker found are not those that the sweep began with.
    #[error("the inputs are not those that the sweep began with:{}", bullets(changes))]
    ChangedInputs {
        /// Each change in words.
        changes: Vec<String>,
    },
    /// A name under which nothing was found.
    #[error("there is no sweep at `{}`", shown(path))]
    NoSweepAt {
        /// The name.
        path: PathBuf,
    },
    /// A folder of several sweeps, where one is needed.
    #[error("`{}` holds {found} sweeps; name one of them", shown(path))]
    NotOneSweep {
        /// The folder.
        path: PathBuf,
        /// How many sweeps it holds.
        found: usize,
    },
    /// A worker found another sweep than it was started for.
    #[error("the sweep file in `{}` is not the sweep of that folder any more", shown(path))]
    OtherSweep {
        /// The sweep's results folder.
        path: PathBuf,
    },
    /// Results in a folder that has not the sweep's name are to be trained on.
    #[error("`{}` holds the sweep `{name}`, which trains in a folder of its name", shown(path))]
    RenamedResults {
        /// The results folder.
        path: PathBuf,
        /// The sweep's name.
        name: String,
    },
    /// A worker cannot continue.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// There are not enough GPUs.
    #[error("the sweep asks for {asked} GPUs, but {visible} are visible")]
    TooFewGpus {
        /// GPUs that the sweep asks for.
        asked: u32,
        /// GPUs that are visible.
        visible: u32,
    },
    /// The device of a worker is not one.
    #[error("`{name}` is not a device")]
    NoDevice {
        /// What stands in a device's place.
        name: String,
    },
    /// The system gives no more threads.
    #[error("failed to start a thread")]
    Thread(#[source] std::io::Error),
    /// A second handler was installed; cannot happen in a process that handles no signals itself.
    #[error("failed to listen for Ctrl-C")]
    Signal(#[from] ctrlc::Error),
    /// More than one thing is wrong; no error of several.
    #[error("{}", all_in_full(.0))]
    Several(Vec<Error>),
}

impl From<HubError> for Error {
    fn from(error: HubError) -> Self {
        Self::Hub(Box::new(error))
    }
}

impl Error {
    /// For `map_err`: an IO error with its operation and path.
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }

    /// All of them, at least one.
    pub(crate) fn all(mut errors: Vec<Self>) -> Self {
        if errors.len() == 1 { errors.remove(0) } else { Self::Several(errors) }
    }

    /// Whether a disk without room is the cause, here or in a worker.
    pub fn is_disk_full(&self) -> bool {
        let of_worker = matches!(self, Self::Worker(error) if error.is_disk_full_of_worker());
        of_worker || has_kind(self, &[ErrorKind::StorageFull])
    }

    /// Whether a folder that this user may not write to is the cause.
    pub fn is_read_only(&self) -> bool {
        has_kind(self, &[ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem])
    }

    /// What to do about it, where there is something specific.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.help(),
            Self::Worker(error) => error.help(),
            Self::Unfinished { .. } => Some(
                "end it first (`lorasweep run` resumes it), so that it says the same whenever \
                 this sweep is interrupted"
                    .to_owned(),
            ),
            Self::NoSweepFile { .. } => Some(
                "open the sweep by its file; its results folder is found by the sweep's name"
                    .to_owned(),
            ),
            Self::RenamedResults { name, .. } => Some(format!(
                "to resume it, rename the folder to `{name}` (and what has that name now to something \
                 else); report, export, generate and serve work under any name"
            )),
            Self::NoWorkerMain => Some(
                "call it before anything else in `main`, or name an installed `lorasweep` with \
                 `Workers::Program`"
                    .to_owned(),
            ),
            Self::TrainsItself { .. } => Some(
                "write `executor: {type: external}` to train them elsewhere".to_owned(),
            ),
            Self::Tell { .. } => Some(
                "the lines before it were used; write, for instance, {\"trial\": 3, \"epoch\": 1, \
                 \"eval_loss\": 1.25} and at the end {\"trial\": 3, \"outcome\": \"completed\"}"
                    .to_owned(),
            ),
            Self::TrainsElsewhere { path } => Some(format!(
                "`lorasweep ask {0}` gives the next trials and `lorasweep tell {0}` takes their \
                 results",
                shown(path)
            )),
            Self::Hub(error) => error.help(),
            Self::Thread(_) => Some(
                "the system allows no more threads or memory: end other programs, or raise \
                 `ulimit -u` (the job's limit of processes)"
                    .to_owned(),
            ),
            Self::SweepFile { .. } => Some(
                "`lorasweep init FILE` writes a commented sweep; `lorasweep init --quickstart` \
                 writes an example that runs"
                    .to_owned(),
            ),
            Self::TooFewGpus { .. } => Some(
                "lower `executor.devices`, write `devices: all`, or look at CUDA_VISIBLE_DEVICES"
                    .to_owned(),
            ),
            Self::Exists { .. } => {
                Some("choose another name, or pass `--force` to overwrite it".to_owned())
            }
            Self::NotReplaced { .. } => Some(
                "lorasweep replaces only what it wrote itself: choose another name, or move what is \
                 there elsewhere"
                    .to_owned(),
            ),
            Self::DamagedAdapter { .. } => Some(store::AdapterDamage::help()),
            Self::ChangedInputs { .. } => Some(
                "put back what was there when the sweep began and run it again, or give the sweep \
                 another `name:`"
                    .to_owned(),
            ),
            Self::NoEpochAdapter { .. } => Some(
                "write `train: {save_strategy: epoch}` in the sweep file before the trials run; \
                 trials that have ended are not trained again unless the sweep begins anew \
                 (`lorasweep run --fresh`)"
                    .to_owned(),
            ),
            Self::NoSuchTrial { dir, .. } | Self::NothingToExport { dir } => {
                Some(format!("`lorasweep status {}` lists the trials", shown(dir)))
            }
            Self::NoSweepAt { .. } => Some(
                "give a sweep file, a sweep's results folder (results/<name>), or the folder that \
                 holds such folders"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn bullets(lines: &[String]) -> String {
    lines.iter().flat_map(|line| ["\n  - ", line]).collect()
}

/// Which adapters of a trial there are instead.
fn kept_in_words(epochs: &[u32], best: Option<f64>) -> String {
    let best = best.map(|epoch| format!("that of its best evaluation, at epoch {epoch:.2}"));
    let list: Vec<String> = epochs.iter().map(u32::to_string).collect();
    match (best, list.is_empty()) {
        (None, true) => "there is none".to_owned(),
        (Some(best), true) => format!("there is {best}"),
        (None, false) => format!("there are those of the epochs {}", list.join(", ")),
        (Some(best), false) => {
            format!("there are those of the epochs {} and {best}", list.join(", "))
        }
    }
}

/// Errors with their causes, a line each.
fn all_in_full(errors: &[Error]) -> String {
    let lines: Vec<String> = errors.iter().map(|error| worker::chain(error)).collect();
    lines.join("\n")
}

/// Whether an error or one of its causes is of one of these kinds.
fn has_kind(error: &(dyn std::error::Error + 'static), kinds: &[ErrorKind]) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|error| kinds.contains(&error.kind()))
    })
}
