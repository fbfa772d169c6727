//! What the driver and cuBLAS answer, as errors.
#![allow(unsafe_code, reason = "calls of the CUDA driver")]

use std::ffi::CStr;

use cudarc::cublas::sys as blas;
use cudarc::driver::sys as cu;

use crate::error::{Result, TrainerError};

pub fn check(status: cu::CUresult, what: &str) -> Result<()> {
    if status == cu::CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let mut name = std::ptr::null();
    // SAFETY: the driver gives a text that lives as long as itself, or leaves the null.
    let name = unsafe {
        let _ = cu::cuGetErrorName(status, &raw mut name);
        if name.is_null() { None } else { Some(CStr::from_ptr(name)) }
    };
    let name =
        name.map_or_else(|| format!("{status:?}"), |name| name.to_string_lossy().into_owned());
    if status == cu::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        return Err(TrainerError::OutOfMemory(format!("failed to {what}: {name}")));
    }
    Err(TrainerError::Device(format!("failed to {what}: {name}")))
}

pub fn check_blas(status: blas::cublasStatus_t, what: &str) -> Result<()> {
    match status {
        blas::cublasStatus_t::CUBLAS_STATUS_SUCCESS => Ok(()),
        blas::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => {
            Err(TrainerError::OutOfMemory(format!("failed to {what}: {status:?}")))
        }
        other => Err(TrainerError::Device(format!("failed to {what}: {other:?}"))),
    }
}

pub fn broken(what: &str) -> TrainerError {
    TrainerError::Device(format!("the CUDA kernels in this binary are broken: {what}"))
}

pub fn launch_size(name: &str, blocks: usize) -> Result<u32> {
    u32::try_from(blocks).map_err(|_| broken(&format!("{blocks} blocks of {name}")))
}

pub fn size(n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| broken(&format!("a product of {n} rows")))
}

pub fn out_of_memory(bytes: usize, in_use: usize, limit: &str) -> TrainerError {
    TrainerError::OutOfMemory(format!(
        "a buffer of {} beside {} in use ({limit})",
        mib(bytes),
        mib(in_use)
    ))
}

pub fn mib(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
