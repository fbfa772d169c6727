//! What ends a command, and with which exit code.

use std::io;
use std::path::PathBuf;

use lorasweep::Error;
use lorasweep::store::StoreError;
use lorasweep::worker::WorkerError;

use crate::exit::Exit;

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The library says why.
    #[error(transparent)]
    Library(#[from] Error),
    /// What was to be printed did not reach its reader.
    #[error("failed to write to stdout; what was to be printed is incomplete")]
    Output(#[source] io::Error),
    /// What a person or another program says cannot be read.
    #[error("failed to read stdin; each line must be UTF-8 text")]
    Input(#[source] io::Error),
    /// The page cannot be served.
    #[error("failed to listen on port {port} of this machine")]
    Listen { port: u16, source: io::Error },
}

impl CliError {
    /// For `map_err`: an IO error with its operation and path.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { operation, path, source }.into()
    }

    /// The code to exit with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Library(error) => exit_of(error),
            Self::Input(_) => Exit::BadInput,
            Self::Output(source) | Self::Listen { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => Exit::DiskFull,
                _ => Exit::Failed,
            },
        }
    }
}

fn exit_of(error: &Error) -> Exit {
    if error.is_disk_full() {
        return Exit::DiskFull;
    }
    match error {
        Error::Several(errors) => errors.first().map_or(Exit::Failed, exit_of),
        Error::SweepFile { .. }
        | Error::Sweep(_)
        | Error::Data(_)
        | Error::Model { .. }
        | Error::Exists { .. }
        | Error::NotReplaced { .. }
        | Error::NoSuchTrial { .. }
        | Error::NoSuchEpoch { .. }
        | Error::NoSuchRow { .. }
        | Error::Hub(_)
        | Error::NoSweepAt { .. }
        | Error::NoSweepFile { .. }
        | Error::RenamedResults { .. }
        | Error::TrainsElsewhere { .. }
        | Error::TrainsItself { .. }
        | Error::Tell { .. }
        | Error::Unfinished { .. }
        | Error::NotOneSweep { .. }
        | Error::TooFewGpus { .. }
        | Error::ChangedInputs { .. }
        | Error::Worker(WorkerError::WorkerFailed { at_start: true, .. })
        | Error::Store(
            StoreError::DifferentSweep { .. }
            | StoreError::NotASweep { .. }
            | StoreError::HoldsForeign { .. }
            | StoreError::Occupied { .. },
        ) => Exit::BadInput,
        _ => Exit::Failed,
    }
}
