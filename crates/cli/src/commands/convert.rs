//! `lorasweep convert`: a sweep's results in the form of other tools.

use std::fs;
use std::path::{Path, PathBuf};

use reporter::diagnose::diagnose_all;
use reporter::{ExportFile, Lang};
use store::{BuildError, IsOurs, SweepFolder};

use crate::args::ConvertArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::inputs::Settings;
use crate::output;
use crate::publish;

/// The files of `--parquet`.
const EVALUATIONS: &str = "evaluations.parquet";
const RANKING: &str = "ranking.parquet";

pub fn run(args: &ConvertArgs) -> Result<Exit, CliError> {
    let folder = SweepFolder::open(&args.dir)?;
    let settings = Settings::of(&folder.identity()?)?;
    let (state, spans) = publish::history(&folder)?;
    for (path, is_ours) in
        [(&args.tensorboard, is_in_events as IsOurs), (&args.parquet, is_in_tables)]
    {
        if let Some(path) = path {
            refuse_replacing(path, args.force, is_ours)?;
        }
    }
    if let Some(path) = &args.tensorboard {
        let files = reporter::tensorboard(&state, &spans);
        store::replace_dir(path, is_in_events, |dir| write_files(dir, &files))?;
        output::result(&format!("tensorboard --logdir {}", path.display()));
    }
    if let Some(path) = &args.optuna {
        let diagnoses = diagnose_all(&state, &settings.report, Lang::En);
        let journal = reporter::optuna_journal(&state, &diagnoses, &spans);
        // A study that somebody continued has records of other workers.
        let is_record = |line: &str| line.contains("\"worker_id\":\"lorasweep\"");
        write_over(path, &journal, args.force, |there| there.lines().all(is_record))?;
        output::result(&format!("optuna-dashboard {}", path.display()));
    }
    if let Some(path) = &args.mlflow {
        let store = std::path::absolute(path).map_err(CliError::io("resolve", path))?;
        let diagnoses = diagnose_all(&state, &settings.report, Lang::En);
        let store = store.to_string_lossy();
        let experiment = reporter::mlflow(&state, &diagnoses, &spans, &store);
        // Other experiments beside it stay as they are.
        let target = path.join(&experiment.id);
        if target.exists() && !args.force {
            return Err(CliError::Exists { path: target });
        }
        store::replace_dir(&target, is_in_experiment, |dir| {
            for folder in &experiment.folders {
                fs::create_dir_all(dir.join(folder))?;
            }
            write_files(dir, &experiment.files)
        })?;
        // Later versions read file stores only when they are told to.
        let command = "MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri";
        output::result(&format!("{command} {}", path.display()));
    }
    if let Some(path) = &args.csv {
        let table = reporter::evaluations_csv(&state)?;
        let is_ours = |there: &str| there.lines().next() == table.lines().next();
        write_over(path, &table, args.force, is_ours)?;
        output::result(&path.display().to_string());
    }
    if let Some(path) = &args.parquet {
        let ranking = reporter::rank(&state, &settings.report, Lang::En);
        let (evaluations, ranking) =
            (reporter::evaluations_parquet(&state)?, reporter::ranking_parquet(&ranking)?);
        let file = |name: &str, bytes| ExportFile { path: name.to_owned(), bytes };
        let files = [file(EVALUATIONS, evaluations), file(RANKING, ranking)];
        store::replace_dir(path, is_in_tables, |dir| write_files(dir, &files))?;
        for file in &files {
            output::result(&path.join(&file.path).display().to_string());
        }
    }
    Ok(Exit::Done)
}

fn write_files(dir: &Path, files: &[ExportFile]) -> Result<(), BuildError> {
    for file in files {
        let path = dir.join(&file.path);
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        fs::write(&path, &file.bytes)?;
    }
    Ok(())
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

/// `--force` replaces files and folders that `convert` wrote, never something else.
fn refuse_replacing(path: &Path, force: bool, is_ours: IsOurs) -> Result<(), CliError> {
    let Ok(found) = path.symlink_metadata() else { return Ok(()) };
    let refused = |why: String| Err(CliError::NotAnExport { path: path.to_path_buf(), why });
    if !force {
        return Err(CliError::Exists { path: path.to_path_buf() });
    }
    if !found.is_dir() {
        return refused("it is a link or a file, not a folder".to_owned());
    }
    match foreign(path, Path::new(""), is_ours)? {
        Some(name) => refused(format!("`{}` is not one of its files", name.display())),
        None => Ok(()),
    }
}

/// The first thing below `root` that is not ours.
fn foreign(root: &Path, below: &Path, is_ours: IsOurs) -> Result<Option<PathBuf>, CliError> {
    let dir = root.join(below);
    let entries: Vec<fs::DirEntry> =
        fs::read_dir(&dir).and_then(Iterator::collect).map_err(CliError::io("list", &dir))?;
    for entry in entries {
        let name = below.join(entry.file_name());
        let kind = entry.file_type().map_err(CliError::io("look at", entry.path()))?;
        let found = if kind.is_dir() {
            foreign(root, &name, is_ours)?
        } else {
            (!kind.is_file() || !is_ours(&name)).then_some(name)
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// `--force` replaces a file of which `is_ours` says that `convert` wrote it.
fn write_over(
    path: &Path,
    text: &str,
    force: bool,
    is_ours: impl Fn(&str) -> bool,
) -> Result<(), CliError> {
    if let Ok(found) = path.symlink_metadata() {
        if !force {
            return Err(CliError::Exists { path: path.to_path_buf() });
        }
        let there = || fs::read_to_string(path).unwrap_or_default();
        if !found.is_file() || (found.len() > 0 && !is_ours(&there())) {
            let why = "it was not written by `lorasweep convert`".to_owned();
            return Err(CliError::NotAnExport { path: path.to_path_buf(), why });
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
