//! `lorasweep export`: a trial's adapter, ready for PEFT.

use std::path::Path;

use spec::TrialId;
use store::SweepFolder;

use crate::args::ExportArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::export::{self, Export, Form, ORIGIN};
use crate::inputs::Settings;
use crate::output;

pub fn run(args: &ExportArgs) -> Result<Exit, CliError> {
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
        data_sha256: export::data_sha256(&identity),
        validation,
    };
    export.write(&args.to)?;
    let epoch = args.epoch.map_or_else(String::new, |epoch| format!(", epoch {epoch},"));
    output::result(&format!("Exported trial {trial}{epoch} to {}", args.to.display()));
    Ok(Exit::Done)
}

/// `--force` replaces an earlier export, never a folder of something else.
fn refuse_replacing(target: &Path, force: bool) -> Result<(), CliError> {
    let is_empty = || target.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    if !target.exists() || is_empty() {
        Ok(())
    } else if !force {
        Err(CliError::Exists { path: target.to_path_buf() })
    } else if target.join(ORIGIN).is_file() || target.join("adapter_config.json").is_file() {
        Ok(())
    } else {
        Err(CliError::NotAnExport { path: target.to_path_buf() })
    }
}
