//! What makes a sweep this sweep: its resolved settings and the content of its input files.
//!
//! A folder whose identity differs is refused, so that no trial goes on with other settings or
//! other data than it began with.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::StoreError;
use crate::{atomic, layout};

/// Version of `resolved.json`; a reader refuses a higher one.
const FORMAT: u32 = 1;
/// More differences than this are counted instead of listed.
const LISTED_DIFFERENCES: usize = 8;

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
    /// The resolved sweep.
    pub sweep: Value,
}

/// An input file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Where it lay.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content in hexadecimal; absent for weights, which are too large to hash at
    /// every start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
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
            sweep,
        }
    }

    pub(crate) fn read(root: &Path) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let path = layout::resolved_json(root);
        let text = match std::fs::read_to_string(&path) {
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

    /// One line for each thing in which `other`, found on disk, differs from this sweep. Empty:
    /// it is the same sweep.
    pub(crate) fn differences_from(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (what, here) in &self.inputs {
            if let Some(there) = other.inputs.get(what)
                && (there.bytes, &there.sha256) != (here.bytes, &here.sha256)
            {
                found.push(format!("the {what} file `{}` has changed since", here.path));
            }
        }
        if self.fingerprint != other.fingerprint {
            let before = found.len();
            differences("", &other.sweep, &self.sweep, &mut found);
            if found.len() == before {
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

/// Size and SHA-256 of a file.
pub fn hash_file(path: &Path) -> Result<InputFile, StoreError> {
    let mut hasher = Sha256::new();
    let bytes = File::open(path)
        .and_then(|mut file| std::io::copy(&mut file, &mut hasher))
        .map_err(StoreError::io("read", path))?;
    let sha256 = Some(hex(&hasher.finalize()));
    Ok(InputFile { path: path.display().to_string(), bytes, sha256 })
}

/// SHA-256 of a text in hexadecimal.
pub fn hash_text(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
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
