//! `lorasweep check`: everything that can be known before training.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use data::{DataReport, PreparedData};
use serde::Serialize;
use spec::{ConfigKey, Sweep, SweepState, TrainSettings, Trial, TrialConfig};
use store::{SweepDir, SweepFolder};
use trainer::TrainerError;
use trainer::model::Format;
use trainer::plan::{self, Memory, Packing};

mod disk;
mod elsewhere;
mod replicates;

use self::disk::{Disk, Room};
use crate::args::{CheckArgs, RunArgs};
use crate::checkpoints::{self, Checkpoints};
use crate::error::CliError;
use crate::exit::Exit;
use crate::foresight;
use crate::inputs;
use crate::jobs;
use crate::output;
use crate::preflight::{self, Base};
use crate::sweep_file::{self, SweepFile};
use crate::warm_start;
use crate::worker_start;
use crate::workload::{self, MemoryPlan, Workload};

/// What `check` found.
#[derive(Serialize)]
struct Findings<'a> {
    name: &'a str,
    fingerprint: String,
    method: spec::Method,
    device: String,
    parameters: usize,
    /// How the weights are held: of the blocks' linear layers, and of embedding and output head.
    weights: Weights,
    /// Trials in all (at most, for a method that may end before); absent without an end.
    trials: Option<usize>,
    /// Work of all trials; absent when they are not known beforehand.
    total: Option<Total>,
    per_trial: Vec<TrialRow>,
    /// Absent where workers run on other machines, whose memory is not known here.
    memory: Option<MemoryPlan>,
    memory_total: Option<u64>,
    disk: Room,
    #[serde(skip)]
    results: &'a Path,
    /// The script of the first job, where workers are jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    job_script: Option<String>,
    data: &'a DataReport,
    warnings: Vec<String>,
    /// Why `run` would not begin.
    #[serde(skip)]
    refusal: Option<CliError>,
}

/// Number formats, each once.
#[derive(Serialize)]
struct Weights {
    linear_layers: Vec<&'static str>,
    tables: Vec<&'static str>,
}

impl Weights {
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

    fn in_words(&self) -> String {
        let (layers, tables) = (self.linear_layers.join(", "), self.tables.join(", "));
        if layers == tables {
            format!("weights as {layers}")
        } else {
            format!("linear layers as {layers}, embedding and output head as {tables}")
        }
    }
}

#[derive(Serialize)]
struct TrialRow {
    trial: u32,
    config: TrialConfig,
    #[serde(flatten)]
    work: plan::Work,
}

#[derive(Serialize)]
struct Total {
    steps: u64,
    train_tokens: u64,
    /// Tokens that trials need not train because another one does it for them.
    shared_tokens: u64,
    /// Tokens that schedules which do not depend on the number of epochs would save.
    shareable_tokens: u64,
    eval_tokens: u64,
}

pub fn run(args: &CheckArgs) -> Result<Exit, CliError> {
    let file = sweep_file::load_with_model(&args.sweep)?;
    let sweep = &file.sweep;
    if !sweep.executor.kind.is_own() {
        return elsewhere::run(args, &file);
    }
    let (base, data) = preflight::prepare(sweep)?;
    let findings = find(&file, &base, &data, &args.results)?;
    if args.json {
        output::json("the findings", &findings)?;
    } else {
        file.warn();
        output::result(&render(&findings));
    }
    if let Some(refusal) = findings.refusal {
        return Err(refusal);
    }
    if !args.json {
        output::result(&format!("\nNext:\n  {}", next("run", &file, &args.results)));
    }
    Ok(Exit::Done)
}

/// The command line that goes on from here.
fn next(command: &str, file: &SweepFile, results: &Path) -> String {
    let elsewhere = if results == Path::new(RunArgs::RESULTS) {
        String::new()
    } else {
        format!(" --results {}", results.display())
    };
    format!("lorasweep {command} {}{elsewhere}", file.path.display())
}

fn find<'a>(
    file: &'a SweepFile,
    base: &Base,
    data: &'a PreparedData,
    results: &'a Path,
) -> Result<Findings<'a>, CliError> {
    let sweep = &file.sweep;
    let unusable = |source| CliError::Model { path: sweep.model.clone(), source };
    let planner = planner::for_sweep(sweep);
    let all = workload::all_trials(&*planner);
    let trials = workload::known_trials(sweep, all.as_deref());
    let work = Workload::of(&trials, sweep, data);
    let (device, note, memory) = if sweep.executor.kind.slurm().is_some() {
        ("Slurm's nodes".to_owned(), None, None)
    } else {
        let first = worker_start::on_first_device(sweep)?;
        let device = trainer::select_device(first.executor.device, sweep.train.dtype);
        let (device, note) = device.map_err(unusable)?;
        let memory = MemoryPlan::of(&first, &device, base, &trials, data)?;
        (device.name(), note, Some(memory))
    };
    let mut warnings: Vec<String> =
        sweep.warnings.iter().map(|warning| warning.message.clone()).collect();
    warnings.extend(data.report.warnings());
    warnings.extend(base.warnings().iter().cloned());
    warnings.extend(foresight::warnings(&sweep.model, base, data)?);
    warnings.extend(foresight::idle_rule(sweep, &work));
    warnings.extend(note);
    let (at_most, validation_rows) = (planner.total(), data.validation.examples.len());
    let planned =
        Checkpoints::of(sweep, base.config(), &trials, validation_rows, memory.as_ref(), at_most)?;
    let adapters = at_most.map(|n| Disk::of(base.config(), &trials, &work, &sweep.train, n));
    let disk = Room { adapters, checkpoints: planned, free: store::free_bytes(results) };
    warnings.extend(disk.warning(results));
    let (earlier, refusal) = match earlier(sweep, at_most, results)? {
        Ok(earlier) => {
            let folder = SweepFolder::at(results.join(&sweep.name));
            let ended = earlier.as_ref().map_or(0, checkpoints::ended);
            let no_room = planned.ask_for_room(&folder, ended, at_most).err();
            (earlier, no_room)
        }
        Err(refusal) => (None, Some(refusal)),
    };
    warnings.extend(earlier.and_then(|state| replicates::hint(sweep, &state, results)));
    Ok(Findings {
        name: &sweep.name,
        fingerprint: sweep.fingerprint(),
        method: sweep.method,
        device,
        parameters: base.config().parameters(),
        weights: Weights::of(base).map_err(unusable)?,
        trials: at_most,
        total: all.is_some().then(|| total(&trials, &work, &sweep.train)),
        per_trial: rows(&trials, &work),
        memory,
        memory_total: memory.map(|plan| plan.total()),
        disk,
        results,
        job_script: jobs::script(file, results)?,
        data: &data.report,
        warnings,
        refusal,
    })
}

/// What `run` needs beside its inputs: earlier sweeps that have ended, and a folder for its results.
/// Returns what an earlier launch left there, or what `run` would be refused with.
fn earlier(
    sweep: &Sweep,
    trials: Option<usize>,
    results: &Path,
) -> Result<Result<Option<SweepState>, CliError>, CliError> {
    if sweep.warm_start.is_empty() && !results.join(&sweep.name).exists() {
        return Ok(Ok(None));
    }
    let identity = inputs::identity(sweep, trials, results)?;
    warm_start::planner(sweep, &identity, None)?;
    Ok(SweepDir::look(results, &identity).map_err(CliError::Store))
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

fn total(trials: &[Trial], work: &Workload, train: &TrainSettings) -> Total {
    let sum = |of: fn(&plan::Work) -> u64| work.trials().map(|(_, work)| of(work)).sum();
    Total {
        steps: sum(|work| (work.steps - work.shared_steps).into()),
        train_tokens: sum(|work| work.train_tokens),
        shared_tokens: sum(|work| work.shared_tokens),
        shareable_tokens: shareable(trials, work, train),
        eval_tokens: sum(|work| work.eval_tokens),
    }
}

fn rows(trials: &[Trial], work: &Workload) -> Vec<TrialRow> {
    trials
        .iter()
        .zip(work.trials())
        .map(|(trial, (id, work))| TrialRow {
            trial: id.0,
            config: trial.config.clone(),
            work: *work,
        })
        .collect()
}

fn render(found: &Findings) -> String {
    let mut out = format!("{}\n\n", found.data);
    let (name, method, device) = (found.name, found.method, &found.device);
    let _ = writeln!(out, "sweep `{name}`, {method}, on {device}");
    let (parameters, weights) = (grouped(found.parameters as u64), found.weights.in_words());
    let _ = writeln!(out, "model: {parameters} parameters, {weights}");
    match (&found.total, found.trials) {
        (Some(total), Some(trials)) => {
            let _ = writeln!(
                out,
                "{trials} trials, {} steps and {} tokens to train in all, {} to evaluate",
                grouped(total.steps),
                grouped(total.train_tokens),
                grouped(total.eval_tokens)
            );
        }
        (None, Some(trials)) => {
            let _ = writeln!(out, "at most {trials} trials, chosen by what comes out");
        }
        _ => out += "trials without end: set `run_cap` for a number\n",
    }
    out += &found.total.as_ref().map(sharing).unwrap_or_default();
    let _ = writeln!(out, "per trial: {}", ranges(&found.per_trial));
    out += &found
        .memory
        .as_ref()
        .map_or_else(|| "memory: each job plans with what its node gives it\n".to_owned(), memory);
    out += &found.disk.in_words(found.results);
    for warning in &found.warnings {
        if !out.contains(warning.as_str()) {
            let _ = writeln!(out, "warning: {warning}");
        }
    }
    if let Some(script) = &found.job_script {
        let _ = write!(out, "\nThe script of its first job:\n\n{script}");
    }
    out
}

/// What trials that differ in `epochs` alone save, or would.
fn sharing(total: &Total) -> String {
    let Total { train_tokens, shared_tokens, shareable_tokens, .. } = *total;
    let mut out = String::new();
    if shared_tokens > 0 {
        let _ = writeln!(
            out,
            "trials that differ in `epochs` alone are trained once: {} tokens saved",
            grouped(shared_tokens)
        );
    }
    if shareable_tokens > 0 {
        let share = 100.0 * shareable_tokens as f64 / train_tokens as f64;
        let _ = writeln!(
            out,
            "with `lr_scheduler: constant` (or warmup_stable_decay) and `warmup_steps` instead of \
             `warmup_ratio`, trials\nthat differ in `epochs` alone would be trained once: up to {} \
             tokens less ({share:.0} %)",
            grouped(shareable_tokens)
        );
    }
    out
}

fn memory(plan: &MemoryPlan) -> String {
    let Memory { base, slots, activations, .. } = plan.memory;
    let Packing { slots: trials, tokens_per_step, recompute, .. } = plan.packing;
    let free = plan
        .available
        .map_or_else(String::new, |free| format!("; {} are free beside the program", bytes(free)));
    let forms = match plan.bases {
        1 => "base".to_owned(),
        several => format!("base in {several} forms"),
    };
    let mut out = format!(
        "memory: about {} (program and data {}, {forms} {}, adapters and optimizer {}, \
         activations {}){free}\n",
        bytes(plan.total()),
        bytes(plan.process),
        bytes(base),
        bytes(slots),
        bytes(activations)
    );
    let _ = writeln!(
        out,
        "packing: {trials} trials at a time, up to {} tokens a step, activations {}",
        grouped(tokens_per_step as u64),
        if recompute { "computed again" } else { "kept" }
    );
    if plan.unfit > 0 {
        let _ = writeln!(
            out,
            "{} configurations of those drawn to plan with need more memory than there is: \
             `bayes` will not propose such ones",
            plan.unfit
        );
    }
    out
}

/// Least and most of each quantity over the trials.
fn ranges(rows: &[TrialRow]) -> String {
    let range = |what: &str, of: fn(&plan::Work) -> u64| {
        let least = rows.iter().map(|row| of(&row.work)).min().unwrap_or(0);
        let most = rows.iter().map(|row| of(&row.work)).max().unwrap_or(0);
        if least == most {
            format!("{} {what}", grouped(least))
        } else {
            format!("{} to {} {what}", grouped(least), grouped(most))
        }
    };
    [
        range("steps", |work| work.steps.into()),
        range("tokens", |work| work.train_tokens),
        range("evaluations", |work| work.evaluations.into()),
    ]
    .join(", ")
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes with a unit, two digits or more.
fn bytes(count: u64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    let mib = count as f64 / MIB;
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_bytes_have_units() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(5 << 20), "5 MiB");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
    }
}
