//! A results folder, through the public interface.

mod common;
mod folder;
mod hostile_files;
mod hostile_lists;
mod journal;
