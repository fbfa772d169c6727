//! The CUDA backend, on a device of software.

mod bf16;
mod device;
mod engine;
mod failures;
mod golden;
mod kernels;
mod slots;
