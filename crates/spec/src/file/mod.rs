//! Reading a sweep file: YAML text -> tree with places -> [`SweepFile`], the file as written.
//!
//! Every step adds what it finds wrong to [`Findings`] and goes on, so that all mistakes of a file
//! are listed at once.

mod distribution;
mod early_terminate;
mod executor;
mod findings;
mod keys;
mod metric;
mod parameters;
mod scalar;
mod schema;
mod section;
mod sections;
mod settings;
mod slurm;
mod sweep_file;
mod value;
mod variant;
mod words;
mod yaml;

pub(crate) use findings::{At, Findings};
pub(crate) use metric::{MetricFile, unknown as unknown_metric};
pub(crate) use parameters::ParametersFile;
pub use schema::{SCHEMA_FILE, schema};
pub(crate) use settings::{DataFile, ValidationFile};
pub(crate) use sweep_file::SweepFile;
pub(crate) use yaml::parse;
