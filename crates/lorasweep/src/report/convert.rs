//! A sweep's results in the form of other tools.

use std::fs;
use std::path::{Path, PathBuf};

use reporter::diagnose::diagnose_all;
use reporter::{ExportFile, Lang};
use store::{BuildError, Ours, SweepFolder};

use crate::error::Error;
use crate::inputs::Settings;
use crate::replace;

/// The files of `--parquet`.
const EVALUATIONS: &str = "evaluations.parquet";
const RANKING: &str = "ranking.parquet";

/// Says what `convert` wrote into a folder. Its name begins with a dot, so that readers of such folders
/// pass it over.
const CHECKSUMS: &str = ".lorasweep-SHA256SUMS";
const EVENT_FILES: Ours = Ours::by_checksums(is_in_events, CHECKSUMS);
const TABLES: Ours = Ours::by_checksums(is_in_tables, CHECKSUMS);
const EXPERIMENT: Ours = Ours::by_checksums(is_in_experiment, CHECKSUMS);

/// Into which forms results are converted, and where to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConvertOptions {
    /// A folder for TensorBoard's event files, with the HParams tab.
    pub tensorboard: Option<PathBuf>,
    /// A file for an Optuna study, as a journal.
    pub optuna: Option<PathBuf>,
    /// A folder for an MLflow experiment: a file store that may hold others.
    pub mlflow: Option<PathBuf>,
    /// A file for all evaluations of all trials as one table.
    pub csv: Option<PathBuf>,
    /// A folder for all evaluations and the ranking as Parquet files.
    pub parquet: Option<PathBuf>,
    /// Replace what an earlier conversion wrote there, unless it was changed since.
    pub force: bool,
}

/// Something that a conversion has written, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Converted<'a> {
    /// TensorBoard's event files.
    TensorBoard(&'a Path),
    /// An Optuna study.
    Optuna(&'a Path),
    /// An MLflow file store.
    Mlflow(&'a Path),
    /// A table as CSV or Parquet.
    Table(&'a Path),
}

/// Writes the results of the sweep in `folder` as `options` say; `written` is called for each when it is
/// there.
pub fn convert(
    folder: &SweepFolder,
    options: &ConvertOptions,
    written: &mut dyn FnMut(Converted<'_>),
) -> Result<(), Error> {
    let settings = Settings::of(&folder.identity()?)?;
    let state = folder.state()?;
    for path in
        [&options.tensorboard, &options.optuna, &options.mlflow, &options.csv, &options.parquet]
    {
        path.as_deref().map_or(Ok(()), replace::refuse_results)?;
    }
    for (path, ours) in [(&options.tensorboard, EVENT_FILES), (&options.parquet, TABLES)] {
        if let Some(path) = path {
            refuse_replacing(path, options.force, ours)?;
        }
    }
    if let Some(path) = &options.tensorboard {
        let files = reporter::tensorboard(&state);
        store::replace_dir(path, EVENT_FILES, |dir| write_files(dir, &files, EVENT_FILES))?;
        written(Converted::TensorBoard(path));
    }
    if let Some(path) = &options.optuna {
        let diagnoses = diagnose_all(&state, &settings.report, Lang::En);
        let journal = reporter::optuna_journal(&state, &diagnoses);
        // A study that was continued elsewhere has records of other workers.
        let is_record = |line: &str| line.contains("\"worker_id\":\"lorasweep\"");
        write_over(path, &journal, options.force, |there| there.lines().all(is_record))?;
        written(Converted::Optuna(path));
    }
    if let Some(path) = &options.mlflow {
        let store = std::path::absolute(path).map_err(Error::io("resolve", path))?;
        let diagnoses = diagnose_all(&state, &settings.report, Lang::En);
        let store = store.to_string_lossy();
        let experiment = reporter::mlflow(&state, &diagnoses, &store);
        // Other experiments beside it stay as they are.
        let target = path.join(&experiment.id);
        refuse_replacing(&target, options.force, EXPERIMENT)?;
        store::replace_dir(&target, EXPERIMENT, |dir| {
            for folder in &experiment.folders {
                fs::create_dir_all(dir.join(folder))?;
            }
            write_files(dir, &experiment.files, EXPERIMENT)
        })?;
        written(Converted::Mlflow(path));
    }
    if let Some(path) = &options.csv {
        let table = reporter::evaluations_csv(&state)?;
        // Nothing is lost where all that is there is in the new table.
        let is_ours = |there: &str| reporter::is_within_evaluations(there, &table);
        write_over(path, &table, options.force, is_ours)?;
        written(Converted::Table(path));
    }
    if let Some(path) = &options.parquet {
        let ranking = reporter::rank(&state, &settings.report, Lang::En);
        let (evaluations, ranking) =
            (reporter::evaluations_parquet(&state)?, reporter::ranking_parquet(&ranking)?);
        let file = |name: &str, bytes| ExportFile { path: name.to_owned(), bytes };
        let files = [file(EVALUATIONS, evaluations), file(RANKING, ranking)];
        store::replace_dir(path, TABLES, |dir| write_files(dir, &files, TABLES))?;
        for file in &files {
            written(Converted::Table(&path.join(&file.path)));
        }
    }
    Ok(())
}

fn write_files(dir: &Path, files: &[ExportFile], ours: Ours) -> Result<(), BuildError> {
    for file in files {
        let path = dir.join(&file.path);
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        fs::write(&path, &file.bytes)?;
    }
    Ok(ours.write_checksums(dir)?)
}

/// Whether `--tensorboard` writes a file of this relative path.
fn is_in_events(path: &Path) -> bool {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    matches!(parts[..], [run, file] if is_run(run)
        && file.starts_with("events.out.tfevents.") && file.ends_with(".lorasweep"))
}

fn is_run(name: &str) -> bool {
    name == "base" || name.starts_with("base-") || name.starts_with("trial-")
}

/// Whether `--mlflow` writes a file of this path, relative to its experiment. What MLflow's users
/// add as artifacts is theirs.
fn is_in_experiment(path: &Path) -> bool {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    match parts[..] {
        ["meta.yaml"] | [_, "meta.yaml"] | ["tags", _] => true,
        [_, folder, ..] => ["metrics", "params", "tags"].contains(&folder),
        _ => false,
    }
}

/// Whether `--parquet` writes a file of this name.
fn is_in_tables(path: &Path) -> bool {
    path == Path::new(EVALUATIONS) || path == Path::new(RANKING)
}

/// `--force` replaces a folder that `convert` wrote and nobody has changed since.
fn refuse_replacing(path: &Path, force: bool, ours: Ours) -> Result<(), Error> {
    let Ok(found) = path.symlink_metadata() else { return Ok(()) };
    if !force {
        return Err(Error::Exists { path: path.to_path_buf() });
    }
    if !found.is_dir() {
        let why = "it is a link or a file, not a folder".to_owned();
        return Err(Error::NotReplaced { path: path.to_path_buf(), why });
    }
    replace::refuse_foreign(path, ours)
}

/// `--force` replaces a file of which `is_ours` says that `convert` wrote it.
fn write_over(
    path: &Path,
    text: &str,
    force: bool,
    is_ours: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    if let Ok(found) = path.symlink_metadata() {
        if !force {
            return Err(Error::Exists { path: path.to_path_buf() });
        }
        let is_ours = || fs::read_to_string(path).is_ok_and(|there| is_ours(&there));
        if !found.is_file() || (found.len() > 0 && !is_ours()) {
            let why =
                "`lorasweep convert` did not write it for this sweep, or it was changed since";
            return Err(Error::NotReplaced { path: path.to_path_buf(), why: why.to_owned() });
        }
    }
    Ok(store::write_file(path, text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_convert_writes_is_its_own() {
        let events = "trial-003/events.out.tfevents.1700000000.lorasweep";
        assert!(is_in_events(Path::new(events)) && is_in_tables(Path::new(RANKING)));
        for name in ["meta.yaml", "0f/meta.yaml", "0f/metrics/eval_loss", "0f/tags/mlflow.note"] {
            assert!(is_in_experiment(Path::new(name)), "{name}");
        }
        for name in ["trial-003/events.out.tfevents.17.node", "notes.txt", "mine/events.csv"] {
            assert!(!is_in_events(Path::new(name)), "{name}");
        }
        assert!(!is_in_experiment(Path::new("0f/artifacts/model.bin")));
    }
}
