//! How the base model of an export is named: for PEFT, which loads it, and for the people who read the
//! model card.

use std::path::Path;

use spec::HubModel;

use crate::inputs::Settings;

/// A base model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseName {
    /// Its name on a model hub, where that is known.
    pub hub: Option<HubModel>,
    /// What the card calls it: the hub's name, or the folder's without its path.
    pub shown: String,
    /// A name in its config.json, which is no proof: fine-tuned weights keep that of what they were
    /// loaded from.
    pub loaded_from: Option<String>,
}

impl BaseName {
    /// The base of a sweep; `named` is what its adapters call it.
    pub fn of(settings: &Settings, named: Option<&str>) -> Self {
        let model = &settings.model;
        let of_name = || {
            let name = named.or(model.to_str()).filter(|_| !model.is_dir())?;
            is_hub_name(name).then(|| HubModel { repo: name.to_owned(), revision: None })
        };
        let hub = settings.hub.clone().or_else(|| in_cache(model)).or_else(of_name);
        let folder = || model.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let shown = hub.as_ref().map_or_else(folder, |hub| hub.repo.clone());
        let loaded_from = if hub.is_some() { None } else { loaded_from(model) };
        Self { hub, shown, loaded_from }
    }

    /// What a person writes to load it.
    pub fn to_load(&self) -> &str {
        if self.hub.is_some() { &self.shown } else { "path/to/the/base" }
    }
}

/// The name of a model in a hub's cache: `models--org--name/snapshots/<revision>`.
fn in_cache(model: &Path) -> Option<HubModel> {
    let mut folders = model.ancestors().filter_map(|folder| folder.file_name()?.to_str());
    let (revision, snapshots, repo) = (folders.next()?, folders.next()?, folders.next()?);
    let repo = repo.strip_prefix("models--").filter(|_| snapshots == "snapshots")?;
    let repo = repo.replacen("--", "/", 1);
    Some(HubModel { repo, revision: Some(revision.to_owned()) })
}

fn loaded_from(model: &Path) -> Option<String> {
    let text = std::fs::read_to_string(model.join("config.json")).ok()?;
    let config: serde_json::Value = serde_json::from_str(&text).ok()?;
    config["_name_or_path"].as_str().filter(|name| is_hub_name(name)).map(str::to_owned)
}

/// `org/name`, as model hubs allow it, and no path here.
fn is_hub_name(name: &str) -> bool {
    let is_plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with(['.', '-']) && part.chars().all(allowed)
    };
    let parts = name.split_once('/');
    parts.is_some_and(|(org, repo)| is_plain(org) && is_plain(repo)) && !Path::new(name).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_in_a_cache_is_known_by_its_hub_name() {
        let path = "/home/me/.cache/huggingface/hub/models--Qwen--Qwen3-0.6B/snapshots/c1899de";
        let expected =
            HubModel { repo: "Qwen/Qwen3-0.6B".to_owned(), revision: Some("c1899de".to_owned()) };
        assert_eq!(in_cache(Path::new(path)), Some(expected));
        for path in ["/models/models--a--b", "/models--a--b/refs/main", "snapshots/x", "base"] {
            assert_eq!(in_cache(Path::new(path)), None, "{path}");
        }
        let without_org = in_cache(Path::new("models--gpt2/snapshots/1")).map(|hub| hub.repo);
        assert_eq!(without_org.as_deref(), Some("gpt2"));
    }

    #[test]
    fn a_path_is_no_hub_name() {
        assert!(is_hub_name("meta-llama/Llama-3.2-1B"));
        for name in [
            "/data/base",
            "./base",
            "../x/base",
            "a/b/c",
            "base",
            "",
            "a/",
            "/b",
            "~/b",
            "src/lib.rs",
        ] {
            assert!(!is_hub_name(name), "{name}");
        }
    }
}
