//! A sweep driven from its first trial to its last, through the public interface.

mod board;
mod command;
mod common;
mod contract;
mod crash;
mod drive;
mod local_launcher;
mod losses;
mod ordered;
mod slurm_fake;
mod slurm_real;
mod trajectory;
