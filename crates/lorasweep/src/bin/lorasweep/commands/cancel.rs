//! `lorasweep cancel`: a running sweep saves and ends.

use std::time::{Duration, Instant};

use lorasweep::Sweep;

use crate::args::CancelArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

/// A step of a large model may take a while; saving comes after it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

pub fn run(args: &CancelArgs) -> Result<Exit, CliError> {
    let sweep = &args.sweep.open()?;
    let holder = sweep.holder()?;
    // What cannot be read may still be asked to end.
    if holder.is_none() && sweep.state().is_ok_and(|state| state.finished) {
        output::result("The sweep has finished: there is nothing to cancel.");
        return cancel_jobs(sweep);
    }
    sweep.cancel()?;
    match holder {
        None => output::result(
            "No process of this machine drives the sweep. Workers that still run elsewhere save \
             and end within seconds.",
        ),
        Some(holder) => {
            output::note(&format!("Asked {holder} to save and end."));
            if is_free_in_time(sweep)? {
                output::result("It has ended; `lorasweep run` resumes from what is saved.");
            } else {
                output::result("It has not ended yet; it does after its current step.");
            }
        }
    }
    cancel_jobs(sweep)
}

fn cancel_jobs(sweep: &Sweep) -> Result<Exit, CliError> {
    sweep.cancel_jobs(&mut |job, worker, state| {
        output::result(&format!("Cancelled job {job} ({worker}), which was {state}."));
    })?;
    Ok(Exit::Done)
}

fn is_free_in_time(sweep: &Sweep) -> Result<bool, CliError> {
    let began = Instant::now();
    while began.elapsed() < LONGEST_WAIT {
        if sweep.holder()?.is_none() {
            return Ok(true);
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    Ok(false)
}
