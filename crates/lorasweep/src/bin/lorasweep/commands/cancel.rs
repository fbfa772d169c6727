//! `lorasweep cancel`: a running sweep saves and ends.

use std::time::{Duration, Instant};

use store::SweepFolder;
use worker::WorkerError;
use worker::launch::Launcher;

use super::status;
use crate::args::CancelArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::jobs;
use crate::output;

/// A step of a large model may take a while; saving comes after it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

pub fn run(args: &CancelArgs) -> Result<Exit, CliError> {
    let folders = status::find(&args.path, &args.results)?;
    let [folder] = &folders[..] else {
        return Err(CliError::NotOneSweep { path: args.path.clone(), found: folders.len() });
    };
    let holder = folder.holder()?;
    // What cannot be read may still be asked to end.
    if holder.is_none() && folder.state().is_ok_and(|state| state.finished) {
        output::result("The sweep has finished: there is nothing to cancel.");
        return cancel_jobs(folder);
    }
    folder.cancel()?;
    match holder {
        None => output::result(
            "No process of this machine drives the sweep. Workers that still run elsewhere save \
             and end within seconds.",
        ),
        Some(holder) => {
            output::note(&format!("Asked {holder} to save and end."));
            if is_free_in_time(folder)? {
                output::result("It has ended; `lorasweep run` goes on from what is saved.");
            } else {
                output::result("It has not ended yet; it does after its current step.");
            }
        }
    }
    cancel_jobs(folder)
}

/// Ends jobs that are left: those in a queue look at no file. One that runs saves first.
fn cancel_jobs(folder: &SweepFolder) -> Result<Exit, CliError> {
    let Some(mut cluster) = jobs::cluster(folder, &folder.identity()?.name)? else {
        return Ok(Exit::Done);
    };
    for (worker, (job, hint)) in cluster.jobs().map_err(WorkerError::Launch)? {
        cluster.kill(&job).map_err(WorkerError::Launch)?;
        let state = jobs::in_words(&hint);
        output::result(&format!("Cancelled job {} ({worker}), which was {state}.", job.0));
    }
    Ok(Exit::Done)
}

fn is_free_in_time(folder: &SweepFolder) -> Result<bool, CliError> {
    let began = Instant::now();
    while began.elapsed() < LONGEST_WAIT {
        if folder.holder()?.is_none() {
            return Ok(true);
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    Ok(false)
}
