//! `lorasweep convert`: a sweep's results in the form of other tools.

use lorasweep::{ConvertOptions, Converted};

use crate::args::ConvertArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub fn run(args: &ConvertArgs) -> Result<Exit, CliError> {
    let options = ConvertOptions {
        tensorboard: args.tensorboard.clone(),
        optuna: args.optuna.clone(),
        mlflow: args.mlflow.clone(),
        csv: args.csv.clone(),
        parquet: args.parquet.clone(),
        force: args.force,
    };
    args.sweep.open()?.convert(&options, &mut |written| {
        output::result(&match written {
            Converted::TensorBoard(path) => format!("tensorboard --logdir {}", path.display()),
            Converted::Optuna(path) => format!("optuna-dashboard {}", path.display()),
            // Later versions read file stores only when an option asks for it.
            Converted::Mlflow(path) => format!(
                "MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {}",
                path.display()
            ),
            Converted::Table(path) => path.display().to_string(),
        });
    })?;
    Ok(Exit::Done)
}
