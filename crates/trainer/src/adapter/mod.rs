//! A LoRA adapter: where each A and B lies in one flat vector, and how it is initialised.
//!
//! `W' = W + s B A` with A `[R, in]`, B `[out, R]`, `s = alpha / R` (Hu et al. 2021,
//! arXiv:2106.09685, section 4.1). One vector a trial keeps the optimizer, clipping, checkpoints
//! and finiteness checks free of any knowledge of layers.

mod init;
mod layout;
mod shape;

pub use layout::{AdapterLayout, Site};
pub use shape::LoraShape;
