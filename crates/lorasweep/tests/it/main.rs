//! The program as its user meets it: every test starts the binary.

mod arguments;
mod check;
mod common;
mod data;
mod earlier;
mod elsewhere;
mod exports;
mod extended;
mod generate;
mod gpus;
mod guides;
mod hub;
mod hub_hostile;
mod kills;
mod merged;
mod own_files;
mod processes;
mod quantised;
mod replaced;
mod replicates;
mod results;
mod same_sweep;
mod serve;
mod siege;
mod slurm_real;
mod strangers;
