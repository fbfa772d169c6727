//! `lorasweep worker`: trains what the driver of a sweep orders.

use lorasweep::{WorkerEnd, WorkerOptions};

use crate::args::WorkerArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub fn run(args: &WorkerArgs) -> Result<Exit, CliError> {
    let options = WorkerOptions {
        folder: args.sweep.clone(),
        file: args.file.clone(),
        name: args.name.clone(),
        seq: args.seq,
        device: args.device.clone(),
        memory_limit: args.memory_limit,
        is_piped: args.piped,
        driver: args.driver.clone(),
    };
    Ok(match lorasweep::work(&options, &mut output::note)? {
        WorkerEnd::Done => Exit::Done,
        WorkerEnd::Interrupted => Exit::Interrupted,
    })
}
