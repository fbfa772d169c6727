//! What other trainers report of their trials, as events.

mod curve;
mod line;

pub use curve::AdapterError;
pub(crate) use curve::{Curve, check_adapter, copy_adapter};
pub(crate) use line::{Line, Loss, Said, object, read};
