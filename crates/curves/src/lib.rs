//! What a curve of losses says: how noisy its evaluations are, whether it overfits, whether it
//! memorises.
//!
//! Place on the flow line: `... -> SweepState -> **verdicts on curves** -> { pruner, reporter }`.
//! The pruner stops a run by the same rule by which the report flags it.

#![forbid(unsafe_code)]

mod curve;
mod matrix;
mod memorize;
mod noise;
mod overfit;
mod posterior;
mod shapes;

pub use curve::{Curve, Point, with_base};
pub use matrix::Matrix;
pub use memorize::{memorizes_from, shared_improvement};
pub use noise::{Noise, group_targets};
pub use overfit::{Rise, SmoothPoint, rise, rise_and_smooth};
pub use posterior::{Fit, Part, Posterior, Relative, Shape};
pub use shapes::{Evidence, Shapes};
