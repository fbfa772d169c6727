//! The CUDA backend, on a device of software.

mod device;
mod golden;
