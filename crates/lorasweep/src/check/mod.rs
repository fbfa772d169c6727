//! Everything that can be known of a sweep before it trains.

mod disk;
mod elsewhere;
mod replicates;
mod speed;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use data::{DataReport, PreparedData};
use serde::Serialize;
use spec::{ConfigKey, TrainSettings, Trial, TrialConfig};
use store::{Found, SweepDir, SweepFolder};
use trainer::TrainerError;
use trainer::format::Format;
use trainer::plan;

pub use disk::{AdaptersOnDisk, DiskPlan};
pub use elsewhere::ElsewhereFindings;
pub use speed::PredictedTime;

use crate::error::Error;
use crate::inputs;
use crate::inputs::sweep_file::SweepFile;
use crate::plan::base::Base;
use crate::plan::checkpoints::{self, Checkpoints};
use crate::plan::workload::{self, MemoryPlan, Workload};
use crate::plan::{devices, foresight, preflight, warm_start};
use crate::workers::{Workers, cluster};

/// What a check found. It is written as JSON as `lorasweep check --json` prints it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Findings {
    /// Of a sweep that lorasweep trains.
    Own(Box<OwnFindings>),
    /// Of a sweep that another program trains.
    Elsewhere(Box<ElsewhereFindings>),
}

impl Findings {
    /// What to look at before it runs.
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Own(found) => &found.warnings,
            Self::Elsewhere(found) => &found.warnings,
        }
    }

    /// Why a run would not begin, if so.
    pub fn refusal(self) -> Option<Error> {
        match self {
            Self::Own(found) => found.refusal,
            Self::Elsewhere(found) => found.refusal,
        }
    }
}

/// What was found of a sweep that lorasweep trains.
#[derive(Debug, Serialize)]
pub struct OwnFindings {
    /// The sweep's name.
    pub name: String,
    /// Hash of the resolved sweep.
    pub fingerprint: String,
    /// How trials are chosen.
    pub method: spec::Method,
    /// The device in words.
    pub device: String,
    /// Parameters of the base model.
    pub parameters: usize,
    /// How the weights are held: of the blocks' linear layers, and of embedding and output head.
    pub weights: WeightFormats,
    /// Trials in all (at most, for a method that may end before); absent without an end.
    pub trials: Option<usize>,
    /// Work of all trials; absent when they are not known beforehand.
    pub total: Option<TotalWork>,
    /// The trials, or some of them where they are not known beforehand.
    pub per_trial: Vec<PlannedTrial>,
    /// Absent where workers run on other machines, whose memory is not known here.
    pub memory: Option<MemoryPlan>,
    /// Bytes of memory in all.
    pub memory_total: Option<u64>,
    /// How long it will take; absent unless that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<PredictedTime>,
    /// What it takes on disk.
    pub disk: DiskPlan,
    /// Where results will go.
    #[serde(skip)]
    pub results: PathBuf,
    /// The script of the first job, where workers are jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_script: Option<String>,
    /// The rows as they were read.
    pub data: DataReport,
    /// What to look at before it runs.
    pub warnings: Vec<String>,
    /// What the sweep file changes of a sweep that has begun and would continue.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extended: Vec<String>,
    /// Why a run would not begin.
    #[serde(skip)]
    pub refusal: Option<Error>,
}

/// Number formats, each once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WeightFormats {
    /// Of the blocks' linear layers.
    pub linear_layers: Vec<&'static str>,
    /// Of embedding and output head.
    pub tables: Vec<&'static str>,
}

impl WeightFormats {
    fn of(base: &Base) -> Result<Self, TrainerError> {
        let mut all = Self { linear_layers: Vec::new(), tables: Vec::new() };
        let add = |to: &mut Vec<&'static str>, formats: Vec<Format>| {
            let names = formats.into_iter().map(Format::name);
            to.extend(names.filter(|name| !to.contains(name)).collect::<Vec<_>>());
        };
        for form in base.forms() {
            let (linear_layers, tables) = form.formats()?;
            add(&mut all.linear_layers, linear_layers);
            add(&mut all.tables, tables);
        }
        Ok(all)
    }
}

/// A trial and its work.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedTrial {
    /// Its number.
    pub trial: u32,
    /// Its parameters.
    pub config: TrialConfig,
    /// Its work.
    #[serde(flatten)]
    pub work: plan::Work,
}

/// The work of all trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TotalWork {
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens to train.
    pub train_tokens: u64,
    /// Tokens that trials need not train because another one does it for them.
    pub shared_tokens: u64,
    /// Tokens that schedules which do not depend on the number of epochs would save.
    pub shareable_tokens: u64,
    /// Tokens to evaluate.
    pub eval_tokens: u64,
}

/// What can be known of a sweep, whose base model is here, before it runs into a folder of `results`;
/// with `measures`, how long it takes as well.
pub fn check(
    file: &SweepFile,
    results: &Path,
    workers: &Workers,
    measures: bool,
) -> Result<Findings, Error> {
    if !file.sweep.executor.kind.is_own() {
        return elsewhere::check(file, results).map(|found| Findings::Elsewhere(Box::new(found)));
    }
    let (base, data) = preflight::prepare(&file.sweep)?;
    find(file, &base, data, results, workers, measures).map(Box::new).map(Findings::Own)
}

fn find(
    file: &SweepFile,
    base: &Base,
    data: PreparedData,
    results: &Path,
    workers: &Workers,
    measures: bool,
) -> Result<OwnFindings, Error> {
    let sweep = &file.sweep;
    let unusable = |source| Error::Model { path: sweep.model.clone(), source };
    let planner = planner::for_sweep(sweep);
    let all = workload::all_trials(&*planner);
    let trials = workload::known_trials(sweep, all.as_deref());
    let work = Workload::of(&trials, sweep, &data);
    let (device, note, memory) = if sweep.executor.kind.slurm().is_some() {
        ("Slurm's nodes".to_owned(), None, None)
    } else {
        let first = devices::on_first_device(sweep)?;
        let device = trainer::select_device(first.executor.device, sweep.train.dtype);
        let (device, note) = device.map_err(unusable)?;
        let memory = MemoryPlan::of(&first, device, base, &trials, &data)?;
        (device.name(), note, Some(memory))
    };
    let mut warnings: Vec<String> =
        sweep.warnings.iter().map(|warning| warning.message.clone()).collect();
    warnings.extend(data.report.warnings());
    warnings.extend(base.warnings().iter().cloned());
    warnings.extend(foresight::warnings(&sweep.model, base, &data)?);
    warnings.extend(foresight::beyond_the_end(sweep, &work));
    warnings.extend(note);
    let (at_most, validation_rows) = (planner.total(), data.validation.examples.len());
    let planned =
        Checkpoints::of(sweep, base.config(), &trials, validation_rows, memory.as_ref(), at_most)?;
    let adapters =
        at_most.map(|n| AdaptersOnDisk::of(base.config(), &trials, &work, &sweep.train, n));
    let disk = DiskPlan { adapters, checkpoints: planned, free: store::free_bytes(results) };
    warnings.extend(disk.warning(results));
    let (earlier, refusal) = match earlier(file, at_most, results)? {
        Ok(earlier) => {
            let folder = SweepFolder::at(results.join(&sweep.name));
            let ended = earlier.as_ref().map_or(0, |found| checkpoints::ended(&found.state));
            let no_room = planned.ask_for_room(&folder, ended, at_most).err();
            (earlier, no_room)
        }
        Err(refusal) => (None, Some(refusal)),
    };
    warnings
        .extend(earlier.as_ref().and_then(|found| replicates::hint(sweep, &found.state, results)));
    let report = data.report.clone();
    let total_trials = at_most.unwrap_or(trials.len());
    let mut time = None;
    if let Some(plan) = memory.as_ref().filter(|_| measures && refusal.is_none()) {
        match speed::predict(sweep, data, plan, &trials, &work, total_trials) {
            Ok(predicted) => time = predicted,
            Err(error) => warnings.push(format!("how long it takes is not known: {error}")),
        }
    }
    Ok(OwnFindings {
        name: sweep.name.clone(),
        fingerprint: sweep.fingerprint(),
        method: sweep.method,
        device,
        parameters: base.config().parameters(),
        weights: WeightFormats::of(base).map_err(unusable)?,
        trials: at_most,
        total: all.is_some().then(|| total(&trials, &work, &sweep.train)),
        per_trial: rows(&trials, &work),
        memory,
        memory_total: memory.map(|plan| plan.total()),
        time,
        disk,
        results: results.to_owned(),
        job_script: cluster::script(file, results, workers)?,
        data: report,
        warnings,
        extended: earlier.map_or_else(Vec::new, |found| found.extended),
        refusal,
    })
}

/// What `run` needs beside its inputs: earlier sweeps that have ended, and a folder for its results.
/// Returns what an earlier launch left there, or what `run` would be refused with.
fn earlier(
    file: &SweepFile,
    trials: Option<usize>,
    results: &Path,
) -> Result<Result<Option<Found>, Error>, Error> {
    let sweep = &file.sweep;
    if sweep.warm_start.is_empty() && !results.join(&sweep.name).exists() {
        return Ok(Ok(None));
    }
    let identity = inputs::identity(file, trials, results)?;
    warm_start::planner(sweep, &identity, None)?;
    Ok(SweepDir::look(results, &identity).map_err(Error::Store))
}

/// Tokens that schedules which do not depend on the number of epochs would save: of trials that
/// differ in `epochs` alone, the longest would train for all.
fn shareable(trials: &[Trial], work: &Workload, train: &TrainSettings) -> u64 {
    let mut groups: HashMap<ConfigKey, (u64, u64)> = HashMap::new();
    for (trial, (_, work)) in trials.iter().zip(work.trials()) {
        if trial.config.trajectory(train).is_none() {
            let key = TrialConfig { epochs: 0, ..trial.config.clone() }.key();
            let (sum, most) = groups.entry(key).or_default();
            *sum += work.train_tokens;
            *most = work.train_tokens.max(*most);
        }
    }
    groups.values().map(|(sum, most)| sum - most).sum()
}

fn total(trials: &[Trial], work: &Workload, train: &TrainSettings) -> TotalWork {
    let sum = |of: fn(&plan::Work) -> u64| work.trials().map(|(_, work)| of(work)).sum();
    TotalWork {
        steps: sum(|work| (work.steps - work.shared_steps).into()),
        train_tokens: sum(|work| work.train_tokens),
        shared_tokens: sum(|work| work.shared_tokens),
        shareable_tokens: shareable(trials, work, train),
        eval_tokens: sum(|work| work.eval_tokens),
    }
}

fn rows(trials: &[Trial], work: &Workload) -> Vec<PlannedTrial> {
    trials
        .iter()
        .zip(work.trials())
        .map(|(trial, (id, work))| PlannedTrial {
            trial: id.0,
            config: trial.config.clone(),
            work: *work,
        })
        .collect()
}
