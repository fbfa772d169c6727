//! Why a model could not be had from its hub, and what to do.

use std::path::{Path, PathBuf};

use spec::HubModel;

/// Why a model could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A file of the cache could not be read or written.
    #[error("failed to {operation} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no place for a cache.
    #[error("there is no home folder to keep a cache of models in")]
    NoHome,
    /// Not in the cache, and the network is not to be asked.
    #[error("`{name}` is no folder here and not whole in the cache `{}`", cache.display())]
    Offline {
        /// The model.
        name: HubModel,
        /// The cache that was looked into.
        cache: PathBuf,
    },
    /// The hub does not answer.
    #[error("`{name}` is no folder here, and the hub {endpoint} does not answer: {message}")]
    NoNetwork {
        /// The model.
        name: HubModel,
        /// The hub.
        endpoint: String,
        /// Why.
        message: String,
    },
    /// A download stopped and did not continue when it was requested again.
    #[error("{file} of `{name}` stopped after {}: {message}", progress(*have, *bytes))]
    BrokenOff {
        /// The model.
        name: HubModel,
        /// The file.
        file: String,
        /// Bytes that have arrived.
        have: u64,
        /// Bytes of the whole file, where the hub says so.
        bytes: Option<u64>,
        /// Why.
        message: String,
    },
    /// The hub knows no such model, or does not show it to everybody.
    #[error("`{name}` is no folder here, and the hub {endpoint} has no such model or revision")]
    NotFound {
        /// The model.
        name: HubModel,
        /// The hub.
        endpoint: String,
    },
    /// The hub wants to know who asks.
    #[error("the hub {endpoint} does not give `{name}` to {}", who(*has_token))]
    NoAccess {
        /// The model.
        name: HubModel,
        /// The hub.
        endpoint: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The hub answers something else.
    #[error("the hub {endpoint} answers {status} for {file} of `{name}`")]
    Status {
        /// The model.
        name: HubModel,
        /// The hub.
        endpoint: String,
        /// The file.
        file: String,
        /// The status of the answer.
        status: u16,
    },
    /// The model has no weights in a form that is read.
    #[error("`{name}` has no {file}: only weights in safetensors files are read")]
    NoWeights {
        /// The model.
        name: HubModel,
        /// The file of weights that is missing.
        file: String,
    },
    /// A file that is not what it should be.
    #[error("{}: {message}", path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

const fn who(has_token: bool) -> &'static str {
    if has_token { "the owner of this token" } else { "a user without a token" }
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
