//! What can be known of a sweep that another program trains: its trials, and the command line.

use std::path::Path;

use serde::Serialize;
use spec::{CommandSettings, ExecutorKind, Trial};
use store::SweepFolder;
use worker::CommandTrainer;

use super::earlier;
use crate::error::Error;
use crate::inputs::sweep_file::SweepFile;
use crate::plan::workload;

/// What was found of a sweep that another program trains.
#[derive(Debug, Serialize)]
pub struct ElsewhereFindings {
    /// The sweep's name.
    pub name: String,
    /// Hash of the resolved sweep.
    pub fingerprint: String,
    /// How trials are chosen.
    pub method: spec::Method,
    /// Trials in all (at most, for a method that may end before); absent without an end.
    pub trials: Option<usize>,
    /// What the shell will run for the first trial; absent where nothing is run.
    pub command: Option<String>,
    /// Commands at a time.
    pub max_parallel: Option<u32>,
    /// What to look at before it runs.
    pub warnings: Vec<String>,
    /// Why a run would not begin.
    #[serde(skip)]
    pub refusal: Option<Error>,
}

pub(super) fn check(file: &SweepFile, results: &Path) -> Result<ElsewhereFindings, Error> {
    let sweep = &file.sweep;
    let planner = planner::for_sweep(sweep);
    let all = workload::all_trials(&*planner);
    let first = workload::known_trials(sweep, all.as_deref()).into_iter().next();
    let settings = match &sweep.executor.kind {
        ExecutorKind::Command(settings) => Some(settings),
        _ => None,
    };
    let folder = SweepFolder::at(results.join(&sweep.name));
    let preview = |(settings, trial): (&CommandSettings, Trial)| {
        CommandTrainer::preview(sweep, settings, &trial, &folder)
    };
    Ok(ElsewhereFindings {
        name: sweep.name.clone(),
        fingerprint: sweep.fingerprint(),
        method: sweep.method,
        refusal: earlier(file, planner.total(), results).and_then(|found| found).err(),
        trials: planner.total(),
        command: settings.zip(first).map(preview).transpose()?,
        max_parallel: settings.map(|settings| settings.max_parallel),
        warnings: sweep.warnings.iter().map(|warning| warning.message.clone()).collect(),
    })
}
