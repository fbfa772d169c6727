//! `lorasweep status`: how far sweeps are, also while another process runs them.

use std::fmt::Write as _;

use lorasweep::spec::printable_line;
use lorasweep::{JobStatus, Status, Sweep, TrialProgress, WorkerStatus};

use crate::args::StatusArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub fn run(args: &StatusArgs) -> Result<Exit, CliError> {
    let found = Sweep::find(&args.path, &args.results)?;
    let one = found.len() == 1;
    let sweeps = found.iter().map(Sweep::status).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        output::json("the status", &sweeps)?;
        return Ok(Exit::Done);
    }
    for sweep in &sweeps {
        output::result(&headline(sweep));
        if one {
            if !sweep.workers.is_empty() {
                output::result(&workers_table(&sweep.workers));
            }
            output::result(&jobs_table(sweep));
            output::result(&table(&sweep.trials, &sweep.metric));
        }
    }
    Ok(Exit::Done)
}

fn jobs_table(sweep: &Status) -> String {
    let line = |job: &JobStatus| format!("job {} ({}): {}\n", job.job, job.worker, job.state);
    let lines: String = sweep.jobs.iter().map(line).collect();
    let unknown = sweep.jobs_unknown.iter().map(|why| format!("jobs are not known: {why}\n"));
    lines + &unknown.collect::<String>()
}

fn workers_table(workers: &[WorkerStatus]) -> String {
    let mut out = String::new();
    for worker in workers {
        let trials: Vec<String> = worker.trials.iter().map(|trial| format!("{trial:03}")).collect();
        let trials = if trials.is_empty() { "no trial".to_owned() } else { trials.join(" ") };
        let _ = writeln!(
            out,
            "{} on {} ({}, process {}), last heard of {} s ago: {trials}",
            worker.worker, worker.place, worker.device, worker.pid, worker.heartbeat_age
        );
    }
    out
}

fn headline(sweep: &Status) -> String {
    // The name is that in the folder, which another person may have made.
    let name = printable_line(&sweep.name);
    let planned = sweep.planned_trials.map_or_else(String::new, |n| format!(" of {n}"));
    let mut line =
        format!("{name}: {}, {}{planned} trials ended", sweep.state, sweep.finished_trials);
    if let (Some(trial), Some(value)) = (sweep.best_trial, sweep.best_value) {
        // A metric's name may be a stranger's, too.
        let metric = printable_line(&sweep.metric);
        let _ = write!(line, ", best {trial:03} with {metric} {value:.4}");
    }
    if let Some(holder) = &sweep.holder {
        let _ = write!(line, " (by {holder})");
    }
    line
}

fn table(trials: &[TrialProgress], metric: &str) -> String {
    let metric = printable_line(metric);
    let width = metric.chars().count().max(10);
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
    let mut out = format!(
        "{:>5} {:>13} {:>10} {:>10} {metric:>width$}  {}\n",
        "trial", "step", "train_loss", "last", "status"
    );
    for trial in trials {
        let total = trial.total_steps.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let _ = writeln!(
            out,
            "{:>5} {:>13} {:>10} {:>10} {:>width$}  {}",
            format!("{:03}", trial.trial),
            format!("{}/{total}", trial.step),
            number(trial.train_loss),
            number(trial.last_eval_loss),
            number(trial.best_value),
            trial.status
        );
    }
    out
}
