//! What a sweep found, as text and pictures.
//!
//! Place on the flow line:
//! `sweeps/x.yaml -> spec::SweepFile -> spec::Sweep -> planner -> Trial -> worker -> trainer ->
//! Event -> store -> SweepState -> **{ ranking, diagnosis, plots } -> results/x/{plots,
//! ranking.csv, ranking.json, ...}**`.
//!
//! Everything here is a pure function of [`spec::SweepState`] and [`spec::ReportSettings`]: the
//! caller writes the returned text and bytes to files.

#![forbid(unsafe_code)]

mod compare;
pub mod diagnose;
mod error;
mod export;
mod failures;
mod importance;
mod number;
mod page;
mod parameters;
pub mod plot;
mod rank;
mod side_by_side;
mod terminal;
mod text;

pub use compare::{Against, Choice, Comparison, Expected, Reason, Repeat, SeedSpread, compare};
pub use error::ReportError;
pub use export::{
    ExportFile, MlflowExperiment, evaluations_csv, evaluations_parquet, is_within_evaluations,
    metrics_csv, mlflow, optuna_journal, ranking_csv, ranking_json, ranking_parquet, steps_csv,
    tensorboard,
};
pub use failures::Failure;
pub use importance::{Importance, importance};
pub use page::{Page, html};
pub use rank::{Ranking, Row, RowScore, rank};
pub use side_by_side::{Difference, Side, SideBySide, side_by_side};
pub use terminal::{TerminalOptions, terminal};
pub use text::Lang;

/// Guides to what this crate does, by name, in Markdown; `lorasweep guide` shows them.
pub const GUIDES: &[(&str, &str)] = &[
    ("report", include_str!("../guides/report.md")),
    ("statistics", include_str!("../guides/statistics.md")),
];
