//! What a sweep is made of: its file, its rows, and its identity on disk, which is its settings with
//! absolute paths and its inputs' content.

pub mod rows;
pub mod sweep_file;
pub mod view;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use data::{DataRole, PreparedData};
use serde::Deserialize;
use serde_json::Value;
use spec::{
    BaseSettings, DataFacts, DataSettings, HubModel, ReportSettings, Sweep, TargetModule,
    TrainSettings, ValidationSource,
};
use store::{
    Identity, InputFile, RETENTION_DATA, SweepFolder, TEST_DATA, TRAINING_DATA, VALIDATION_DATA,
};
use trainer::model::DecoderConfig;

use self::sweep_file::SweepFile;
use crate::error::Error;

/// Files of a model on which its shape or its rows' tokens depend.
const MODEL_INPUTS: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
];
/// A folder of chat templates by name.
const TEMPLATES: &str = "additional_chat_templates";

/// The parts of `resolved.json` that are read back after the run.
#[derive(Debug, Deserialize)]
pub struct Settings {
    /// Folder of the base model, absolute.
    pub model: PathBuf,
    /// The base model's name on a hub, if it came from one.
    #[serde(default)]
    pub hub: Option<HubModel>,
    /// In which form its weights were held; paths absolute.
    #[serde(default)]
    pub base: BaseSettings,
    /// Data files, absolute.
    pub data: DataSettings,
    pub train: TrainSettings,
    pub report: ReportSettings,
}

impl Settings {
    /// Reads the settings of a sweep that ran.
    pub fn of(identity: &Identity) -> Result<Self, Error> {
        Self::deserialize(&identity.sweep)
            .map_err(|source| Error::Json { what: "resolved.json", source })
    }
}

/// The identity of the sweep of `file` in the folder of results `results`; reads every input file
/// once to hash it, except large weights that are recognised as those of an earlier launch.
pub fn identity(
    file: &SweepFile,
    planned_trials: Option<usize>,
    results: &Path,
) -> Result<Identity, Error> {
    let sweep = &file.sweep;
    // One that cannot be read is refused when the folder is opened.
    let earlier = SweepFolder::open(results.join(&sweep.name)).and_then(|it| it.identity()).ok();
    let as_json = |value: Result<Value, serde_json::Error>| {
        value.map_err(|source| Error::Json { what: "the sweep", source })
    };
    let mut settings = as_json(serde_json::to_value(sweep))?;
    if sweep.executor.kind.is_own() {
        settings["model"] = as_json(serde_json::to_value(absolute(&sweep.model)?))?;
        if let Some(path) = &sweep.base.weights {
            settings["base"]["weights"] = as_json(serde_json::to_value(absolute(path)?))?;
        }
        settings["data"] = as_json(serde_json::to_value(absolute_data(&sweep.data)?))?;
    } else if sweep.model.is_dir() {
        settings["model"] = as_json(serde_json::to_value(absolute(&sweep.model)?))?;
    }
    let inputs = inputs(sweep, earlier.as_ref())?;
    let mut identity = Identity::new(&sweep.name, sweep.fingerprint(), inputs, settings);
    identity.has_all_inputs = true;
    identity.meaning = Some(sweep.meaning());
    identity.file = Some(absolute(&file.path)?);
    identity.planned_trials = planned_trials;
    Ok(identity)
}

/// What the report needs to know of the data and of the model.
pub fn facts(sweep: &Sweep, data: &PreparedData) -> Result<DataFacts, Error> {
    let unusable = |source| Error::Model { path: sweep.model.clone(), source };
    let model = DecoderConfig::read(&sweep.model).map_err(unusable)?;
    let leak = data.report.overlaps.iter().find(|overlap| {
        overlap.held_out == DataRole::Validation && overlap.seen == DataRole::Train
    });
    let targets = data.train.examples.iter().map(|example| example.targets() as u64);
    let of_module = |module| (module, model.parameters_per_rank(module) as u64);
    Ok(DataFacts {
        train_examples: data.train.examples.len() as u64,
        train_targets: targets.sum(),
        validation_examples: data.validation.examples.len() as u64,
        leaked_rows: leak.map_or(0, |leak| leak.same_row.len() as u64),
        leaked_prompts: leak.map_or(0, |leak| leak.same_prompt.len() as u64),
        parameters_per_rank: TargetModule::every().map(of_module).collect(),
        plain_chat: data.plain_chat.clone(),
    })
}

/// Hash of the training file as it was when the sweep ran.
pub fn training_data_sha256(identity: &Identity) -> Option<&str> {
    identity.inputs.get(TRAINING_DATA)?.sha256.as_deref()
}

/// An error when one of the files that data preparation reads is not what it was.
pub fn check_unchanged(identity: &Identity) -> Result<(), Error> {
    check_inputs(identity, |_, file| file.sampled.is_none())
}

/// The same, of the model's files and of those that `data` names.
pub fn check_unchanged_files(identity: &Identity, data: &DataSettings) -> Result<(), Error> {
    let mut used = vec![data.train.as_path()];
    if let ValidationSource::File(path) = &data.validation {
        used.push(path);
    }
    check_inputs(identity, |what, file| {
        what.starts_with("model's ") || used.contains(&Path::new(&file.path))
    })
}

/// The same, of the model's weights alone, whichever file they are read from.
pub fn check_unchanged_weights(identity: &Identity) -> Result<(), Error> {
    check_inputs(identity, |what, file| {
        what.starts_with("model's ")
            && (file.sampled.is_some() || file.path.ends_with(".safetensors"))
    })
}

/// Why the weights that an adapter would be loaded beside are not known to be those that it was
/// trained on. `None`: they are, as far as this can be known.
pub fn other_weights(identity: &Identity) -> Option<String> {
    let is_there = |file: &InputFile| Path::new(&file.path).exists();
    match check_unchanged_weights(identity) {
        Ok(()) => None,
        Err(Error::ChangedInput { path, .. }) => {
            Some(format!("the model's weights `{path}` have changed since the sweep ran"))
        }
        // A model that is elsewhere by now is not another one.
        Err(_)
            if !identity.inputs.values().any(|file| file.sampled.is_some() && is_there(file)) =>
        {
            None
        }
        Err(error) => Some(format!("the model's weights cannot be compared: {error}")),
    }
}

fn check_inputs(
    identity: &Identity,
    is_used: impl Fn(&str, &InputFile) -> bool,
) -> Result<(), Error> {
    let read = identity.inputs.iter().filter(|(_, file)| file.sha256.is_some());
    for (what, then) in read.filter(|(what, file)| is_used(what, file)) {
        let path = Path::new(&then.path);
        let now = match then.sampled {
            Some(_) => store::hash_weights(path, [then])?,
            None => hash_input(path)?,
        };
        if !now.is_same(then) {
            return Err(Error::ChangedInput { what: what.clone(), path: then.path.clone() });
        }
    }
    Ok(())
}

/// An error when an input of `sweep` is not what it was when the sweep began, in a process that
/// starts later: what it trained would not compare with the rest.
pub fn refuse_changed(sweep: &Sweep, began: &Identity) -> Result<(), Error> {
    let mut now = began.clone();
    now.inputs = inputs(sweep, Some(began))?;
    now.has_all_inputs = true;
    let changes = now.changed_inputs(began);
    if changes.is_empty() { Ok(()) } else { Err(Error::ChangedInputs { changes }) }
}

/// Sizes and times of the input files, to see whether one was changed while it was read.
pub struct Stamps(Vec<(String, Option<(u64, SystemTime)>)>);

impl Stamps {
    pub fn of(identity: &Identity) -> Self {
        let paths = identity.inputs.values().map(|file| file.path.clone());
        Self(paths.map(|path| (path.clone(), Self::stamp(&path))).collect())
    }

    fn stamp(path: &str) -> Option<(u64, SystemTime)> {
        let found = Path::new(path).metadata().ok()?;
        Some((found.len(), found.modified().ok()?))
    }

    pub fn refuse_changed(&self) -> Result<(), Error> {
        let changed = self.0.iter().filter(|(path, then)| Self::stamp(path) != *then);
        let changes: Vec<String> =
            changed.map(|(path, _)| format!("`{path}` was changed while it was read")).collect();
        if changes.is_empty() { Ok(()) } else { Err(Error::ChangedInputs { changes }) }
    }
}

/// An absolute path, whether or not anything is there.
pub fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(Error::io("resolve", path))
}

fn absolute_data(data: &DataSettings) -> Result<DataSettings, Error> {
    Ok(DataSettings {
        train: absolute(&data.train)?,
        validation: match &data.validation {
            ValidationSource::File(path) => ValidationSource::File(absolute(path)?),
            ValidationSource::Fraction(fraction) => ValidationSource::Fraction(*fraction),
        },
        retention: data.retention.as_deref().map(absolute).transpose()?,
        test: data.test.as_deref().map(absolute).transpose()?,
        columns: data.columns.clone(),
        packing: data.packing,
    })
}

/// Size and content of a file; of a folder or a pattern, of all data files that it means, names
/// included.
fn hash_input(path: &Path) -> Result<InputFile, Error> {
    let files = data::data_files(path).map_err(Error::Data)?;
    if let [only] = &files[..]
        && only == path
    {
        return Ok(store::hash_file(only)?);
    }
    let mut listing = String::new();
    let mut bytes = 0;
    for file in &files {
        let hashed = store::hash_file(file)?;
        bytes += hashed.bytes;
        let name = file.strip_prefix(path).unwrap_or(file).display();
        let _ = writeln!(listing, "{} {name}", hashed.sha256.unwrap_or_default());
    }
    let sha256 = Some(store::hash_text(&listing));
    Ok(InputFile { path: path.display().to_string(), bytes, sha256, sampled: None })
}

/// Data and the model's files by content. What another trainer finds by a name that is no path here
/// is known by that name alone.
fn inputs(sweep: &Sweep, earlier: Option<&Identity>) -> Result<BTreeMap<String, InputFile>, Error> {
    let mut inputs = BTreeMap::new();
    let is_own = sweep.executor.kind.is_own();
    let mut add = |what: &str, path: &Path| -> Result<(), Error> {
        if !is_own && !path.is_file() {
            return Ok(());
        }
        inputs.insert(what.to_owned(), hash_input(&absolute(path)?)?);
        Ok(())
    };
    add(TRAINING_DATA, &sweep.data.train)?;
    if let ValidationSource::File(path) = &sweep.data.validation {
        add(VALIDATION_DATA, path)?;
    }
    if let Some(path) = &sweep.data.retention {
        add(RETENTION_DATA, path)?;
    }
    if let Some(path) = &sweep.data.test {
        add(TEST_DATA, path)?;
    }
    for name in model_inputs(&sweep.model)? {
        let path = sweep.model.join(&name);
        if path.is_file() {
            inputs.insert(format!("model's {name}"), store::hash_file(&absolute(&path)?)?);
        }
    }
    for path in &sweep.warm_start {
        let history = SweepFolder::open(path)?.history()?;
        inputs.insert(store::earlier_sweep(path.display()), history);
    }
    let known = || earlier.into_iter().flat_map(|earlier| earlier.inputs.values());
    for path in weight_files(sweep)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let file = store::hash_weights(&absolute(&path)?, known())?;
        inputs.insert(format!("model's {name}"), file);
    }
    Ok(inputs)
}

/// Names of the small files that a model may have, below its folder.
fn model_inputs(model: &Path) -> Result<Vec<String>, Error> {
    let templates = list(&model.join(TEMPLATES), "jinja")?.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        Some(format!("{TEMPLATES}/{name}"))
    });
    Ok(MODEL_INPUTS.into_iter().map(str::to_owned).chain(templates).collect())
}

/// The files that the base model's weights are read from.
fn weight_files(sweep: &Sweep) -> Result<Vec<PathBuf>, Error> {
    if let Some(file) = &sweep.base.weights {
        return Ok(vec![file.clone()]);
    }
    if sweep.executor.kind.is_own() {
        let unusable = |source| Error::Model { path: sweep.model.clone(), source };
        return trainer::format::weight_files(&sweep.model).map_err(unusable);
    }
    list(&sweep.model, "safetensors")
}

/// The files in a folder whose names end so, sorted; none where there is no such folder.
fn list(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Error> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let listing = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
    let mut paths = listing
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::io("list", folder))?;
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths.sort();
    Ok(paths)
}
