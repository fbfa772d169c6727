//! `lorasweep export`: a trial's adapter, ready for PEFT.

use std::path::Path;

use spec::TrialId;
use store::SweepFolder;

use crate::args::ExportArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::export::{self, Export, Form, ORIGIN};
use crate::inputs::Settings;
use crate::output::{self, Output};

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

/// `--force` replaces an earlier export, never a folder of something else or one with something
/// else in it.
fn refuse_replacing(target: &Path, force: bool) -> Result<(), CliError> {
    let path = target.to_path_buf();
    let Ok(found) = target.symlink_metadata() else { return Ok(()) };
    if !found.is_dir() {
        let why = "it is a link or a file, not a folder".to_owned();
        return Err(CliError::NotAnExport { path, why });
    }
    if target.read_dir().is_ok_and(|mut entries| entries.next().is_none()) {
        return Ok(());
    }
    if !force {
        return Err(CliError::Exists { path });
    }
    if !target.join(ORIGIN).is_file() {
        let why = format!("it has no {ORIGIN}, so that it is no export of lorasweep");
        return Err(CliError::NotAnExport { path, why });
    }
    match export::foreign_file(target)? {
        None => Ok(()),
        Some(foreign) => {
            let why = format!("`{}` is no file of an export", foreign.display());
            Err(CliError::NotAnExport { path, why })
        }
    }
}
