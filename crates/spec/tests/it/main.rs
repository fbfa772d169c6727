//! Sweep files as people write them, through the public interface.

mod bad_files;
mod costs;
mod fold;
mod good_files;
mod hostile_files;
