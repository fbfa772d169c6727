//! The engine and the files of models, through the public interface.

mod bases;
mod candle_slots;
mod cuda;
mod engine;
mod generation;
mod golden;
mod gradient;
mod hostile_checkpoints;
mod hostile_models;
mod memory;
mod merge;
mod peft;
mod quantised;
mod shared_beginnings;
mod support;
mod unread_rows;
mod weight_files;
