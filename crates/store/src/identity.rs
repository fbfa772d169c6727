//! What makes a sweep this sweep: its resolved settings and the content of its input files.
//!
//! A folder whose identity differs is refused, so that no trial goes on with other settings or
//! other data than it began with. What only says which trials there are, and where they run, may
//! change: the sweep is extended.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::StoreError;
use crate::extension::{Change, as_extension};
use crate::input::InputFile;
use crate::{atomic, layout, own_files};

/// Version of `resolved.json`; a reader refuses a higher one.
const FORMAT: u32 = 1;
/// More differences than this are counted instead of listed.
const LISTED_DIFFERENCES: usize = 8;

/// Settings that say where the model is.
const MODEL_NAMES: [&str; 3] = ["model", "hub", "base.weights"];
/// Settings that say where data is, with the input's name.
const DATA_NAMES: [(&str, &str); 4] = [
    ("data.train", TRAINING_DATA),
    ("data.validation.file", VALIDATION_DATA),
    ("data.retention", RETENTION_DATA),
    ("data.test", TEST_DATA),
];
/// The setting that says where earlier sweeps are.
const WARM_START: &str = "warm_start";
/// How the names of a model's files begin.
const OF_MODEL: &str = "model's ";

/// The training file's name among a sweep's inputs.
pub const TRAINING_DATA: &str = "training data";
/// The name of the validation file.
pub const VALIDATION_DATA: &str = "validation data";
/// The name of the retention file.
pub const RETENTION_DATA: &str = "retention data";
/// The name of the test file.
pub const TEST_DATA: &str = "test data";

/// What the name of an earlier sweep among a sweep's inputs begins with.
pub const EARLIER_SWEEP: &str = "earlier sweep";

/// The name of the earlier sweep in the folder `path`.
pub fn earlier_sweep(path: impl fmt::Display) -> String {
    format!("{EARLIER_SWEEP}'s journal in {path}")
}

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
    /// Hash of the part of it that cannot change while the sweep continues; absent in files of
    /// earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// The sweep file, absolute, to whose folder the paths in it are relative; absent in files of
    /// earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
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
            meaning: None,
            file: None,
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
        let has_moved = self.has_same_earlier_sweeps(other);
        let is_compared = |what: &str, file: &InputFile| {
            both_know_weights && is_weights(file) || has_moved && what.starts_with(EARLIER_SWEEP)
        };
        for (what, here) in &self.inputs {
            if is_compared(what, here) {
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
                !(is_compared(what, file) || self.inputs.contains_key(*what))
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

    /// Whether a setting that differs from `other` says only that what it names, a model,
    /// data or earlier sweeps, is elsewhere or has another name by now: its content is known and the
    /// same.
    fn is_elsewhere_alone(&self, other: &Self, path: &str) -> bool {
        let model_of = |it: &Self| {
            let files = it.inputs.iter().filter(|(what, _)| what.starts_with(OF_MODEL));
            let files = files.map(|(what, file)| (what.clone(), file.clone()));
            Self { inputs: files.collect(), ..it.clone() }
        };
        if MODEL_NAMES.contains(&path) {
            return self.knows_model()
                && other.knows_model()
                && model_of(self).changed_inputs(&model_of(other)).is_empty();
        }
        if path == WARM_START {
            return self.has_same_earlier_sweeps(other);
        }
        let data = DATA_NAMES.iter().find(|(name, _)| *name == path);
        let both = data.and_then(|(_, what)| self.inputs.get(*what).zip(other.inputs.get(*what)));
        both.is_some_and(|(here, there)| here.is_known_same(there))
    }

    /// Whether both begin from earlier sweeps of the same content in the same order, wherever these
    /// are.
    fn has_same_earlier_sweeps(&self, other: &Self) -> bool {
        let histories = |it: &Self| -> Option<Vec<InputFile>> {
            let paths = it.sweep[WARM_START].as_array()?.iter().map(Value::as_str);
            paths.map(|path| it.inputs.get(&earlier_sweep(path?)).cloned()).collect()
        };
        let (Some(here), Some(there)) = (histories(self), histories(other)) else { return false };
        let mut pairs = here.iter().zip(&there);
        here.len() == there.len() && pairs.all(|(here, there)| here.is_known_same(there))
    }

    /// In what `other`, found on disk, differs from this sweep.
    pub(crate) fn differences_from(&self, other: &Self) -> Differences {
        let mut refused = self.changed_inputs(other);
        if self.fingerprint == other.fingerprint {
            return Differences { refused, extended: Vec::new() };
        }
        let mut changes = Vec::new();
        differences("", &other.sweep, &self.sweep, &mut changes);
        let differs = !changes.is_empty();
        let (extended, mut settings): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(as_extension);
        settings.retain(|change| !self.is_elsewhere_alone(other, &change.path));
        // Paths may be written in another way and mean the same files.
        if self.meaning.is_some() && self.meaning == other.meaning {
            settings.retain(Change::is_of_space);
        }
        refused.extend(settings.iter().map(ToString::to_string));
        // A version computes the fingerprint from the paths as they are written. Where these name the
        // same files (`./rows.jsonl`, or another working folder) nothing else is left.
        if !differs && self.version != other.version {
            refused.push(format!("fingerprint: {} -> {}", other.fingerprint, self.fingerprint));
        }
        if refused.len() > LISTED_DIFFERENCES {
            let more = refused.len() - LISTED_DIFFERENCES;
            refused.truncate(LISTED_DIFFERENCES);
            refused.push(format!("and {more} more"));
        }
        Differences { refused, extended: extended.iter().map(ToString::to_string).collect() }
    }
}

/// In what a sweep differs from the one that its folder holds; one line for each thing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// What makes it a different sweep.
    pub refused: Vec<String>,
    /// What extends the sweep.
    pub extended: Vec<String>,
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

fn differences(at: &str, there: &Value, here: &Value, found: &mut Vec<Change>) {
    if at == "hub" && there != here {
        let (there, here) = (there.clone(), here.clone());
        return found.push(Change { path: at.to_owned(), there, here });
    }
    match (there, here) {
        (Value::Object(a), Value::Object(b)) if !is_axis(at) => {
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
        _ => {
            let (there, here) = (there.clone(), here.clone());
            found.push(Change { path: at.to_owned(), there, here });
        }
    }
}

/// Whether a path leads to a parameter's axis, which is compared as a whole.
fn is_axis(path: &str) -> bool {
    path.strip_prefix("space.").is_some_and(|parameter| !parameter.contains('.'))
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
        assert_eq!(here.differences_from(&there).refused, ["train.max_seq_len: 128 -> 256"]);
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
        assert_eq!(there.differences_from(&there), Differences::default());
        let found = here.differences_from(&there).refused;
        assert!(found[0].starts_with("the train data file `"), "{found:?}");
    }

    /// A sweep with data, a test set or none, a model and an earlier sweep, below the folder `at`.
    fn somewhere(at: &str, content: &str, has_test: bool) -> Identity {
        let file = |name: &str, is_weights: bool| InputFile {
            path: format!("{at}/{name}"),
            bytes: 3,
            sha256: Some(format!("{content} of {name}")),
            sampled: is_weights.then(|| crate::input::Sampled {
                modified_ns: at.len() as u64,
                sha256: "sample".to_owned(),
            }),
        };
        let mut it = identity(
            at,
            json!({
                "data": {
                    "train": format!("{at}/train"),
                    "validation": {"file": format!("{at}/validation")},
                    "retention": format!("{at}/retention"),
                    "test": has_test.then(|| format!("{at}/test")),
                },
                "model": format!("{at}/model"),
                "warm_start": [format!("{at}/b"), format!("{at}/a")],
            }),
        );
        let mut add = |what: &str, name: &str, is_weights: bool| {
            it.inputs.insert(what.to_owned(), file(name, is_weights));
        };
        add(TRAINING_DATA, "train", false);
        add(VALIDATION_DATA, "validation", false);
        add(RETENTION_DATA, "retention", false);
        if has_test {
            add(TEST_DATA, "test", false);
        }
        add("model's config.json", "config.json", false);
        add("model's model.safetensors", "model.safetensors", true);
        for name in ["a", "b"] {
            add(&earlier_sweep(format!("{at}/{name}")), name, false);
        }
        it.has_all_inputs = true;
        it
    }

    #[test]
    fn inputs_that_were_moved_and_hold_the_same_are_the_same() {
        let (there, here) = (somewhere("old", "1", true), somewhere("new", "1", true));
        assert_eq!(here.differences_from(&there).refused, Vec::<String>::new());
    }

    #[test]
    fn beside_a_real_difference_what_was_only_moved_is_not_listed() {
        let there = somewhere("old", "1", true);
        let mut here = somewhere("new", "1", true);
        here.sweep["seed"] = 2.into();
        assert_eq!(here.differences_from(&there).refused, ["seed: not set -> 2"]);
        let mut here = somewhere("new", "1", true);
        here.inputs.get_mut(TRAINING_DATA).unwrap().sha256 = Some("other".to_owned());
        assert_eq!(
            here.differences_from(&there).refused,
            [
                "the training data file `new/train` has changed since",
                "data.train: \"old/train\" -> \"new/train\"",
            ]
        );
    }

    #[test]
    fn another_content_in_another_place_is_another_sweep() {
        let (there, here) = (somewhere("old", "1", true), somewhere("new", "2", true));
        let found = here.differences_from(&there).refused;
        assert_eq!(found.len(), LISTED_DIFFERENCES + 1, "{found:?}");
        let without_test = somewhere("new", "1", false);
        assert_eq!(
            without_test.differences_from(&there).refused,
            [
                "the test data file `old/test` is there no more",
                "data.test: \"old/test\" -> not set"
            ]
        );
        // Content that is not known may be another one.
        let mut unknown = somewhere("new", "1", true);
        unknown.inputs.get_mut(TRAINING_DATA).unwrap().sha256 = None;
        assert_eq!(
            unknown.differences_from(&there).refused,
            ["data.train: \"old/train\" -> \"new/train\""]
        );
        let mut swapped = somewhere("old", "1", true);
        swapped.fingerprint = "swapped".to_owned();
        swapped.sweep["warm_start"] = json!(["old/a", "old/b"]);
        let found = swapped.differences_from(&there).refused;
        assert!(found.len() == 1 && found[0].starts_with("warm_start: "), "{found:?}");
    }

    #[test]
    fn paths_written_in_another_way_are_the_same_sweep() {
        let (there, mut here) = (somewhere("old", "1", true), somewhere("old", "1", true));
        here.fingerprint = "of ./train instead of train".to_owned();
        assert_eq!(here.differences_from(&there).refused, Vec::<String>::new());
        // Another version may have meant something else by the same settings.
        here.version = "0.0.1".to_owned();
        assert_eq!(here.differences_from(&there).refused.len(), 1);
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
