//! The packed decoder: one forward and one explicit backward pass over the rows of many slots.
//!
//! Rows of all sequences of all slots are stored one after another, without padding. Every frozen layer
//! runs once over all rows; adapters run over their slot's rows; attention stays within a
//! sequence. No gradient of a frozen weight is ever computed, and nothing below the first block's
//! adapters is differentiated.

mod adapted;
mod adapters;
mod beginnings;
mod block;
mod layer;
mod pass;
mod past;
pub(crate) mod shares;
mod step;

pub use crate::backend::Rows;
pub use adapters::{ActiveAdapter, AttachedAdapter, SlotDropout};
pub use pass::Decoder;
pub use past::Past;
