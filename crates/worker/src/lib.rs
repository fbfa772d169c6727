//! Runs trials: the drive loop and the trainer as it sees it.
//!
//! Place on the flow line:
//! `planner (suggest/observe) -> Trial -> Pack -> **worker** -> trainer::Engine -> Event -> store`.
//!
//! The loop asks the planner what to train, gives trials to the trainer's slots, journals every
//! event before acting on it, asks the pruner after each evaluation, and keeps enough on disk
//! that a process may die at any moment: the next launch goes on from there and comes to the same
//! end.

#![forbid(unsafe_code)]

mod board;
mod command;
mod drive;
mod error;
pub mod launch;
mod metrics;
mod observer;
mod trainer;

pub use board::{Answer, Asked, Board, TellError, Verdict};
pub use command::{CommandError, CommandTrainer};
pub use drive::{Drive, Finish, MAX_CONSECUTIVE_FAILURES, Settings, WriteTables};
pub use error::WorkerError;
pub use metrics::AdapterError;
pub use observer::{Observer, Warning};
pub use trainer::{Admission, Steps, Trainer, TrainerError};
