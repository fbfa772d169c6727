//! `lorasweep export`: a trial's adapter, ready for PEFT.

use std::path::Path;

use spec::TrialId;
use store::SweepFolder;

use crate::args::ExportArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::export::{self, Export, Form, ORIGIN};
use crate::inputs::{self, Settings};
use crate::output::{self, Output};
use crate::replace;

pub fn run(args: &ExportArgs, output: Output) -> Result<Exit, CliError> {
    let folder = SweepFolder::open(&args.dir)?;
    let identity = folder.identity()?;
    let settings = Settings::of(&identity)?;
    let state = folder.state()?;
    let ranking = reporter::rank(&state, &settings.report, reporter::Lang::En);
    let trial = match args.trial {
        Some(number) => TrialId(number),
        None => export::best_trial(&folder, &state, &ranking)
            .ok_or_else(|| CliError::NothingToExport { dir: args.dir.clone() })?,
    };
    refuse_replacing(&args.to, args.force)?;
    let validation = if args.with_validation {
        Some(export::validation_rows(&identity, &settings)?)
    } else {
        None
    };
    let form = match (args.merge, args.gguf) {
        (true, _) => Form::Merged,
        (false, true) => Form::AdapterAndGguf,
        (false, false) => Form::Adapter,
    };
    // Merging refuses other weights by itself.
    let other_weights = match form {
        Form::Merged => None,
        Form::Adapter | Form::AdapterAndGguf => inputs::other_weights(&identity),
    };
    let export = Export {
        folder: &folder,
        state: &state,
        settings: &settings,
        trial,
        epoch: args.epoch,
        ranking: &ranking,
        form,
        identity: &identity,
        validation,
        other_weights,
    };
    let written = export.write(&args.to)?;
    for warning in &written.warnings {
        output.warning(warning);
    }
    let epoch = args.epoch.map_or_else(String::new, |epoch| format!(", epoch {epoch},"));
    output::result(&format!("Exported trial {trial}{epoch} to {}", args.to.display()));
    if let Some(merged) = &written.merged {
        output::result(&merged.in_words());
    }
    Ok(Exit::Done)
}

/// `--force` replaces an earlier export that is as it was written, never something else.
fn refuse_replacing(target: &Path, force: bool) -> Result<(), CliError> {
    let path = target.to_path_buf();
    replace::refuse_results(target)?;
    let Ok(found) = target.symlink_metadata() else { return Ok(()) };
    let refused = |why: String| Err(CliError::NotReplaced { path: path.clone(), why });
    if !found.is_dir() {
        return refused("it is a link or a file, not a folder".to_owned());
    }
    if target.read_dir().is_ok_and(|mut entries| entries.next().is_none()) {
        return Ok(());
    }
    if !force {
        return Err(CliError::Exists { path });
    }
    if !target.join(ORIGIN).is_file() {
        return refused(format!("it has no {ORIGIN}, so that it is no export of lorasweep"));
    }
    replace::refuse_foreign(target, export::OURS)
}
