//! `lorasweep check`: everything that can be known before training.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use lorasweep::spec::ExecutorKind;
use lorasweep::trainer::plan::{Memory, Packing, Work};
use lorasweep::{
    DiskPlan, ElsewhereFindings, Findings, MemoryPlan, OwnFindings, PlannedTrial, PredictedTime,
    TotalWork, WeightFormats, bytes,
};

use crate::args::CheckArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::progress::in_words;
use crate::{output, program, warn};

pub fn run(args: &CheckArgs) -> Result<Exit, CliError> {
    let mut sweep = args.sweep.open()?.with_workers(program()?);
    sweep.fetch_model(&mut output::note)?;
    let findings = if args.no_time { sweep.check()? } else { sweep.check_with_time()? };
    if args.json {
        output::json("the findings", &findings)?;
    } else {
        warn(&sweep);
        output::result(&match &findings {
            Findings::Own(found) => render(found),
            Findings::Elsewhere(found) => render_elsewhere(found),
        });
    }
    if let Some(refusal) = findings.refusal() {
        return Err(refusal.into());
    }
    if !args.json {
        let is_asked =
            sweep.resolved().is_some_and(|it| it.executor.kind == ExecutorKind::External);
        let command = if is_asked { "ask" } else { "run" };
        output::result(&format!("\nNext:\n  lorasweep {command} {}", args.sweep.in_words()));
    }
    Ok(Exit::Done)
}

fn render(found: &OwnFindings) -> String {
    let mut out = format!("{}\n\n", found.data);
    let (name, method, device) = (&found.name, found.method, &found.device);
    let _ = writeln!(out, "sweep `{name}`, {method}, on {device}");
    if !found.extended.is_empty() {
        let _ = writeln!(out, "`run` continues the sweep that has begun, with");
        found.extended.iter().for_each(|change| {
            let _ = writeln!(out, "  {change}");
        });
    }
    let (parameters, weights) = (grouped(found.parameters as u64), weights(&found.weights));
    let _ = writeln!(out, "model: {parameters} parameters, {weights}");
    match (&found.total, found.trials) {
        (Some(total), Some(trials)) => {
            let planned = found.per_trial.len();
            let _ = writeln!(
                out,
                "{planned} trials, {} steps and {} tokens to train in all, {} to evaluate",
                grouped(total.steps),
                grouped(total.train_tokens),
                grouped(total.eval_tokens)
            );
            if trials > planned {
                let _ = writeln!(
                    out,
                    "and {} more of the best configurations under other seeds (`replicates`), each with \
                     the steps of its configuration",
                    trials - planned
                );
            }
        }
        (None, Some(trials)) => {
            let _ = writeln!(out, "at most {trials} trials, chosen by what comes out");
        }
        _ => out += "trials without end: set `run_cap` for a number\n",
    }
    out += &found.total.as_ref().map(sharing).unwrap_or_default();
    let _ = writeln!(out, "per trial: {}", ranges(&found.per_trial));
    out += &found.time.as_ref().map(time).unwrap_or_default();
    out += &found
        .memory
        .as_ref()
        .map_or_else(|| "memory: each job plans with what its node gives it\n".to_owned(), memory);
    out += &disk(&found.disk, &found.results);
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

/// A sweep that another program trains.
fn render_elsewhere(found: &ElsewhereFindings) -> String {
    let mut out = format!("sweep `{}`, {}, ", found.name, found.method);
    let _ = match found.trials {
        Some(trials) => writeln!(out, "at most {trials} trials"),
        None => writeln!(out, "trials without end: set `run_cap` for a number"),
    };
    match (&found.command, found.max_parallel) {
        (Some(command), Some(parallel)) => {
            let _ =
                writeln!(out, "each is a command, {parallel} at a time; for instance\n  {command}");
        }
        _ => {
            out += "they are trained elsewhere\n";
        }
    }
    out
}

/// The number formats of the base model.
fn weights(formats: &WeightFormats) -> String {
    let (layers, tables) = (formats.linear_layers.join(", "), formats.tables.join(", "));
    if layers == tables {
        format!("weights as {layers}")
    } else {
        format!("linear layers as {layers}, embedding and output head as {tables}")
    }
}

/// What the sweep takes on disk, in one line.
fn disk(room: &DiskPlan, results: &Path) -> String {
    let adapters = room.adapters.as_ref().map_or_else(
        || "the adapter of each trial".to_owned(),
        |adapters| {
            let each = match adapters.epoch_adapters {
                0 => String::new(),
                count => format!(" and of {} epochs", grouped(count)),
            };
            format!(
                "up to {} for the adapters of {} best evaluations{each}",
                bytes(adapters.bytes),
                grouped(adapters.best_adapters - 1)
            )
        },
    );
    let free = match room.free {
        Some(free) => format!("; {} are free in `{}`", bytes(free), results.display()),
        None => String::new(),
    };
    let trials = match room.checkpoints.trials() {
        1 => "1 trial".to_owned(),
        several => format!("{} trials", grouped(several)),
    };
    let checkpoints = bytes(room.checkpoints.bytes());
    format!("disk: {adapters}, and {checkpoints} for checkpoints of {trials} at a time{free}\n")
}

/// What trials that differ in `epochs` alone save, or would.
fn sharing(total: &TotalWork) -> String {
    let TotalWork { train_tokens, shared_tokens, shareable_tokens, .. } = *total;
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
fn ranges(rows: &[PlannedTrial]) -> String {
    let range = |what: &str, of: fn(&Work) -> u64| {
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

/// How long it takes, and what of it.
fn time(time: &PredictedTime) -> String {
    let words = |seconds: f64| {
        if seconds < 10.0 {
            return format!("{seconds:.2} s");
        }
        in_words(Duration::from_secs_f64(seconds.min(1e9)))
    };
    let share = 100.0 * time.evaluation_seconds / time.seconds.max(f64::MIN_POSITIVE);
    let (more, less) =
        if share > 50.0 { ("evaluating", share) } else { ("training", 100.0 - share) };
    format!(
        "time: about {} in all, {less:.0} % of it {more}; {} a trial, {} an evaluation, {} tokens/s \
         (a few steps were measured)\n",
        words(time.seconds),
        words(time.seconds_per_trial),
        words(time.seconds_per_evaluation),
        grouped(time.tokens_per_second as u64)
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
