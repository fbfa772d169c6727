//! An experiment in MLflow's file store: folders and small text files that `mlflow ui` and
//! `mlflow.search_runs` read.
//!
//! Below the experiment's folder lies one folder a run: `meta.yaml`, a file for each parameter and
//! tag, and for each metric a file with a line a value (`milliseconds value step`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use spec::{Evaluation, Outcome, SweepState, TrialId, TrialState, printable_json};

use super::ExportFile;
use crate::diagnose::Diagnosis;
use crate::parameters;

/// States of a run, by MLflow's numbers.
const RUNNING: u32 = 1;
const SCHEDULED: u32 = 2;
const FINISHED: u32 = 3;
const FAILED: u32 = 4;
const KILLED: u32 = 5;

/// MLflow's source type `LOCAL`.
const LOCAL: u32 = 4;

/// Folders without which MLflow takes a run's folder for something else.
const FOLDERS: [&str; 3] = ["artifacts", "metrics", "params"];

/// A sweep as an experiment of MLflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlflowExperiment {
    /// The name of its folder below the store.
    pub id: String,
    /// Folders that it needs although they may be empty, by their paths below that folder.
    pub folders: Vec<String>,
    /// Its files, by their paths below that folder.
    pub files: Vec<ExportFile>,
}

/// The experiment of a sweep: one run for the base model and one for every trial. `store` is the
/// store's folder as an absolute path. A run that was stopped early is `KILLED`, one that diverged is
/// `FAILED`.
pub fn mlflow(
    state: &SweepState,
    diagnoses: &BTreeMap<TrialId, Diagnosis>,
    store: &str,
) -> MlflowExperiment {
    let id = experiment_id(&state.fingerprint);
    let location = format!("{}/{id}", uri(store));
    let whole = state.timeline.whole().unwrap_or_default();
    let mut files = vec![ExportFile {
        path: "meta.yaml".to_owned(),
        bytes: yaml(&[
            ("artifact_location", location.as_str().into()),
            ("creation_time", whole.0.into()),
            ("experiment_id", id.as_str().into()),
            ("last_update_time", whole.1.into()),
            ("lifecycle_stage", "active".into()),
            ("name", state.name.as_str().into()),
        ]),
    }];
    let about = About { experiment: &id, location: &location, fingerprint: &state.fingerprint };
    if let Some(base) = &state.base {
        let mut run = Run::new(TrialId::BASE, &about);
        run.evaluated(base, whole.0);
        files.extend(run.into_files("base", FINISHED, whole.0, Some(whole.0)));
    }
    for (id, trial) in &state.trials {
        let time = state.timeline.bounds(*id).unwrap_or_default();
        let flag = diagnoses.get(id).map(|diagnosis| diagnosis.flag.name());
        files.extend(of_trial(trial, time, flag, &about));
    }
    let bases = state.base.iter().map(|_| TrialId::BASE);
    let runs = bases.chain(state.trials.keys().copied());
    let folders = runs.flat_map(|trial| {
        let run = run_id(&state.fingerprint, trial);
        FOLDERS.map(|folder| format!("{run}/{folder}"))
    });
    MlflowExperiment { folders: folders.collect(), id, files }
}

fn of_trial(
    trial: &TrialState,
    (from, to): (u64, u64),
    flag: Option<&str>,
    about: &About,
) -> Vec<ExportFile> {
    let mut run = Run::new(trial.trial.id, about);
    for (parameter, value) in parameters::given(&trial.trial.config) {
        run.file("params", parameter.name, value);
    }
    if let Some(flag) = flag {
        run.file("tags", "lorasweep.flag", flag.to_owned());
    }
    for point in &trial.train_points {
        let at = moment(from, point.seconds);
        run.metric("step_loss", at, point.loss, point.step);
        run.metric("learning_rate", at, point.learning_rate, point.step);
        if let Some(norm) = point.grad_norm {
            run.metric("grad_norm", at, norm, point.step);
        }
    }
    for evaluation in &trial.evaluations {
        run.evaluated(evaluation, from);
    }
    if let Some(best) = trial.best() {
        let at = moment(from, best.seconds);
        run.metric("best_eval_loss", at, best.eval_loss, best.step);
        for score in &best.scores {
            run.metric(&format!("best_{}", metric_name(&score.metric)), at, score.value, best.step);
        }
    }
    let status = match trial.outcome() {
        Some(Outcome::Completed) => FINISHED,
        Some(Outcome::Stopped { .. }) => KILLED,
        Some(Outcome::Diverged { .. } | Outcome::Failed { .. }) => FAILED,
        None if trial.device.is_some() => RUNNING,
        None => SCHEDULED,
    };
    let end = trial.outcome().map(|_| to);
    run.into_files(&format!("trial-{}", trial.trial.id), status, from, end)
}

/// What all runs of an experiment have in common.
struct About<'a> {
    experiment: &'a str,
    location: &'a str,
    fingerprint: &'a str,
}

/// A run's files while they are put together.
struct Run<'a> {
    about: &'a About<'a>,
    id: String,
    files: Vec<ExportFile>,
    /// Lines by metric.
    metrics: BTreeMap<String, String>,
}

impl<'a> Run<'a> {
    fn new(trial: TrialId, about: &'a About<'a>) -> Self {
        let id = run_id(about.fingerprint, trial);
        let mut run = Self { about, id, files: Vec::new(), metrics: BTreeMap::new() };
        run.file("tags", "lorasweep.trial", trial.0.to_string());
        run.file("tags", "lorasweep.fingerprint", about.fingerprint.to_owned());
        run
    }

    fn file(&mut self, folder: &str, name: &str, text: String) {
        let path = format!("{}/{folder}/{name}", self.id);
        self.files.push(ExportFile { path, bytes: text.into_bytes() });
    }

    fn metric(&mut self, name: &str, at_ms: u64, value: f64, step: u32) {
        let _ =
            writeln!(self.metrics.entry(name.to_owned()).or_default(), "{at_ms} {value:?} {step}");
    }

    fn evaluated(&mut self, e: &Evaluation, from: u64) {
        let at = moment(from, e.seconds);
        let measured = [
            ("eval_loss", Some(e.eval_loss)),
            ("train_loss", e.train_loss),
            ("gap", e.gap()),
            ("retention_loss", e.retention_loss),
        ];
        for (name, value) in measured {
            if let Some(value) = value {
                self.metric(name, at, value, e.step);
            }
        }
        for score in &e.scores {
            self.metric(&metric_name(&score.metric), at, score.value, e.step);
        }
    }

    fn into_files(
        mut self,
        name: &str,
        status: u32,
        start: u64,
        end: Option<u64>,
    ) -> Vec<ExportFile> {
        self.file("tags", "mlflow.runName", name.to_owned());
        for (metric, lines) in std::mem::take(&mut self.metrics) {
            self.file("metrics", &metric, lines);
        }
        let About { experiment, location, .. } = self.about;
        let meta = yaml(&[
            ("artifact_uri", format!("{location}/{}/artifacts", self.id).into()),
            ("end_time", end.into()),
            ("entry_point_name", "".into()),
            ("experiment_id", (*experiment).into()),
            ("lifecycle_stage", "active".into()),
            ("run_id", self.id.as_str().into()),
            ("run_name", name.into()),
            ("run_uuid", self.id.as_str().into()),
            ("source_name", "lorasweep".into()),
            ("source_type", LOCAL.into()),
            ("source_version", env!("CARGO_PKG_VERSION").into()),
            ("start_time", start.into()),
            ("status", status.into()),
            ("tags", Value::Array(Vec::new())),
            ("user_id", "".into()),
        ]);
        self.files.push(ExportFile { path: format!("{}/meta.yaml", self.id), bytes: meta });
        self.files
    }
}

/// A metric's name is a file's name here, and may be a stranger's.
fn metric_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    name.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

fn moment(from_ms: u64, seconds: f64) -> u64 {
    from_ms.saturating_add((seconds * 1000.0) as u64)
}

/// MLflow numbers its experiments; a sweep keeps its number however often it is converted.
fn experiment_id(fingerprint: &str) -> String {
    let digits: String = hex(fingerprint).take(15).collect();
    format!("{:018}", u64::from_str_radix(&digits, 16).unwrap_or(0) % 1_000_000_000_000_000_000)
}

/// 32 hexadecimal digits.
fn run_id(fingerprint: &str, trial: TrialId) -> String {
    let sweep: String = hex(fingerprint).chain(std::iter::repeat('0')).take(24).collect();
    format!("{sweep}{:08x}", trial.0)
}

fn hex(fingerprint: &str) -> impl Iterator<Item = char> {
    fingerprint.chars().filter(char::is_ascii_hexdigit).map(|digit| digit.to_ascii_lowercase())
}

/// A path as a `file:` URI; what may not stand in one is escaped.
fn uri(path: &str) -> String {
    let mut uri = "file://".to_owned();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(byte.into());
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// A mapping whose values are written as JSON, which YAML includes but for some characters.
fn yaml(entries: &[(&str, Value)]) -> Vec<u8> {
    let json = |value: &Value| printable_json(&value.to_string()).into_owned();
    let lines = entries.iter().map(|(key, value)| format!("{key}: {}\n", json(value)));
    lines.collect::<String>().into_bytes()
}
