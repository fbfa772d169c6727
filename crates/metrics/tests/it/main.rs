//! Tests of the metrics against the usual Python implementations.

mod golden;
mod judge;
mod properties;
