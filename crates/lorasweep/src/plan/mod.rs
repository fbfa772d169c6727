//! What is known of a sweep before it trains: its base model, its work, its memory, its disk, and
//! which mistakes would end it.

pub mod base;
pub mod checkpoints;
pub mod devices;
pub mod foresight;
pub mod preflight;
pub mod scoring;
pub mod warm_start;
pub mod workload;
