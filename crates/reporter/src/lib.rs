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

pub mod diagnose;
mod error;
mod export;
mod number;
mod parameters;
pub mod plot;
mod rank;
mod terminal;

pub use error::ReportError;
pub use export::{metrics_csv, ranking_csv, ranking_json, steps_csv};
pub use rank::{Ranking, Row, rank};
pub use terminal::{TerminalOptions, terminal};
