//! What can be asked of an export, and what is refused before anything is written.

use std::path::{Path, PathBuf};

use reporter::{Lang, Ranking};
use spec::TrialId;
use store::SweepFolder;

use super::files::{ORIGIN, OURS};
use super::{Export, Form, Merged, Written, best_trial, instead_of_choice, validation_rows};
use crate::error::Error;
use crate::inputs::{self, Settings};
use crate::replace;

/// What to export, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// The trial; `None`: the one that the report chose.
    pub trial: Option<TrialId>,
    /// As it was at the end of this epoch, instead of its best evaluation; the sweep must have kept
    /// it (`save_strategy: epoch`).
    pub epoch: Option<u32>,
    /// In which form.
    pub form: Form,
    /// The folder to write.
    pub to: PathBuf,
    /// Replace an earlier export there, unless it was changed since.
    pub force: bool,
    /// Add the tokenised validation rows, to check the loss elsewhere.
    pub with_validation: bool,
}

impl ExportOptions {
    /// The adapter that the report chose, into the new folder `to`.
    pub fn best(to: impl Into<PathBuf>) -> Self {
        Self {
            trial: None,
            epoch: None,
            form: Form::Adapter,
            to: to.into(),
            force: false,
            with_validation: false,
        }
    }
}

/// What an export wrote.
#[derive(Debug)]
pub struct Exported {
    /// The trial.
    pub trial: TrialId,
    /// How a merged model compares with base and adapter.
    pub merged: Option<Merged>,
    /// What is not as it should be.
    pub warnings: Vec<String>,
}

/// Exports a trial of the sweep in `folder`.
pub fn export(folder: &SweepFolder, options: &ExportOptions) -> Result<Exported, Error> {
    let identity = folder.identity()?;
    let settings = Settings::of(&identity)?;
    let state = folder.state()?;
    let ranking: Ranking = reporter::rank(&state, &settings.report, Lang::En);
    let trial = match options.trial {
        Some(trial) => trial,
        None => best_trial(folder, &state, &ranking)
            .ok_or_else(|| Error::NothingToExport { dir: folder.path().to_path_buf() })?,
    };
    let instead = match options.trial {
        Some(_) => None,
        None => instead_of_choice(&state, &ranking, trial),
    };
    refuse_replacing(&options.to, options.force)?;
    let validation =
        if options.with_validation { Some(validation_rows(&identity, &settings)?) } else { None };
    // Merging refuses other weights by itself.
    let other_weights = match options.form {
        Form::Merged => None,
        Form::Adapter | Form::AdapterAndGguf => inputs::other_weights(&identity),
    };
    let export = Export {
        folder,
        state: &state,
        settings: &settings,
        trial,
        epoch: options.epoch,
        ranking: &ranking,
        form: options.form,
        identity: &identity,
        validation,
        other_weights,
    };
    let Written { merged, warnings } = export.write(&options.to)?;
    let warnings = instead.into_iter().chain(warnings).collect();
    Ok(Exported { trial, merged, warnings })
}

/// An earlier export that is as it was written is replaced where that is asked for, never something
/// else.
fn refuse_replacing(target: &Path, force: bool) -> Result<(), Error> {
    let path = target.to_path_buf();
    replace::refuse_results(target)?;
    let Ok(found) = target.symlink_metadata() else { return Ok(()) };
    let refused = |why: String| Err(Error::NotReplaced { path: path.clone(), why });
    if !found.is_dir() {
        return refused("it is a link or a file, not a folder".to_owned());
    }
    if target.read_dir().is_ok_and(|mut entries| entries.next().is_none()) {
        return Ok(());
    }
    if !force {
        return Err(Error::Exists { path });
    }
    if !target.join(ORIGIN).is_file() {
        return refused(format!("it has no {ORIGIN}, so that it is no export of lorasweep"));
    }
    replace::refuse_foreign(target, OURS)
}
