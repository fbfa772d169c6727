//! What a curve of losses says: how noisy its evaluations are, whether it overfits, whether it
//! memorises; and how sure the losses or scores of examples are, of one run, of two and of the best of
//! many.
//!
//! Place on the flow line: `... -> SweepState -> **verdicts on curves** -> { pruner, reporter }`.
//! The pruner stops a run by the same rule by which the report flags it, but by its own evaluations
//! alone; the report also hears the other runs of the sweep (module `pool`).

#![forbid(unsafe_code)]

mod curve;
mod matrix;
mod memorize;
mod noise;
mod overfit;
mod pool;
mod posterior;
mod scores;
mod shapes;
pub mod student;

pub use curve::{Curve, Point, with_base};
pub use matrix::Matrix;
pub use memorize::{memorizes_from, shared_improvement};
pub use noise::{Noise, group_targets};
pub use overfit::{Level, Rise, SmoothPoint, rise, rise_and_smooth};
pub use pool::Pool;
pub use posterior::{Fit, Part, Posterior, Relative, Shape};
pub use scores::{
    DETECTABLE, Interval, Measured, PairedDifference, examples_needed, mcnemar_mid_p, optimism,
};
pub use shapes::{Evidence, Shapes, ShapesByRate};
