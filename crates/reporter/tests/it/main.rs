//! The reporter on whole sweeps, made by a small deterministic model of fine-tuning.

mod diagnosis;
mod gallery;
mod outputs;
mod sweeps;
