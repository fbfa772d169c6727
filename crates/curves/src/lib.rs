//! What a curve of losses says: how noisy its evaluations are, whether it overfits, whether it
//! memorises.
//!
//! Place on the flow line: `... -> SweepState -> **verdicts on curves** -> { pruner, reporter }`.
//! The pruner stops a run by the same rule by which the report flags it.

#![forbid(unsafe_code)]

mod matrix;
mod noise;
mod posterior;

pub use matrix::Matrix;
pub use noise::{Noise, group_targets};
pub use posterior::{Posterior, Relative, Shape};
