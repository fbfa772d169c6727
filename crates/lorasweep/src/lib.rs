//! Find the LoRA rank, learning rate, batch size and number of epochs that generalise best.
//!
//! Place on the flow line: **lorasweep** reads `sweeps/x.yaml`, wires `spec -> planner -> worker ->
//! trainer -> store -> reporter` together, and gives what comes out. The program `lorasweep` is this
//! library with arguments and a terminal.
//!
//! ```no_run
//! use lorasweep::{ExportOptions, Sweep};
//! use lorasweep::spec::{Event, SweepState};
//!
//! fn main() -> Result<std::process::ExitCode, lorasweep::Error> {
//!     // Workers are this program once more: see `Workers`.
//!     if let Some(code) = lorasweep::worker_main_if_asked() {
//!         return Ok(code);
//!     }
//!     let sweep = Sweep::open("sweeps/quickstart.yaml")?;
//!     sweep.run(&mut |event: &Event, _: &SweepState| println!("{event:?}"))?;
//!     println!("{}", sweep.report()?.text());
//!     sweep.export(&ExportOptions::best("my-adapter"))?;
//!     Ok(std::process::ExitCode::SUCCESS)
//! }
//! ```
//!
//! - [`Sweep`] is a sweep, from its file or from its results folder.
//! - An [`Observer`] hears what a run says along the way; nothing in the library prints.
//! - [`Workers`] says which program a sweep's worker processes are.
//! - An [`Error`] says what failed and why, and [`Error::help`] what to do; nothing exits.
//!
//! Values are those of the crates that this one is made of, which are here under their names:
//! [`spec`], [`planner`], [`data`], [`trainer`], [`store`], [`worker`], [`reporter`].
//!
//! `DESIGN.md` in this crate's folder says which room holds what.

#![forbid(unsafe_code)]

mod answers;
mod check;
mod doctor;
mod error;
mod export;
mod guides;
mod hub;
mod inputs;
mod plan;
pub mod quickstart;
mod replace;
mod report;
mod run;
mod size;
mod sweep;
mod workers;

pub use {data, metrics, planner, reporter, spec, store, trainer, worker};

pub use answers::{
    Answer, AnswerEvent, AnswerOptions, AnswerOutcome, Answered, Chat, DecodingOptions, MeanScore,
    PromptSource, Writer, WriterOptions,
};
pub use check::{
    AdaptersOnDisk, DiskPlan, ElsewhereFindings, Findings, OwnFindings, PlannedTrial,
    PredictedTime, TotalWork, WeightFormats,
};
pub use doctor::{CheckStatus, SystemCheck, SystemReport};
pub use error::Error;
pub use export::options::{ExportOptions, Exported};
pub use export::{Form, Merged, best_so_far};
pub use guides::Guide;
pub use hub::HubError;
pub use inputs::view::{DataFindings, DataSet, LengthBin, Lengths, ShownRow};
pub use plan::checkpoints::Checkpoints;
pub use plan::workload::{MemoryPlan, TrialWork, Workload};
pub use report::convert::{ConvertOptions, Converted};
pub use report::explain::{ExplainedTrial, Explanation, ParameterImportance};
pub use report::side_by_side::{SweepTrial, compare};
pub use report::status::{JobStatus, Status, TrialProgress, WorkerStatus, outcome_name};
pub use report::{Report, ReportFiles};
pub use run::external::ExternalTrials;
pub use run::observer::{Notice, Observer, Started, Trained};
pub use run::{RunEnd, RunOptions, RunOutcome};
pub use size::bytes;
pub use sweep::Sweep;
pub use workers::process::{WorkerEnd, start_threads, work, worker_main_if_asked};
pub use workers::{WorkerOptions, Workers};
