//! Products by cuBLAS.
#![allow(unsafe_code, reason = "calls of the CUDA driver and of cuBLAS")]

use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use cudarc::cublas::sys as blas;
use cudarc::driver::sys as cu;

use super::status::{broken, check_blas, size};
use super::{Gpu, View};
use crate::error::Result;

/// Memory that cuBLAS may use for itself: with memory of its own its sums have one order.
const WORKSPACE: usize = 32 << 20;

/// cuBLAS in use.
pub struct Blas {
    handle: Mutex<blas::cublasHandle_t>,
    workspace: cu::CUdeviceptr,
}

impl Blas {
    /// Closes it; returns its memory.
    pub fn close(self) -> cu::CUdeviceptr {
        let handle = self.handle.into_inner().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the handle is open, and nothing is queued any more.
        let _ = unsafe { blas::cublasDestroy_v2(handle) };
        self.workspace
    }
}

impl Gpu {
    /// `None` where cuBLAS does not work with this driver.
    pub(super) fn open_blas(&self) -> Result<Option<Blas>> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the library is there, the context is current, and `handle` outlives the call.
        if unsafe { blas::cublasCreate_v2(&raw mut handle) }
            != blas::cublasStatus_t::CUBLAS_STATUS_SUCCESS
        {
            return Ok(None);
        }
        let workspace = self.allocate(WORKSPACE, &mut self.blocks())?;
        // SAFETY: the stream and the workspace live as long as the handle.
        let statuses = unsafe {
            [
                blas::cublasSetStream_v2(handle, self.stream.cast()),
                blas::cublasSetWorkspace_v2(handle, workspace as *mut c_void, WORKSPACE),
            ]
        };
        for status in statuses {
            check_blas(status, "prepare cuBLAS")?;
        }
        Ok(Some(Blas { handle: Mutex::new(handle), workspace }))
    }

    /// Whether products are cuBLAS's.
    pub const fn has_cublas(&self) -> bool {
        self.blas.is_some()
    }

    /// `y = x W^T` (`transposed`) with x `[n, k]`, W `[m, k]` and y `[n, m]`, or `y = x W` with W
    /// `[k, m]`, by cuBLAS; x and W have one format.
    ///
    /// # Panics
    /// If a matrix does not have its size.
    pub fn product(
        &self,
        y: View<'_>,
        x: View<'_>,
        w: View<'_>,
        [n, m, k]: [usize; 3],
        transposed: bool,
    ) -> Result<()> {
        let Some(blas) = &self.blas else { return Err(broken("a product without cuBLAS")) };
        assert!(y.len == n * m && x.len == n * k && w.len == m * k, "matrices have their sizes");
        if y.len == 0 {
            return Ok(());
        }
        let mut pending = self.pending();
        self.run(&mut pending)?;
        self.enter()?;
        self.counters.products.add(1);
        let (one, zero) = (1.0_f32, 0.0_f32);
        let (op_w, ld_w) = if transposed {
            (blas::cublasOperation_t::CUBLAS_OP_T, k)
        } else {
            (blas::cublasOperation_t::CUBLAS_OP_N, m)
        };
        let (rows, cols, terms) = (size(n)?, size(m)?, size(k)?);
        let handle = blas.handle.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: cuBLAS counts columns first, in which W is W^T and so on; the matrices have the
        // sizes checked above and are borrowed until the product is queued; alpha and beta are read
        // before the call returns.
        let status = unsafe {
            blas::cublasGemmEx(
                *handle,
                op_w,
                blas::cublasOperation_t::CUBLAS_OP_N,
                cols,
                rows,
                terms,
                (&raw const one).cast(),
                w.at as *const c_void,
                w.cuda_type(),
                size(ld_w)?,
                x.at as *const c_void,
                x.cuda_type(),
                terms,
                (&raw const zero).cast(),
                y.at as *mut c_void,
                y.cuda_type(),
                cols,
                blas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                blas::cublasGemmAlgo_t::CUBLAS_GEMM_DFALT,
            )
        };
        check_blas(status, "multiply matrices")
    }
}
