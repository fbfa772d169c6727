//! The reporter on whole sweeps, made by a small deterministic model of fine-tuning.

mod advice;
mod claims;
mod comparison;
mod diagnosis;
mod findings;
mod gallery;
mod hostile_journals;
mod importance;
mod languages;
mod live;
mod outputs;
mod page;
mod replicated;
mod scored;
mod sweeps;
