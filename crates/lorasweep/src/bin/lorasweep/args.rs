//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use lorasweep::spec::shell_word;
use lorasweep::{Error, Sweep};

use crate::exit;

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("LORASWEEP_BUILT"),
    ", CPU and CUDA; features: ",
    env!("LORASWEEP_FEATURES"),
    ")"
);

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
    /// Write a sweep file to start from, or the quickstart
    Init(InitArgs),
    /// Print the JSON Schema of sweep files, which editors use to complete and check them
    Schema,
    /// Validate a sweep, its data and its model; show how much work and memory it takes
    Check(CheckArgs),
    /// Show what the model will see: a row with its loss mask, lengths, repeats and leaks
    Data(DataArgs),
    /// Run a sweep, or resume one that was interrupted
    Run(RunArgs),
    /// Print trials of a sweep that is trained elsewhere, one JSON object per line
    Ask(AskArgs),
    /// Read the losses of such trials, one JSON object per line, and print which to stop
    Tell(TellArgs),
    /// Show how far sweeps are, also while they run
    Status(StatusArgs),
    /// Ask the processes of a running sweep to save and end, wherever they run
    Cancel(CancelArgs),
    /// End single trials of a sweep, also while it runs
    Stop(StopArgs),
    /// Run failed trials of a sweep again, or any that are named
    Retry(RetryArgs),
    /// Show what was predicted for each trial, what it reached, and which parameters matter
    Explain(ExplainArgs),
    /// Rebuild the tables and plots of a sweep and show its report
    Report(ReportArgs),
    /// Show a sweep's report in the browser, live while it runs, on this machine only
    Serve(ServeArgs),
    /// Compare two trials, or two sweeps
    Compare(CompareArgs),
    /// Write a sweep's results for TensorBoard, Optuna, MLflow or a data frame
    Convert(ConvertArgs),
    /// Show what the chosen run answers, beside the base model, on the CPU
    Generate(GenerateArgs),
    /// Copy a trial's adapter out, ready for PEFT
    Export(ExportArgs),
    /// Show what lorasweep finds on this machine, and check its kernels: for reports of problems
    Doctor(DoctorArgs),
    /// List the guides that this binary carries, or print one
    Guide(GuideArgs),
    /// Print the completions of a shell, or write man pages
    Completions(CompletionsArgs),
    /// Train what the driver of a sweep orders; `run` starts these
    #[command(hide = true)]
    Worker(WorkerArgs),
}

#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell, whose completions are printed
    #[arg(value_enum, required_unless_present = "man")]
    pub shell: Option<clap_complete::Shell>,
    /// Write a man page for each command into this folder instead
    #[arg(long, value_name = "OUT", conflicts_with = "shell")]
    pub man: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// The sweep's results folder
    #[arg(long, value_name = "DIR")]
    pub sweep: PathBuf,
    /// The sweep file, which its paths are relative to; the folder holds its text
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// The worker's name
    #[arg(long)]
    pub name: String,
    /// The number of the journal's last record
    #[arg(long, value_name = "NUMBER")]
    pub seq: u64,
    /// The device instead of the sweep file's: `cpu` or the index of a GPU
    #[arg(long)]
    pub device: Option<String>,
    /// Bytes of memory that it may take, instead of the sweep file's
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<u64>,
    /// End when the input ends: the driver holds its other end
    #[arg(long)]
    pub piped: bool,
    /// A file that changes as long as there is a driver; without one and without work, end
    #[arg(long, value_name = "FILE", conflicts_with = "piped")]
    pub driver: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The sweep file to write; with --quickstart, the folder to write it into
    #[arg(value_name = "FILE")]
    pub path: Option<PathBuf>,
    /// Folder of the base model (config.json, tokenizer.json, safetensors), or its name on the hub
    #[arg(long, value_name = "DIR", conflicts_with = "quickstart")]
    pub model: Option<PathBuf>,
    /// Training rows: a file, a folder or a pattern
    #[arg(long, value_name = "FILE", conflicts_with = "quickstart")]
    pub data: Option<PathBuf>,
    /// Write every key with its explanation
    #[arg(long, conflicts_with = "quickstart")]
    pub full: bool,
    /// Write the example with its model and data instead (a few MB)
    #[arg(long)]
    pub quickstart: bool,
    /// Overwrite files that exist; what was in one is kept beside it as NAME.old-1
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
    /// Do not train a few steps to predict how long the sweep takes
    #[arg(long)]
    pub no_time: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// How a command names its sweep.
#[derive(Debug, Clone, clap::Args)]
pub struct SweepArg {
    /// A sweep file, or a sweep's results folder
    #[arg(value_name = "SWEEP")]
    pub path: PathBuf,
    /// Where results are, in a folder named after the sweep, when SWEEP is a sweep file
    #[arg(long, value_name = "DIR", default_value = Sweep::RESULTS)]
    pub results: PathBuf,
}

impl SweepArg {
    /// Opens the sweep.
    pub fn open(&self) -> Result<Sweep, Error> {
        if !self.path.is_dir() {
            return Ok(Sweep::open_file(&self.path)?.with_results(&self.results));
        }
        let mut found = Sweep::find(&self.path, &self.results)?;
        match (found.pop(), found.len()) {
            (Some(only), 0) => Ok(only),
            (_, others) => Err(Error::NotOneSweep { path: self.path.clone(), found: others + 1 }),
        }
    }

    /// It as arguments, to show a command line.
    pub fn in_words(&self) -> String {
        let path = shell_word(&self.path.to_string_lossy());
        if self.path.is_dir() || self.results.as_os_str() == Sweep::RESULTS {
            return path;
        }
        format!("{path} --results {}", shell_word(&self.results.to_string_lossy()))
    }
}

#[derive(Debug, clap::Args)]
pub struct DataArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
    /// Which row to show, counted from 1
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub example: usize,
    /// Of which set
    #[arg(long, value_enum, default_value = "train", value_name = "SET")]
    pub set: DataSet,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// A set of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DataSet {
    /// What adapters are trained on
    Train,
    /// What trials are ranked by
    Validation,
    /// What the base model can do already
    Retention,
    /// What no choice is based on
    Test,
}

impl From<DataSet> for lorasweep::DataSet {
    fn from(set: DataSet) -> Self {
        match set {
            DataSet::Train => Self::Train,
            DataSet::Validation => Self::Validation,
            DataSet::Retention => Self::Retention,
            DataSet::Test => Self::Test,
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
    /// Start again: move the sweep's old results aside (they are never deleted)
    #[arg(long)]
    pub fresh: bool,
    /// Print one JSON event a line on stdout; everything else goes to stderr
    #[arg(long)]
    pub json: bool,
    /// Print warnings and errors only
    #[arg(long, short)]
    pub quiet: bool,
    /// Train this configuration as well, a JSON object; again for each further one
    #[arg(long, value_name = "JSON")]
    pub add: Vec<String>,
    /// Open the report in the browser, where it follows the sweep
    #[arg(long)]
    pub open: bool,
    /// The report's language
    #[arg(long, value_enum, default_value = "en", value_name = "LANG")]
    pub lang: Language,
}

#[derive(Debug, clap::Args)]
pub struct StopArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
    /// Which trials to end; their best adapters so far are kept
    #[arg(value_name = "TRIAL", required = true)]
    pub trials: Vec<u32>,
}

#[derive(Debug, clap::Args)]
pub struct RetryArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
    /// Which trials to run again; without any, all that failed
    #[arg(value_name = "TRIAL")]
    pub trials: Vec<u32>,
    /// Print warnings and errors only
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, clap::Args)]
pub struct AskArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
    /// The most trials to print
    #[arg(long, short, default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    pub number: u16,
    /// Print trials again that have not ended, instead of new ones
    #[arg(long)]
    pub unfinished: bool,
}

#[derive(Debug, clap::Args)]
pub struct TellArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
    /// What to report, one object each (`{"trial": 3, "epoch": 1, "eval_loss": 1.25}`); without any,
    /// the lines of stdin
    #[arg(value_name = "JSON")]
    pub lines: Vec<String>,
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
pub struct CancelArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
}

#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
    /// Print the ranking as JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// Open the page in the browser
    #[arg(long)]
    pub open: bool,
    /// Write the report's files into this folder instead, which is new, empty or of an earlier
    /// report; the sweep's own folder is only read
    #[arg(long, value_name = "OUT")]
    pub to: Option<PathBuf>,
    /// The report's language
    #[arg(long, value_enum, default_value = "en", value_name = "LANG")]
    pub lang: Language,
}

#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
    /// The port on this machine; 0 takes any free one
    #[arg(long, default_value = "0")]
    pub port: u16,
    /// Open the page in the browser
    #[arg(long)]
    pub open: bool,
    /// The report's language
    #[arg(long, value_enum, default_value = "en", value_name = "LANG")]
    pub lang: Language,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("targets").required(true).multiple(true)
    .args(["tensorboard", "optuna", "mlflow", "csv", "parquet"])))]
pub struct ConvertArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
    /// Write TensorBoard event files, with the HParams tab, into this folder
    #[arg(long, value_name = "OUT")]
    pub tensorboard: Option<PathBuf>,
    /// Write an Optuna study as a journal file
    #[arg(long, value_name = "FILE")]
    pub optuna: Option<PathBuf>,
    /// Write an MLflow experiment into this folder, a file store that may hold others
    #[arg(long, value_name = "OUT")]
    pub mlflow: Option<PathBuf>,
    /// Write all evaluations of all trials as one table
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write all evaluations and the ranking as Parquet files into this folder
    #[arg(long, value_name = "OUT")]
    pub parquet: Option<PathBuf>,
    /// Replace what an earlier `convert` wrote there: only files that are as it wrote them; refused
    /// when one was changed or is not its own
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// A sweep file, a sweep's results folder, or one of its trials as SWEEP:NUMBER
    #[arg(value_name = "A")]
    pub a: String,
    /// What to compare it with; of the same sweep, `:NUMBER` is enough
    #[arg(value_name = "B")]
    pub b: String,
    /// Where results are, of sweeps that are named by their file
    #[arg(long, value_name = "DIR", default_value = Sweep::RESULTS)]
    pub results: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// The comparison's language
    #[arg(long, value_enum, default_value = "en", value_name = "LANG")]
    pub lang: Language,
}

#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
    /// This trial instead of the one that the report chose
    #[arg(long, value_name = "NUMBER", conflicts_with = "base")]
    pub trial: Option<u32>,
    /// The trial as it was at the end of this epoch, instead of its best evaluation; needs
    /// `save_strategy: epoch` in the sweep file
    #[arg(long, value_name = "NUMBER", conflicts_with = "base", value_parser = clap::value_parser!(u32).range(1..))]
    pub epoch: Option<u32>,
    /// The base model alone
    #[arg(long)]
    pub base: bool,
    /// What a user says, where the sweep trains on conversations; else the beginning of a text
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    pub prompt: Option<String>,
    /// A JSONL file of prompts ({"prompt": "..."} or {"messages": [...]}) or of rows with answers
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Without --prompt and --file: the first rows of this set
    #[arg(long, value_enum, default_value = "validation", value_name = "SET", conflicts_with_all = ["prompt", "file"])]
    pub set: DataSet,
    /// How many rows of the set
    #[arg(long, short, default_value = "5", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["prompt", "file"])]
    pub number: u32,
    /// The most tokens of an answer
    #[arg(long, value_name = "TOKENS", default_value = "128", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub max_new_tokens: u32,
    /// Draw tokens, with their logits divided by this; without it, or at 0, take the most likely one
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = non_negative)]
    pub temperature: Option<f64>,
    /// Draw from this many of the most likely tokens
    #[arg(long, value_name = "TOKENS", requires = "temperature", value_parser = clap::value_parser!(u32).range(1..))]
    pub top_k: Option<u32>,
    /// Draw from the most likely tokens whose probabilities together reach this
    #[arg(long, value_name = "NUMBER", requires = "temperature", allow_negative_numbers = true, value_parser = probability)]
    pub top_p: Option<f64>,
    /// Fixes what is drawn
    #[arg(long, value_name = "NUMBER", default_value = "0", requires = "temperature")]
    pub seed: u64,
    /// End an answer before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Score answers that have a reference: `exact_match`, `contains`, `regex_match=PATTERN`,
    /// `number_match` or `number_match=TOLERANCE`, `token_f1`, `rouge_l`, `chrf`, `json_match` or
    /// `tool_call_match`; may be given several times
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,
    /// Hold a conversation in the chat template: each line is a turn, `/reset` starts again, the end
    /// of the input (Ctrl-D) ends it
    #[arg(long, conflicts_with_all = ["prompt", "file", "set", "number", "metric", "json"])]
    pub chat: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// A number of 0 or more.
fn non_negative(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err("must be 0 or more".to_owned())
    }
}

/// A number above 0 and at most 1.
fn probability(text: &str) -> Result<f64, String> {
    let number = non_negative(text)?;
    if number > 0.0 && number <= 1.0 {
        Ok(number)
    } else {
        Err("must be above 0 and at most 1".to_owned())
    }
}

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub sweep: SweepArg,
    /// Export the trial that the report chose (the default)
    #[arg(long, conflicts_with = "trial")]
    pub best: bool,
    /// Export this trial
    #[arg(long, value_name = "NUMBER")]
    pub trial: Option<u32>,
    /// Export it as it was at the end of this epoch, instead of its best evaluation; needs
    /// `save_strategy: epoch` in the sweep file
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub epoch: Option<u32>,
    /// The folder to write
    #[arg(long, value_name = "OUT")]
    pub to: PathBuf,
    /// Write a whole model instead, with the adapter merged into the base's weights
    #[arg(long)]
    pub merge: bool,
    /// Add the adapter in llama.cpp's form, adapter.gguf
    #[arg(long, conflicts_with = "merge")]
    pub gguf: bool,
    /// Replace an earlier export in OUT: only files that are as lorasweep wrote them (SHA256SUMS
    /// there says so); refused when one was changed or OUT holds anything else
    #[arg(long)]
    pub force: bool,
    /// Add the tokenised validation rows, to check the loss elsewhere
    #[arg(long)]
    pub with_validation: bool,
}

#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct GuideArgs {
    /// Which guide to print; without it, all are listed
    #[arg(value_name = "NAME", value_parser = guide_names())]
    pub name: Option<String>,
}

fn guide_names() -> PossibleValuesParser {
    let guides = lorasweep::Guide::all();
    guides
        .iter()
        .map(|guide| PossibleValue::new(guide.name).help(guide.title()))
        .collect::<Vec<_>>()
        .into()
}

/// A language of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// English
    En,
    /// Vietnamese
    Vi,
}

impl From<Language> for reporter::Lang {
    fn from(language: Language) -> Self {
        match language {
            Language::En => Self::En,
            Language::Vi => Self::Vi,
        }
    }
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
