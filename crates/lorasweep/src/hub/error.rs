//! Why a model could not be had from its hub, and what to do.

use std::path::{Path, PathBuf};

use spec::HubModel;

/// Why a model could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A file of the cache could not be read or written.
    #[error("failed to {operation} `{}`", path.display())]
    Io { operation: &'static str, path: PathBuf, source: std::io::Error },
    /// There is no place for a cache.
    #[error("there is no home folder to keep a cache of models in")]
    NoHome,
    /// Not in the cache, and the network is not to be asked.
    #[error("`{name}` is no folder here and not whole in the cache `{}`", cache.display())]
    Offline { name: HubModel, cache: PathBuf },
    /// The hub does not answer.
    #[error("`{name}` is no folder here, and the hub {endpoint} does not answer: {message}")]
    NoNetwork { name: HubModel, endpoint: String, message: String },
    /// A download stopped and did not go on when it was asked for again.
    #[error("{file} of `{name}` stopped after {}: {message}", progress(*have, *bytes))]
    BrokenOff { name: HubModel, file: String, have: u64, bytes: Option<u64>, message: String },
    /// The hub knows no such model, or does not show it to everybody.
    #[error("`{name}` is no folder here, and the hub {endpoint} has no such model or revision")]
    NotFound { name: HubModel, endpoint: String },
    /// The hub wants to know who asks.
    #[error("the hub {endpoint} does not give `{name}` to {}", who(*has_token))]
    NoAccess { name: HubModel, endpoint: String, has_token: bool },
    /// The hub answers something else.
    #[error("the hub {endpoint} answers {status} for {file} of `{name}`")]
    Status { name: HubModel, endpoint: String, file: String, status: u16 },
    /// The model has no weights in a form that is read.
    #[error("`{name}` has no {file}: only weights in safetensors files are read")]
    NoWeights { name: HubModel, file: String },
    /// A file that is not what it should be.
    #[error("{}: {message}", path.display())]
    Damaged { path: PathBuf, message: String },
}

const fn who(has_token: bool) -> &'static str {
    if has_token { "the owner of this token" } else { "somebody without a token" }
}

fn progress(have: u64, bytes: Option<u64>) -> String {
    bytes.map_or_else(|| format!("{have} bytes"), |bytes| format!("{have} of {bytes} bytes"))
}

impl HubError {
    /// For `map_err`: an IO error with its operation and path.
    pub fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        let name = match self {
            Self::NoHome => {
                return Some("set `HF_HOME` to a folder with room for models".to_owned());
            }
            Self::Offline { .. } => {
                return Some(
                    "correct the path, or let it be downloaded once: unset `HF_HUB_OFFLINE`"
                        .to_owned(),
                );
            }
            Self::NotFound { .. } => {
                return Some(
                    "correct the path or the name; a private model needs a token in `HF_TOKEN`"
                        .to_owned(),
                );
            }
            Self::Damaged { .. } => {
                return Some("remove that file, if it is still there, and start again: it is downloaded anew".to_owned());
            }
            Self::BrokenOff { .. } => {
                return Some(
                    "start the same command again: the download resumes there; a slow connection \
                     needs a larger `HF_HUB_DOWNLOAD_TIMEOUT` (seconds without a byte)"
                        .to_owned(),
                );
            }
            Self::NoNetwork { name, .. } => name,
            Self::NoAccess { name, endpoint, .. } => {
                return Some(format!(
                    "accept the model's terms at {endpoint}/{} and put a token of that account \
                     into `HF_TOKEN`",
                    name.repo
                ));
            }
            Self::NoWeights { .. } | Self::Io { .. } | Self::Status { .. } => return None,
        };
        Some(format!(
            "where there is a network, `hf download {}` puts it into the cache; copy that folder \
             here and name it with `HF_HUB_CACHE`",
            name.repo
        ))
    }
}
