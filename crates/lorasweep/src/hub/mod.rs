//! Base models of the Hugging Face hub: from the cache that `huggingface_hub` keeps, or downloaded
//! into it.
//!
//! A whole model in the cache is used as it is, without asking the network: a sweep that resumes
//! tomorrow must not meet another revision. The variables of `huggingface_hub` are read:
//! `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_ENDPOINT` and
//! `HF_HUB_DOWNLOAD_TIMEOUT`.

mod cache;
mod client;
mod download;
mod error;
#[cfg(test)]
mod hostile;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use spec::HubModel;

pub use error::HubError;

use cache::{Cache, Snapshot};
use client::Client;

/// How long the hub may send nothing, where `HF_HUB_DOWNLOAD_TIMEOUT` does not say it.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);
const DEFAULT_REVISION: &str = "main";
const ENDPOINT: &str = "https://huggingface.co";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Files of a model that are used besides its weights, where it has them.
const SMALL_FILES: [&str; 13] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/tool_use.jinja",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    INDEX,
];

/// A hub and its cache on this machine.
#[derive(Debug)]
pub struct Hub {
    cache: Cache,
    /// `None`: the network is not to be asked.
    client: Option<Client>,
}

impl Hub {
    /// As the environment's variables say.
    pub fn from_environment() -> Result<Self, HubError> {
        Self::from(&|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
    }

    fn from(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let home = variable("HF_HOME").map(PathBuf::from).or_else(|| {
            let caches = variable("XDG_CACHE_HOME").map(PathBuf::from);
            let caches = caches.or_else(|| Some(Path::new(&variable("HOME")?).join(".cache")));
            Some(caches?.join("huggingface"))
        });
        let cache = variable("HF_HUB_CACHE")
            .or_else(|| variable("HUGGINGFACE_HUB_CACHE"))
            .map(PathBuf::from)
            .or_else(|| Some(home.as_ref()?.join("hub")));
        let is_on = |name| {
            variable(name).is_some_and(|value| {
                matches!(value.to_lowercase().as_str(), "1" | "on" | "yes" | "true")
            })
        };
        let client = (!is_on("HF_HUB_OFFLINE") && !is_on("TRANSFORMERS_OFFLINE")).then(|| {
            let token_file = variable("HF_TOKEN_PATH").map(PathBuf::from);
            let token_file = token_file.or_else(|| Some(home.as_ref()?.join("token")));
            let saved = || std::fs::read_to_string(token_file?).ok();
            let token = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
            let token = token.or_else(saved).map(|token| token.trim().to_owned());
            let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
            let silence = variable("HF_HUB_DOWNLOAD_TIMEOUT")
                .and_then(|seconds| seconds.trim().parse().ok())
                .filter(|seconds| *seconds > 0)
                .map_or(LONGEST_SILENCE, Duration::from_secs);
            Client::new(&endpoint, token.filter(|token| !token.is_empty()), silence)
        });
        Ok(Self { cache: Cache::new(cache.ok_or(HubError::NoHome)?), client })
    }

    /// Where models are kept.
    pub fn cache_folder(&self) -> &Path {
        self.cache.folder()
    }

    /// The folder of a model with all files that are needed. `tell` is called for each download.
    pub fn model(&self, name: &HubModel, tell: &mut dyn FnMut(&str)) -> Result<PathBuf, HubError> {
        let revision = name.revision.as_deref().unwrap_or(DEFAULT_REVISION);
        let cached = self.cache.snapshot(&name.repo, revision)?;
        if let Some(snapshot) = &cached
            && is_whole(snapshot)
        {
            return Ok(snapshot.folder().to_owned());
        }
        let Some(client) = &self.client else {
            let cache = self.cache.folder().to_owned();
            return Err(HubError::Offline { name: name.clone(), cache });
        };
        let listing = client.listing(name, revision)?;
        let snapshot = self.cache.add(&name.repo, revision, &listing.commit)?;
        let commit = &listing.commit;
        let mut get = |file: &str| download::download(client, name, commit, file, &snapshot, tell);
        let has = |file: &str| listing.files.iter().any(|listed| listed == file);
        for file in SMALL_FILES.into_iter().filter(|file| has(file)) {
            get(file)?;
        }
        let weights =
            if has(INDEX) { shards(&snapshot.path(INDEX))? } else { vec![WEIGHTS.into()] };
        for file in weights {
            if !has(&file) {
                return Err(HubError::NoWeights { name: name.clone(), file });
            }
            get(&file)?;
        }
        Ok(snapshot.folder().to_owned())
    }
}

/// Whether a snapshot has what a base model needs.
fn is_whole(snapshot: &Snapshot) -> bool {
    let has = |file: &str| snapshot.path(file).is_file();
    let tokenizer = has("tokenizer.json") || has("tokenizer.model");
    let weights = if has(INDEX) {
        shards(&snapshot.path(INDEX)).is_ok_and(|files| files.iter().all(|file| has(file)))
    } else {
        has(WEIGHTS)
    };
    has("config.json") && tokenizer && weights
}

/// The files that an index of weights names, each once.
fn shards(index: &Path) -> Result<Vec<String>, HubError> {
    let damaged = |message: String| HubError::Damaged { path: index.to_owned(), message };
    let text = std::fs::read(index).map_err(HubError::io("read", index))?;
    let index: Value = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    let files = index["weight_map"].as_object().into_iter().flat_map(serde_json::Map::values);
    let mut files: Vec<String> = files.filter_map(Value::as_str).map(str::to_owned).collect();
    files.sort_unstable();
    files.dedup();
    let is_plain = |file: &String| !file.contains(['/', '\\']) && file.ends_with(".safetensors");
    if files.is_empty() || !files.iter().all(is_plain) {
        return Err(damaged("its `weight_map` names no safetensors files".to_owned()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Result<Hub, HubError> {
        Hub::from(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_cache_is_where_huggingface_hub_has_it() {
        let folder = |variables: &[_]| hub(variables).expect("a home").cache.folder().to_owned();
        let home = ("HOME", "/me");
        assert_eq!(folder(&[home]), Path::new("/me/.cache/huggingface/hub"));
        assert_eq!(folder(&[home, ("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(folder(&[home, ("HF_HOME", "/hf")]), Path::new("/hf/hub"));
        let both = [("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/cache")];
        assert_eq!(folder(&both), Path::new("/cache"));
        assert!(matches!(hub(&[]), Err(HubError::NoHome)));
    }

    #[test]
    fn the_network_is_left_alone_when_the_environment_says_so() {
        let asks = |value| hub(&[("HOME", "/me"), ("HF_HUB_OFFLINE", value)]).expect("a home");
        assert!(asks("1").client.is_none() && asks("True").client.is_none());
        assert!(asks("0").client.is_some());
    }
}
