//! One file for each command.

pub mod ask_tell;
pub mod cancel;
pub mod check;
pub mod compare;
pub mod completions;
pub mod convert;
pub mod data;
pub mod doctor;
pub mod explain;
pub mod export;
pub mod generate;
pub mod guide;
pub mod init;
pub mod report;
pub mod requests;
pub mod run;
pub mod serve;
pub mod status;
pub mod worker;
