//! Reading a sweep file: YAML text -> tree with places -> [`SweepFile`], the file as written.
//!
//! Every step adds what it finds wrong to [`Findings`] and goes on, so that all mistakes of a file
//! are listed at once.

mod distribution;
mod early_terminate;
mod executor;
mod findings;
mod keys;
mod parameters;
mod scalar;
mod section;
mod settings;
mod slurm;
mod sweep_file;
mod value;
mod variant;
mod yaml;

pub(crate) use findings::{At, Findings, MOST_MISTAKES};
pub(crate) use settings::{DataFile, ValidationFile};
pub(crate) use sweep_file::SweepFile;
pub(crate) use yaml::parse;
