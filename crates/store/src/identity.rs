//! What makes a sweep this sweep: its resolved settings and the content of its input files.
//!
//! A folder whose identity differs is refused, so that no trial goes on with other settings or
//! other data than it began with.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::StoreError;
use crate::input::InputFile;
use crate::{atomic, layout, own_files};

/// Version of `resolved.json`; a reader refuses a higher one.
const FORMAT: u32 = 1;
/// More differences than this are counted instead of listed.
const LISTED_DIFFERENCES: usize = 8;

/// How the lines begin of settings that say where the model is.
const MODEL_NAMES: [&str; 3] = ["model: ", "hub", "base.weights: "];

/// Settings that a fingerprint leaves out: they may differ within one sweep.
const OUTSIDE_THE_FINGERPRINT: [&str; 10] = [
    "description",
    "warnings",
    "report",
    "train.save_strategy",
    "executor.max_packed",
    "executor.checkpoint_seconds",
    "executor.devices",
    "executor.max_retries",
    "executor.heartbeat_seconds",
    "executor.max_consecutive_failures",
];

/// Of the executor's kind, only what says who trains counts, not where and with how much.
const WHO_TRAINS: [&str; 3] = ["type", "command", "base_command"];

fn is_outside_the_fingerprint(path: &str) -> bool {
    let of_kind = path.strip_prefix("executor.kind.");
    OUTSIDE_THE_FINGERPRINT.contains(&path) || of_kind.is_some_and(|key| !WHO_TRAINS.contains(&key))
}

/// A sweep's settings and inputs, as `resolved.json` keeps them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Version of this file's format.
    v: u32,
    /// Name of the sweep: the folder's name.
    pub name: String,
    /// Hash of the resolved sweep.
    pub fingerprint: String,
    /// Version of lorasweep that wrote this.
    pub version: String,
    /// Trials the sweep will have in all, where that is known beforehand.
    #[serde(default)]
    pub planned_trials: Option<usize>,
    /// Input files by what they are for (`train data`, `tokenizer` ...).
    pub inputs: BTreeMap<String, InputFile>,
    /// Whether `inputs` are all files that are read, so that one that is not among them was not
    /// there. Files of earlier versions do not say so.
    #[serde(default)]
    pub has_all_inputs: bool,
    /// The resolved sweep.
    pub sweep: Value,
}

impl Identity {
    /// The identity of `sweep` (the resolved sweep as JSON).
    pub fn new(
        name: impl Into<String>,
        fingerprint: impl Into<String>,
        inputs: BTreeMap<String, InputFile>,
        sweep: Value,
    ) -> Self {
        Self {
            v: FORMAT,
            name: name.into(),
            fingerprint: fingerprint.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            planned_trials: None,
            inputs,
            has_all_inputs: false,
            sweep,
        }
    }

    pub(crate) fn read(root: &Path) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let path = layout::resolved_json(root);
        let text = match own_files::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::NotASweep { path: root.to_path_buf() });
            }
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let damaged = |source| StoreError::DamagedJson { path: path.clone(), source };
        let Version { v } = serde_json::from_str(&text).map_err(damaged)?;
        if v > FORMAT {
            return Err(StoreError::NewerFormat { path, found: v, known: FORMAT });
        }
        serde_json::from_str(&text).map_err(damaged)
    }

    pub(crate) fn write(&self, root: &Path) -> Result<(), StoreError> {
        let path = layout::resolved_json(root);
        let text = serde_json::to_string_pretty(self)
            .map_err(|source| StoreError::DamagedJson { path: path.clone(), source })?;
        atomic::write_file(&path, (text + "\n").as_bytes())
    }

    /// Whether all of the model's files are known by their content.
    fn knows_model(&self) -> bool {
        self.has_all_inputs && self.inputs.values().any(|file| file.sampled.is_some())
    }

    /// One line for each input of this sweep that is not what it was in `other`, found on disk.
    pub fn changed_inputs(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let is_weights = |file: &InputFile| file.sampled.is_some();
        let both_know_weights = [self, other].iter().all(|it| it.inputs.values().any(is_weights));
        for (what, here) in &self.inputs {
            if both_know_weights && is_weights(here) {
                continue;
            }
            match other.inputs.get(what) {
                Some(there) if here.is_same(there) => {}
                Some(_) => found.push(format!("the {what} file `{}` has changed since", here.path)),
                None if other.has_all_inputs => {
                    found.push(format!("the {what} file `{}` was not there then", here.path));
                }
                None => {}
            }
        }
        if self.has_all_inputs && other.has_all_inputs {
            let is_gone = |(what, file): &(&String, &InputFile)| {
                let is_compared = both_know_weights && is_weights(file);
                !(is_compared || self.inputs.contains_key(*what))
            };
            for (what, there) in other.inputs.iter().filter(is_gone) {
                found.push(format!("the {what} file `{}` is there no more", there.path));
            }
        }
        if both_know_weights {
            found.extend(changed_weights(&self.inputs, &other.inputs));
        }
        found
    }

    /// One line for each thing in which `other`, found on disk, differs from this sweep. Empty:
    /// it is the same sweep.
    pub(crate) fn differences_from(&self, other: &Self) -> Vec<String> {
        let mut found = self.changed_inputs(other);
        if self.fingerprint != other.fingerprint {
            let mut settings = Vec::new();
            differences("", &other.sweep, &self.sweep, &mut settings);
            let differs = !settings.is_empty();
            // The same model elsewhere, or under another name.
            if found.is_empty() && self.knows_model() && other.knows_model() {
                settings.retain(|line| !MODEL_NAMES.iter().any(|name| line.starts_with(name)));
            }
            found.append(&mut settings);
            if !differs {
                found.push(format!("fingerprint: {} -> {}", other.fingerprint, self.fingerprint));
            }
        }
        if found.len() > LISTED_DIFFERENCES {
            let more = found.len() - LISTED_DIFFERENCES;
            found.truncate(LISTED_DIFFERENCES);
            found.push(format!("and {more} more"));
        }
        found
    }
}

/// Weights that hold the same are the same, whatever their files are called.
fn changed_weights(
    here: &BTreeMap<String, InputFile>,
    there: &BTreeMap<String, InputFile>,
) -> Vec<String> {
    let hashes = |of: &BTreeMap<String, InputFile>| -> Vec<String> {
        let weights = of.values().filter(|file| file.sampled.is_some());
        let mut hashes: Vec<_> = weights.filter_map(|file| file.sha256.clone()).collect();
        hashes.sort();
        hashes
    };
    let then = hashes(there);
    if hashes(here) == then {
        return Vec::new();
    }
    let is_new = |file: &&InputFile| {
        file.sampled.is_some() && file.sha256.as_ref().is_none_or(|hash| !then.contains(hash))
    };
    let changed = |file: &InputFile| {
        format!("the model's weights `{}` are not those that the sweep began with", file.path)
    };
    let lines: Vec<String> = here.values().filter(is_new).map(changed).collect();
    if lines.is_empty() {
        vec!["some of the model's weights are there no more".to_owned()]
    } else {
        lines
    }
}

/// SHA-256 of a text in hexadecimal.
pub fn hash_text(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// SHA-256 of bytes in hexadecimal.
pub(crate) fn hash_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn differences(at: &str, there: &Value, here: &Value, found: &mut Vec<String>) {
    match (there, here) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<_> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                if is_outside_the_fingerprint(&path) {
                    continue;
                }
                let value = |map: &serde_json::Map<_, _>| map.get(key).cloned().unwrap_or_default();
                differences(&path, &value(a), &value(b), found);
            }
        }
        _ if there == here => {}
        _ => found.push(format!("{at}: {there} -> {here}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::input::hash_file;

    fn identity(fingerprint: &str, sweep: Value) -> Identity {
        Identity::new("s", fingerprint, BTreeMap::new(), sweep)
    }

    #[test]
    fn the_settings_that_differ_are_named_with_both_values() {
        let there = json!({"seed": 1, "train": {"max_seq_len": 128, "x": 1}, "report": 1});
        let here = json!({"seed": 1, "train": {"max_seq_len": 256, "x": 1}, "report": 2});
        let (there, here) = (identity("a", there), identity("b", here));
        assert_eq!(here.differences_from(&there), ["train.max_seq_len: 128 -> 256"]);
    }

    #[test]
    fn changed_data_is_another_sweep_even_with_the_same_settings() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("train.jsonl");
        let with_data = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let mut it = identity("a", json!({}));
            it.inputs.insert("train data".into(), hash_file(&file).unwrap());
            it
        };
        let (there, here) = (with_data("one"), with_data("two"));
        assert_eq!(there.differences_from(&there), Vec::<String>::new());
        let found = here.differences_from(&there);
        assert!(found[0].starts_with("the train data file `"), "{found:?}");
    }

    #[test]
    fn an_identity_is_read_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let written = identity("a", json!({"learning_rate": 0.000_31, "nested": [1, null]}));
        written.write(dir.path()).unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), written);
    }

    #[test]
    fn a_newer_format_is_refused_whatever_else_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(layout::resolved_json(dir.path()), r#"{"v": 9, "new": true}"#).unwrap();
        let error = Identity::read(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::NewerFormat { found: 9, .. }), "{error}");
    }
}
