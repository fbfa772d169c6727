//! `lorasweep export`: a trial's adapter, ready for PEFT.

use lorasweep::spec::TrialId;
use lorasweep::{ExportOptions, Form};

use crate::args::ExportArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{self, Output};

pub fn run(args: &ExportArgs, output: Output) -> Result<Exit, CliError> {
    let exported = args.sweep.open()?.export(&ExportOptions {
        trial: args.trial.map(TrialId),
        epoch: args.epoch,
        form: match (args.merge, args.gguf) {
            (true, _) => Form::Merged,
            (false, true) => Form::AdapterAndGguf,
            (false, false) => Form::Adapter,
        },
        to: args.to.clone(),
        force: args.force,
        with_validation: args.with_validation,
    })?;
    for warning in &exported.warnings {
        output.warning(warning);
    }
    let epoch = args.epoch.map_or_else(String::new, |epoch| format!(", epoch {epoch},"));
    output::result(&format!("Exported trial {}{epoch} to {}", exported.trial, args.to.display()));
    if let Some(merged) = &exported.merged {
        output::result(&merged.in_words());
    }
    Ok(Exit::Done)
}
