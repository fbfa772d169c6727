//! Plain data that every other crate shares: the sweep as resolved, trials, events and the state
//! that is a fold over events.
//!
//! Place on the flow line:
//! `sweeps/x.yaml -> **SweepFile -> Sweep** -> planner -> **Trial** -> worker -> trainer ->
//! **Event** -> store -> **SweepState** -> reporter`.
//!
//! No input or output happens here beyond turning text into values; no other crate of the
//! workspace is known. What a worker asks of an engine ([`Trainer`]) is said in these values alone.

#![forbid(unsafe_code)]

mod added;
mod answer_metrics;
mod as_of;
mod base;
mod command;
mod config_key;
mod costs;
mod distribution;
mod error;
mod evaluation;
mod event;
mod example;
mod example_losses;
mod file;
mod hub;
mod limits;
mod locate;
mod logical;
mod metric;
mod mistake;
mod normal;
mod parameter;
mod resolve;
mod resolve_metric;
mod scores;
mod settings;
mod shell;
mod slurm;
mod space;
mod state;
mod sweep;
mod text;
mod timeline;
mod trainer;
mod trial;
mod variant;

pub use added::trial_of;
pub use answer_metrics::{AnswerMetrics, Ignored, MeasureEvery, Score, ScoreSettings};
pub use as_of::EndsSeen;
pub use base::{BaseForm, BaseSettings, Quantization};
pub use command::{CommandTemplate, CommandValue, shell_word};
pub use config_key::ConfigKey;
pub use distribution::{Distribution, Shape};
pub use error::{SweepError, SweepErrors};
pub use evaluation::{Evaluation, TestEvaluation};
pub use event::{
    DataFacts, Event, Outcome, PlainChat, Record, ReturnCause, SCHEMA_VERSION, StopReason,
    TrainPoint,
};
pub use example::example;
pub use example_losses::ExampleLosses;
pub use file::{SCHEMA_FILE, schema};
pub use hub::HubModel;
pub use logical::{LogicalClock, LogicalStart};
pub use metric::{EVAL_LOSS, Goal, Objective, SCORES, is_share};
pub use mistake::Mistake;
pub use parameter::{
    Access, ChoiceAccess, Feature, Kind, ModuleSet, Parameter, ParameterValue, Row, TABLE,
};
pub use resolve::{PathKind, resolve};
pub use scores::{KeptAnswer, MeanScore, ScoredAnswers};
pub use settings::{
    BayesSettings, CommandSettings, DataSettings, DeviceChoice, Devices, Dtype, EvalSettings,
    ExecutorKind, ExecutorSettings, OptimizerSettings, RankLadderSettings, Replicates,
    ReportSettings, SaveStrategy, TrainSettings, ValidationSource,
};
pub use slurm::SlurmSettings;
pub use space::{Axis, Choice, SearchSpace};
pub use state::{
    Continued, Extension, LostWorker, Promoted, QuantizedBase, SweepState, TrialState, TrialStatus,
};
pub use sweep::{Brackets, EarlyTerminate, Method, Metric, Sweep, Warning};
pub use text::{
    markdown_code, markdown_name, printable, printable_json, printable_line, shown,
    spreadsheet_cell,
};
pub use timeline::{Span, Timeline};
pub use trainer::{Admission, Steps, Trainer, TrainerError};
pub use trial::{LrScheduler, TargetModule, Trial, TrialConfig, TrialId, lora_scale};
pub use variant::{InitLoraWeights, LoraVariant};

/// Guides to what this crate does, by name, in Markdown; `lorasweep guide` shows them.
pub const GUIDES: &[(&str, &str)] = &[("sweep-file", include_str!("../guides/sweep-file.md"))];
