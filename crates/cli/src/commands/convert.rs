//! `lorasweep convert`: a sweep's results in the form of other tools.

use std::fs;
use std::path::Path;

use reporter::diagnose::diagnose_all;
use reporter::{ExportFile, Lang};
use store::{BuildError, SweepFolder};

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
    for path in [&args.tensorboard, &args.optuna, &args.csv, &args.parquet].into_iter().flatten() {
        refuse_replacing(path, args.force)?;
    }
    if let Some(path) = &args.tensorboard {
        let files = reporter::tensorboard(&state, &spans);
        store::replace_dir(path, |dir| write_files(dir, &files))?;
        output::result(&format!("tensorboard --logdir {}", path.display()));
    }
    if let Some(path) = &args.optuna {
        let diagnoses = diagnose_all(&state, &settings.report, Lang::En);
        let journal = reporter::optuna_journal(&state, &diagnoses, &spans);
        store::write_file(path, journal.as_bytes())?;
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
        store::replace_dir(&target, |dir| {
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
        store::write_file(path, reporter::evaluations_csv(&state)?.as_bytes())?;
        output::result(&path.display().to_string());
    }
    if let Some(path) = &args.parquet {
        let ranking = reporter::rank(&state, &settings.report, Lang::En);
        let (evaluations, ranking) =
            (reporter::evaluations_parquet(&state)?, reporter::ranking_parquet(&ranking)?);
        let file = |name: &str, bytes| ExportFile { path: name.to_owned(), bytes };
        let files = [file(EVALUATIONS, evaluations), file(RANKING, ranking)];
        store::replace_dir(path, |dir| write_files(dir, &files))?;
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

/// `--force` replaces files and folders that `convert` wrote, never a folder of something else.
fn refuse_replacing(path: &Path, force: bool) -> Result<(), CliError> {
    if !path.exists() {
        return Ok(());
    }
    if !force {
        return Err(CliError::Exists { path: path.to_path_buf() });
    }
    let is_ours = |entry: &Path| {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name == "base" || name.starts_with("trial-") || name == EVALUATIONS || name == RANKING
    };
    let entries = if path.is_dir() {
        fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect())
            .map_err(CliError::io("list", path))?
    } else {
        Vec::new()
    };
    if entries.iter().all(|entry| is_ours(entry)) {
        Ok(())
    } else {
        Err(CliError::NotAnExport { path: path.to_path_buf() })
    }
}
