//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::exit;

#[cfg(feature = "cuda")]
const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("LORASWEEP_TARGET"), ", CPU and CUDA)");
#[cfg(not(feature = "cuda"))]
const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("LORASWEEP_TARGET"), ", CPU only)");

/// Find the LoRA rank, learning rate, batch size and epochs that generalise best
#[derive(Debug, Parser)]
#[command(name = "lorasweep", version = VERSION, after_help = exit::HELP)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,

    /// When to use colours
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: Colour,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented sweep file to begin from, or the quickstart
    Init(InitArgs),
    /// Validate a sweep, its data and its model; tell how much work and memory it takes
    Check(CheckArgs),
    /// Run a sweep, or go on with one that was interrupted
    Run(RunArgs),
    /// Show how far sweeps are, also while they run
    Status(StatusArgs),
    /// Show what was expected of each trial and what came, and which parameters matter
    Explain(ExplainArgs),
    /// Rebuild the tables and plots of a sweep and show its report
    Report(ReportArgs),
    /// Copy a trial's adapter out, ready for PEFT
    Export(ExportArgs),
}

#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The sweep file to write; with --quickstart, the folder to write it into
    #[arg(value_name = "FILE")]
    pub path: Option<PathBuf>,
    /// Folder of the base model (config.json, tokenizer.json, safetensors)
    #[arg(long, value_name = "DIR", conflicts_with = "quickstart")]
    pub model: Option<PathBuf>,
    /// Training rows (JSONL or CSV)
    #[arg(long, value_name = "FILE", conflicts_with = "quickstart")]
    pub data: Option<PathBuf>,
    /// Write the example with its model and data instead (a few MB)
    #[arg(long)]
    pub quickstart: bool,
    /// Overwrite files that exist
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The sweep file
    pub sweep: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The sweep file
    pub sweep: PathBuf,
    /// Where results go, in a folder named after the sweep
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// Begin anew: move the sweep's old results aside (they are never deleted)
    #[arg(long)]
    pub fresh: bool,
    /// Print one JSON event a line on stdout; everything else goes to stderr
    #[arg(long)]
    pub json: bool,
    /// Print warnings and errors only
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// A sweep file, a sweep's results folder, or a folder of such
    #[arg(default_value = "results")]
    pub path: PathBuf,
    /// Where results are, when PATH is a sweep file
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The sweep file
    pub sweep: PathBuf,
    /// Where its results are
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// The sweep's results folder
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Print the ranking as JSON instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The sweep's results folder
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Export the trial with the lowest validation loss (the default)
    #[arg(long, conflicts_with = "trial")]
    pub best: bool,
    /// Export this trial
    #[arg(long, value_name = "NUMBER")]
    pub trial: Option<u32>,
    /// The folder to write
    #[arg(long, value_name = "OUT")]
    pub to: PathBuf,
    /// Replace OUT when it holds an adapter already
    #[arg(long)]
    pub force: bool,
    /// Add the tokenised validation rows, to check the loss elsewhere
    #[arg(long)]
    pub with_validation: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl From<Colour> for clap::ColorChoice {
    fn from(colour: Colour) -> Self {
        match colour {
            Colour::Auto => Self::Auto,
            Colour::Always => Self::Always,
            Colour::Never => Self::Never,
        }
    }
}

/// The `--color` of a command line that has not been parsed yet, since parsing itself may print.
pub fn colour_before_parsing(arguments: impl Iterator<Item = OsString>) -> Colour {
    let arguments: Vec<_> = arguments.filter_map(|a| a.into_string().ok()).collect();
    let joined = arguments.iter().find_map(|a| a.strip_prefix("--color="));
    let apart = arguments.windows(2).find(|w| w[0] == "--color").map(|w| w[1].as_str());
    match joined.or(apart) {
        Some("always") => Colour::Always,
        Some("never") => Colour::Never,
        _ => Colour::Auto,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_colour_is_found_in_either_spelling() {
        let colour = |line: &str| colour_before_parsing(line.split(' ').map(OsString::from));
        assert_eq!(colour("lorasweep --color=never run x"), Colour::Never);
        assert_eq!(colour("lorasweep run x --color always"), Colour::Always);
        assert_eq!(colour("lorasweep run x"), Colour::Auto);
    }
}
