//! The reporter on whole sweeps, made by a small deterministic model of fine-tuning.

mod comparison;
mod diagnosis;
mod findings;
mod gallery;
mod outputs;
mod page;
mod sweeps;
