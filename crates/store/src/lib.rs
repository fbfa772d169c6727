//! The layout of `results/` on disk: the journal, checkpoints' places, atomic writes.
//!
//! Place on the flow line:
//! `trainer::engine -> Event -> **store (journal)** -> SweepState -> { planner, pruner, reporter }
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
//!   ranking.csv ranking.json report.txt best/
//!   .lorasweep-report.json  the names and hashes of those of these files that are ours
//!   plots/                  the plots, and .lorasweep-plots.json: the same of them
//! ```
//!
//! An adapter's folder has its checksums in `SHA256SUMS`.
//!
//! One module, `own_files`, deletes, renames and truncates, and only what is provably ours: a regular
//! file with a name that lorasweep gave it, in a folder that is no link. Whatever a person keeps in
//! these folders stays. No link below `results/<name>/` is followed, and nothing but regular files is
//! opened. (`results/` and `results/<name>` themselves may be links.)
//!
//! `resolved.json` knows each input file by the SHA-256 of its content, weights too; weights of more
//! than 256 MiB are read in full once, and again when their size, their time of change or the hash
//! of a sample of them is another.
//!
//! No other crate knows these names. Everything durable is either an append followed by
//! `sync_data`, or written beside its place, synced and renamed.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests change their own files"))]

mod adapter;
mod atomic;
mod checkpoint;
mod claim;
mod driver;
mod error;
mod extension;
mod folder;
mod foreign;
mod hash;
mod identity;
mod input;
mod journal;
mod layout;
mod leftovers;
mod lock;
mod lost;
mod manifest;
mod ours;
mod own_files;
mod place;
mod plots;
mod replace;
mod report_files;
mod request;
mod room;
mod sums;
mod worker;

pub use adapter::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterCheck, AdapterDamage, CHECKSUMS, TOKENIZER_FILES,
    copy_adapter, is_kept_in_adapter, verify_adapter,
};
pub use atomic::{write_file, write_unsynced as write_file_unsynced};
pub use checkpoint::{Checkpoint, CheckpointDamage};
pub use claim::{set_aside, sweep_that_keeps};
pub use driver::{Found, Opened, SweepDir, TrialTables};
pub use error::{BuildError, JournalGap, StoreError};
pub use folder::SweepFolder;
pub use foreign::{Foreign, Kept};
pub use hash::hash_text;
pub use identity::{
    EARLIER_SWEEP, Identity, RETENTION_DATA, TEST_DATA, TRAINING_DATA, VALIDATION_DATA,
    earlier_sweep,
};
pub use input::{InputFile, Sampled, hash_file, hash_weights};
pub use journal::{News, TornLine};
pub use layout::{Purpose, ReportFile};
pub use ours::Ours;
pub use own_files::{
    check_folder as check_own_folder, open_with, read as read_own_file,
    remove_file as remove_own_file, rename as rename_own_file, truncate,
};
pub use place::{Holder, Place, started_at, this_host};
pub use plots::PlotFile;
pub use replace::replace_dir;
pub use request::{Request, Requested};
pub use room::{ask as ask_for_room, free_bytes};
pub use sums::write_checksums;
pub use worker::{Beat, Orders, WorkerDir, WorkerFiles};
