//! The layout of `results/` on disk: the journal, checkpoints' places, atomic writes.
//!
//! Place on the flow line:
//! `trainer::Engine -> Event -> **store (journal)** -> SweepState -> { planner, pruner, reporter }
//! -> **results/x/**{report.txt, plots, ranking.csv, best/}`.
//!
//! ```text
//! results/<name>/
//!   sweep.yaml              the sweep file as written
//!   resolved.json           the resolved sweep, its fingerprint and its input files' hashes
//!   lock                    held by the one process that drives the sweep
//!   cancel                  there while the sweep's processes are to save and end
//!   journal/driver-<n>.jsonl  one `spec::Record` a line, append only, one file a launch
//!   journal/worker-003-<n>.jsonl  the same, of a worker process
//!   workers/worker-003/     orders.jsonl (from the driver), heartbeat.json, alive (a lock), log.txt
//!   trials/trial-003/       trial.json, metrics.csv, steps.csv, checkpoint/, fork/, adapter/ (best),
//!                           claims/ (the attempts at it), command/ (what a command that trains it
//!                           writes, and its log)
//!   ranking.csv ranking.json report.txt plots/ best/
//! ```
//!
//! An adapter's folder has its checksums in `SHA256SUMS`. No other crate knows these names.
//! Everything durable is either an append followed by `sync_data`, or written beside its place,
//! synced and renamed.

#![forbid(unsafe_code)]

mod adapter;
mod atomic;
mod checkpoint;
mod error;
mod folder;
mod identity;
mod journal;
mod layout;
mod lock;
mod replace;
mod worker;

pub use adapter::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterCheck, AdapterDamage, CHECKSUMS, TOKENIZER_FILES,
    copy_adapter, is_kept_in_adapter, verify_adapter,
};
pub use atomic::write_file;
pub use checkpoint::{Checkpoint, CheckpointDamage, Purpose};
pub use error::{BuildError, StoreError};
pub use folder::{Opened, SweepDir, SweepFolder, TrialTables, set_aside};
pub use identity::{Identity, InputFile, hash_file, hash_text};
pub use journal::News;
pub use layout::ReportFile;
pub use lock::Holder;
pub use replace::{IsOurs, replace_dir};
pub use worker::{Beat, Orders, WorkerDir, WorkerFiles, this_machine};
