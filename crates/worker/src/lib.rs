//! Runs trials: the drive loop and the workers that it drives.
//!
//! Place on the flow line:
//! `planner (suggest/observe) -> Trial -> Pack -> **worker** -> trainer::engine -> Event -> store`.
//!
//! The driver ([`Drive`]) asks the planner what to train, gives trials to workers, asks the pruner
//! after each evaluation, and sees that nothing is lost when a process dies. A worker ([`Serve`])
//! has a [`spec::Trainer`] and trains what it is given. They speak through files in the sweep's folder: a
//! worker's orders, and its journal. A [`launch::Launcher`] starts workers.

#![forbid(unsafe_code)]

mod board;
mod command;
mod drive;
mod error;
pub mod launch;
mod metrics;
mod observer;
mod orders;
mod serve;

pub use board::{Answer, Asked, Board, TellError, Verdict};
pub use command::{CommandError, CommandTrainer};
pub use drive::{Berth, ChooseTested, Drive, Finish, Settings, WriteTables};
pub use error::{WorkerError, chain};
pub use metrics::AdapterError;
pub use observer::{Observer, Warning};
pub use serve::{Serve, ServeError, ServeSettings, Turn};

/// Guides to what this crate does, by name, in Markdown; `lorasweep guide` shows them.
pub const GUIDES: &[(&str, &str)] = &[
    ("resuming", include_str!("../guides/resuming.md")),
    ("slurm", include_str!("../guides/slurm.md")),
    ("commands", include_str!("../guides/commands.md")),
];
