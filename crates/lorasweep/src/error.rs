//! What ends a command, and with which exit code.

use std::io::ErrorKind;
use std::path::PathBuf;

use data::DataError;
use spec::{SweepErrors, TrialId, shown};
use store::StoreError;
use trainer::TrainerError;
use worker::{ServeError, WorkerError};

use crate::exit::Exit;
use crate::hub::HubError;

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The operating system refused.
    #[error("failed to {operation} `{}`", shown(path))]
    Io { operation: &'static str, path: PathBuf, source: std::io::Error },
    /// The sweep file cannot be read.
    #[error("failed to read the sweep file `{}`", shown(path))]
    SweepFile { path: PathBuf, source: std::io::Error },
    /// The sweep file has mistakes. Its text is complete, with places and hints.
    #[error("{0}")]
    Sweep(SweepErrors),
    /// The data cannot be used.
    #[error("{0}")]
    Data(#[source] DataError),
    /// The model or the device cannot be used.
    #[error("the model `{}` cannot be used", shown(path))]
    Model { path: PathBuf, source: TrainerError },
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
    TrainsElsewhere { path: PathBuf },
    /// A sweep whose trials nobody else is asked to train.
    #[error("the trials of `{}` are trained by `lorasweep run`", shown(path))]
    TrainsItself { path: PathBuf },
    /// An earlier sweep that may still change.
    #[error("the sweep in `{}`, from which this one is to start, has not ended", shown(path))]
    Unfinished { path: PathBuf },
    /// A line that was told cannot be taken.
    #[error("line {number}: {source}")]
    Tell { number: usize, source: worker::TellError },
    /// Running failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A table or plot could not be made.
    #[error("failed to make the report")]
    Report(#[from] reporter::ReportError),
    /// A value could not be turned into JSON.
    #[error("failed to write {what} as JSON")]
    Json { what: &'static str, source: serde_json::Error },
    /// A file would be overwritten.
    #[error("`{}` exists already", shown(path))]
    Exists { path: PathBuf },
    /// A file or folder would be replaced that lorasweep did not write.
    #[error("`{}` is not replaced: {why}", shown(path))]
    NotReplaced { path: PathBuf, why: String },
    /// The adapter of a trial is not as it was written.
    #[error("the adapter of trial {trial} cannot be used")]
    DamagedAdapter { trial: TrialId, source: Box<dyn std::error::Error + Send + Sync> },
    /// No such trial.
    #[error("the sweep in `{}` has no trial {trial}", shown(dir))]
    NoSuchTrial { dir: PathBuf, trial: TrialId },
    /// The trial has nothing to export.
    #[error("trial {trial} has no adapter yet: {why}")]
    NoAdapter { trial: TrialId, why: String },
    /// The trial was not evaluated at the end of that epoch.
    #[error("trial {trial} has no epoch {epoch}: {}", match last {
        0 => "it was not evaluated at the end of any".to_owned(),
        last => format!("the last whose end it was evaluated at is {last}"),
    })]
    NoSuchEpoch { trial: TrialId, epoch: u32, last: u32 },
    /// The adapter of that epoch was not kept.
    #[error("the adapter of trial {trial} at the end of epoch {epoch} was not kept: {}", kept_in_words(kept, *best))]
    NoEpochAdapter { trial: TrialId, epoch: u32, kept: Vec<u32>, best: Option<f64> },
    /// The sweep has nothing to export.
    #[error("no trial of the sweep in `{}` has an adapter yet", shown(dir))]
    NothingToExport { dir: PathBuf },
    /// A row that a set does not have.
    #[error("the {set} set has {rows} rows; there is no row {number}")]
    NoSuchRow { set: &'static str, number: usize, rows: usize },
    /// The base model could not be had from its hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// An input of the sweep is not what it was when the sweep ran.
    #[error("the {what} file `{path}` has changed since the sweep ran")]
    ChangedInput { what: String, path: String },
    /// The inputs that a worker found are not those that the sweep began with.
    #[error("the inputs are not those that the sweep began with:{}", bullets(changes))]
    ChangedInputs { changes: Vec<String> },
    /// A name under which nothing was found.
    #[error("there is no sweep at `{}`", shown(path))]
    NoSweepAt { path: PathBuf },
    /// A folder of several sweeps, where one is meant.
    #[error("`{}` holds {found} sweeps; name one of them", shown(path))]
    NotOneSweep { path: PathBuf, found: usize },
    /// A worker found another sweep than it was started for.
    #[error("the sweep file in `{}` is not the sweep of that folder any more", shown(path))]
    OtherSweep { path: PathBuf },
    /// A worker cannot go on.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// There are not enough GPUs.
    #[error("the sweep asks for {asked} GPUs, but {visible} are visible")]
    TooFewGpus { asked: u32, visible: u32 },
    /// The device of a worker is not one.
    #[error("`{name}` is not a device")]
    NoDevice { name: String },
    /// The page cannot be served.
    #[error("failed to listen on port {port} of this machine")]
    Listen { port: u16, source: std::io::Error },
    /// The system gives no more threads.
    #[error("failed to start a thread")]
    Thread(#[source] std::io::Error),
    /// A second handler was installed; cannot happen from the command line.
    #[error("failed to listen for Ctrl-C")]
    Signal(#[from] ctrlc::Error),
    /// More than one thing is wrong; no error of several.
    #[error("{}", all_in_full(.0))]
    Several(Vec<CliError>),
    /// The binary was built without the quickstart's files.
    #[error("this binary was built without the quickstart")]
    NoQuickstart,
}

impl CliError {
    /// For `map_err`: an IO error with its operation and path.
    pub fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }

    /// All of them, at least one.
    pub fn all(mut errors: Vec<Self>) -> Self {
        if errors.len() == 1 { errors.remove(0) } else { Self::Several(errors) }
    }

    /// The code to exit with.
    pub fn exit(&self) -> Exit {
        let of_worker = matches!(self, Self::Worker(error) if error.is_disk_full_of_worker());
        if of_worker || is_disk_full(self) {
            return Exit::DiskFull;
        }
        match self {
            Self::Several(errors) => errors.first().map_or(Exit::Failed, Self::exit),
            Self::SweepFile { .. }
            | Self::Sweep(_)
            | Self::Data(_)
            | Self::Model { .. }
            | Self::Exists { .. }
            | Self::NotReplaced { .. }
            | Self::NoSuchTrial { .. }
            | Self::NoSuchEpoch { .. }
            | Self::NoSuchRow { .. }
            | Self::Hub(_)
            | Self::NoSweepAt { .. }
            | Self::TrainsElsewhere { .. }
            | Self::TrainsItself { .. }
            | Self::Tell { .. }
            | Self::Unfinished { .. }
            | Self::NotOneSweep { .. }
            | Self::TooFewGpus { .. }
            | Self::ChangedInputs { .. }
            | Self::Worker(WorkerError::WorkerFailed { at_start: true, .. })
            | Self::Store(
                StoreError::DifferentSweep { .. }
                | StoreError::NotASweep { .. }
                | StoreError::HoldsForeign { .. }
                | StoreError::Occupied { .. },
            ) => Exit::BadInput,
            _ => Exit::Failed,
        }
    }

    /// What to do about it, where there is something specific.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.help(),
            Self::Worker(error) => error.help(),
            Self::Unfinished { .. } => Some(
                "end it first (`lorasweep run` goes on with it), so that it says the same whenever \
                 this sweep is interrupted"
                    .to_owned(),
            ),
            Self::TrainsItself { .. } => Some(
                "write `executor: {type: external}` to train them elsewhere".to_owned(),
            ),
            Self::Tell { .. } => Some(
                "the lines before it were taken; tell, for instance, {\"trial\": 3, \"epoch\": 1, \
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
fn all_in_full(errors: &[CliError]) -> String {
    let lines: Vec<String> = errors.iter().map(|error| worker::chain(error)).collect();
    lines.join("\n")
}

/// Whether an error was caused by a disk without room.
fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    has_kind(error, &[ErrorKind::StorageFull])
}

/// Whether an error was caused by a folder that this user may not write to.
pub fn is_read_only(error: &(dyn std::error::Error + 'static)) -> bool {
    has_kind(error, &[ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem])
}

fn has_kind(error: &(dyn std::error::Error + 'static), kinds: &[ErrorKind]) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|error| kinds.contains(&error.kind()))
    })
}
