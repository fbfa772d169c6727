//! The reporter on whole sweeps, made by a small deterministic model of fine-tuning.

mod claims;
mod comparison;
mod diagnosis;
mod findings;
mod gallery;
mod outputs;
mod page;
mod replicated;
mod sweeps;
