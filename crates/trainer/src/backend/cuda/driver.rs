//! One device with its one stream: memory, copies, launches and cuBLAS's products.
//!
//! Everything is queued on one stream, in the order of the calls. Memory is given back to the
//! [`Gpu`] when its [`Buffer`] is dropped and may be taken by the next one at once: whatever was
//! queued with it comes before whatever is queued with its successor. Only [`Gpu::download`],
//! [`Gpu::trim`] and a pool that has to give memory back wait for the device.
#![allow(unsafe_code, reason = "calls of the CUDA driver and of cuBLAS")]

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::cublas::sys as blas;
use cudarc::driver::sys as cu;

use super::kernels::{self, KernelParameters};
use super::libraries;
use crate::error::{Result, TrainerError};

/// The oldest CUDA whose drivers take the kernels: arguments of more than 4 KiB, PTX 8.1.
const OLDEST_DRIVER: i32 = 12_010;
/// Memory that cuBLAS may use for itself: with memory of its own its sums have one order.
const BLAS_WORKSPACE: usize = 32 << 20;
/// Shared memory that a block may have without asking for it.
const USUAL_SHARED: u32 = 48 << 10;

/// A GPU in use: its context, its one stream, the kernels, cuBLAS where there is one, and memory.
pub struct Gpu {
    ordinal: u32,
    device: cu::CUdevice,
    context: cu::CUcontext,
    stream: cu::CUstream,
    module: cu::CUmodule,
    kernels: HashMap<String, Kernel>,
    blas: Option<Blas>,
    blocks: Mutex<Blocks>,
    counters: Counters,
    /// Bytes that blocks may take together.
    limit: usize,
}

// SAFETY: the driver's handles may be used from any thread that has the context, which every call
// sets first; cuBLAS's handle is behind a mutex.
unsafe impl Send for Gpu {}
// SAFETY: the same.
unsafe impl Sync for Gpu {}

struct Kernel {
    function: cu::CUfunction,
    parameters: KernelParameters,
}

struct Blas {
    handle: Mutex<blas::cublasHandle_t>,
    workspace: cu::CUdeviceptr,
}

/// Free blocks of a pool up to this are kept: a small model's buffers have sizes that fit each other
/// badly.
const SMALL_POOL: usize = 64 << 20;

/// Blocks of memory, in use or free.
#[derive(Default)]
struct Blocks {
    /// Free ones, smallest first: bytes and address.
    free: Vec<(usize, cu::CUdeviceptr)>,
    /// Bytes of all blocks.
    bytes: usize,
    /// The most that `bytes` has been.
    peak: usize,
    /// Bytes of the blocks in use, and the most that they have been.
    in_use: usize,
    most_in_use: usize,
}

impl Blocks {
    fn use_block(&mut self, bytes: usize) {
        self.in_use += bytes;
        self.most_in_use = self.most_in_use.max(self.in_use);
    }

    /// Whether free blocks have piled up, as they do when the sizes of steps change. A steady step
    /// needs about what was in use at most, so that its blocks are kept.
    fn have_piled_up(&self, bytes: usize) -> bool {
        let most = self.most_in_use + self.most_in_use / 2;
        self.bytes + bytes > most.max(SMALL_POOL)
    }
}

/// What was asked of the device so far.
#[derive(Debug, Default)]
struct Counters {
    launches: AtomicU64,
    products: AtomicU64,
    uploads: AtomicU64,
    uploaded: AtomicU64,
    downloads: AtomicU64,
    synchronisations: AtomicU64,
    allocations: AtomicU64,
    cleared: AtomicU64,
}

/// What was asked of the device so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Kernels of ours that were started.
    pub launches: u64,
    /// Products that cuBLAS was asked for.
    pub products: u64,
    /// Copies to the device.
    pub uploads: u64,
    /// Their bytes.
    pub uploaded: u64,
    /// Copies from the device.
    pub downloads: u64,
    /// Waits for the device.
    pub synchronisations: u64,
    /// Blocks of memory that the driver was asked for.
    pub allocations: u64,
    /// Times that memory was set to zero.
    pub cleared: u64,
}

impl std::ops::Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            launches: self.launches - before.launches,
            products: self.products - before.products,
            uploads: self.uploads - before.uploads,
            uploaded: self.uploaded - before.uploaded,
            downloads: self.downloads - before.downloads,
            synchronisations: self.synchronisations - before.synchronisations,
            allocations: self.allocations - before.allocations,
            cleared: self.cleared - before.cleared,
        }
    }
}

/// Memory of a device.
pub struct Buffer {
    at: cu::CUdeviceptr,
    /// Bytes that were asked for.
    bytes: usize,
    /// Bytes of its block.
    block: usize,
    gpu: Arc<Gpu>,
}

/// An argument of a kernel; it borrows what it points to until the launch is queued.
#[derive(Debug, Clone)]
pub struct Arg<'a> {
    bytes: Vec<u8>,
    of: PhantomData<&'a ()>,
}

impl Arg<'_> {
    pub fn u32(x: usize) -> Self {
        Self::of((x as u32).to_le_bytes())
    }

    pub fn u64(x: usize) -> Self {
        Self::of((x as u64).to_le_bytes())
    }

    pub fn f32(x: f32) -> Self {
        Self::of(x.to_le_bytes())
    }

    fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self { bytes: bytes.as_ref().to_vec(), of: PhantomData }
    }
}

/// The fields of a structure that a kernel takes, in their order; the caller keeps their alignment.
#[derive(Debug, Default)]
pub struct Fields<'a> {
    bytes: Vec<u8>,
    of: PhantomData<&'a ()>,
}

impl<'a> Fields<'a> {
    pub fn u64(mut self, x: u64) -> Self {
        self.bytes.extend(x.to_le_bytes());
        self
    }

    pub fn u32(mut self, x: u32) -> Self {
        self.bytes.extend(x.to_le_bytes());
        self
    }

    pub fn f32(mut self, x: f32) -> Self {
        self.bytes.extend(x.to_le_bytes());
        self
    }

    pub fn address(self, of: &'a Buffer) -> Self {
        self.u64(of.at)
    }

    /// The address of a buffer's byte `first`.
    pub fn address_of(self, of: &'a Buffer, first: usize) -> Self {
        self.u64(of.at + first as u64)
    }

    pub fn then(mut self, other: &Fields<'a>) -> Self {
        self.bytes.extend(&other.bytes);
        self
    }

    /// The structure, filled up with zeros to so many bytes.
    pub fn filled_to(mut self, bytes: usize) -> Self {
        self.bytes.resize(bytes, 0);
        self
    }

    pub fn arg(self) -> Arg<'a> {
        Arg { bytes: self.bytes, of: PhantomData }
    }
}

/// A part of a matrix on the device: values in f32 or bf16, one after another.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    at: cu::CUdeviceptr,
    /// Values.
    pub len: usize,
    /// bf16 instead of f32.
    pub narrow: bool,
    of: PhantomData<&'a ()>,
}

impl<'a> View<'a> {
    /// `len` values of a buffer from the value `first` on.
    pub fn new(buffer: &'a Buffer, first: usize, len: usize, narrow: bool) -> Self {
        let size = value_bytes(narrow);
        assert!((first + len) * size <= buffer.bytes, "a view lies within its buffer");
        Self { at: buffer.at + (first * size) as u64, len, narrow, of: PhantomData }
    }

    /// No values, where a kernel can do without.
    pub const fn none() -> Self {
        Self { at: 0, len: 0, narrow: false, of: PhantomData }
    }

    pub fn arg(self) -> Arg<'a> {
        let narrow = u64::from(self.narrow);
        Fields::default().u64(self.at).u64(self.len as u64).u64(narrow).arg()
    }

    fn cuda_type(self) -> blas::cudaDataType {
        if self.narrow { blas::cudaDataType::CUDA_R_16BF } else { blas::cudaDataType::CUDA_R_32F }
    }
}

/// Bytes of a value.
pub const fn value_bytes(narrow: bool) -> usize {
    if narrow { 2 } else { 4 }
}

/// How many devices the driver shows to this process.
pub fn device_count() -> Result<u32> {
    libraries::driver()?;
    let mut count = 0;
    // SAFETY: the library is there; `count` outlives the call.
    let status = unsafe {
        let status = cu::cuInit(0);
        if status == cu::CUresult::CUDA_SUCCESS {
            cu::cuDeviceGetCount(&raw mut count)
        } else {
            status
        }
    };
    check(status, "look for GPUs").map(|()| count as u32)
}

/// Whether the device can be used; the error says why not.
pub fn check_device(ordinal: u32) -> Result<()> {
    usable(ordinal).map(|_| ())
}

/// The device with this index, and the driver's version.
fn usable(ordinal: u32) -> Result<(cu::CUdevice, i32)> {
    let count = device_count()?;
    if ordinal >= count {
        return Err(TrainerError::Device(format!(
            "there is no GPU cuda:{ordinal}: {count} can be seen (CUDA_VISIBLE_DEVICES chooses among \
             them)"
        )));
    }
    let (mut device, mut version) = (0, 0);
    // SAFETY: the driver is initialised by `device_count`, and both numbers outlive the calls.
    unsafe {
        check(cu::cuDriverGetVersion(&raw mut version), "ask the driver for its version")?;
        check(cu::cuDeviceGet(&raw mut device, ordinal as i32), "take the device")?;
    }
    check_version(version)?;
    check_capability(ordinal, device)?;
    Ok((device, version))
}

/// Bytes that the driver has free on a device, the context of this process apart.
pub fn free_memory(ordinal: u32) -> Result<u64> {
    let (device, _) = usable(ordinal)?;
    let mut context = std::ptr::null_mut();
    let (mut free, mut total) = (0, 0);
    // SAFETY: every pointer outlives its call, and the context is released once it is retained.
    unsafe {
        check(cu::cuDevicePrimaryCtxRetain(&raw mut context, device), "make the GPU's context")?;
        let status = match cu::cuCtxSetCurrent(context) {
            cu::CUresult::CUDA_SUCCESS => cu::cuMemGetInfo_v2(&raw mut free, &raw mut total),
            failed => failed,
        };
        let released = cu::cuDevicePrimaryCtxRelease_v2(device);
        check(status, "ask for the free memory")?;
        check(released, "leave the GPU's context")?;
    }
    Ok(free as u64)
}

impl Gpu {
    /// Takes a device into use; its memory, cuBLAS's included, takes at most `limit` bytes.
    pub fn open(ordinal: u32, limit: usize, with_cublas: bool) -> Result<Arc<Self>> {
        let (device, version) = usable(ordinal)?;
        let mut context = std::ptr::null_mut();
        let (mut stream, mut module) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the driver is initialised by `usable`, and every pointer outlives its call.
        unsafe {
            let retained = cu::cuDevicePrimaryCtxRetain(&raw mut context, device);
            check(retained, "make the GPU's context")?;
            check(cu::cuCtxSetCurrent(context), "enter the GPU's context")?;
            let non_blocking = cu::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
            check(cu::cuStreamCreate(&raw mut stream, non_blocking), "make a stream")?;
        }
        let ptx = kernels::ptx();
        let text = CString::new(ptx.as_str()).map_err(|e| broken(&e.to_string()))?;
        // SAFETY: the image is PTX that ends with a zero.
        let loaded = unsafe { cu::cuModuleLoadData(&raw mut module, text.as_ptr().cast()) };
        check(loaded, "compile the kernels")?;
        let kernels = load_kernels(module, &ptx)?;
        let mut gpu = Self {
            ordinal,
            device,
            context,
            stream,
            module,
            kernels,
            blas: None,
            blocks: Mutex::default(),
            counters: Counters::default(),
            limit,
        };
        if with_cublas && libraries::cublas(version) {
            gpu.blas = gpu.open_blas()?;
        }
        Ok(Arc::new(gpu))
    }

    /// `None` where cuBLAS does not work with this driver.
    fn open_blas(&self) -> Result<Option<Blas>> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the library is there, the context is current, and `handle` outlives the call.
        if unsafe { blas::cublasCreate_v2(&raw mut handle) }
            != blas::cublasStatus_t::CUBLAS_STATUS_SUCCESS
        {
            return Ok(None);
        }
        let workspace = self.allocate(BLAS_WORKSPACE, &mut self.lock())?;
        // SAFETY: the stream and the workspace live as long as the handle.
        let statuses = unsafe {
            [
                blas::cublasSetStream_v2(handle, self.stream.cast()),
                blas::cublasSetWorkspace_v2(handle, workspace as *mut c_void, BLAS_WORKSPACE),
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

    /// The device's index among the visible ones.
    pub const fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Its name, as the driver gives it.
    pub fn name(&self) -> String {
        let mut name = [0_u8; 256];
        // SAFETY: the driver writes at most so many bytes, the last of them zero.
        let status = unsafe { cu::cuDeviceGetName(name.as_mut_ptr().cast(), 256, self.device) };
        let text =
            CStr::from_bytes_until_nul(&name).ok().filter(|_| status == cu::CUresult::CUDA_SUCCESS);
        text.map_or_else(|| "a GPU".to_owned(), |text| text.to_string_lossy().into_owned())
    }

    /// What was asked of the device so far.
    pub fn counts(&self) -> Counts {
        let c = &self.counters;
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        Counts {
            launches: of(&c.launches),
            products: of(&c.products),
            uploads: of(&c.uploads),
            uploaded: of(&c.uploaded),
            downloads: of(&c.downloads),
            synchronisations: of(&c.synchronisations),
            allocations: of(&c.allocations),
            cleared: of(&c.cleared),
        }
    }

    /// The most bytes its blocks have taken together.
    pub fn peak_bytes(&self) -> usize {
        self.lock().peak
    }

    /// Gives the free blocks back to the driver.
    pub fn trim(&self) {
        // What cannot be given back stays among the free blocks; the next call reports the device.
        let _ = self.give_back(&mut self.lock(), usize::MAX);
    }

    /// Memory with unspecified contents. The error is [`TrainerError::OutOfMemory`] where there is
    /// none left.
    pub fn buffer(self: &Arc<Self>, bytes: usize) -> Result<Buffer> {
        let (block, at) = self.block(bytes.max(1))?;
        Ok(Buffer { at, bytes, block, gpu: Arc::clone(self) })
    }

    fn block(&self, bytes: usize) -> Result<(usize, cu::CUdeviceptr)> {
        let mut blocks = self.lock();
        let at = blocks.free.partition_point(|(block, _)| *block < bytes);
        if blocks.free.get(at).is_some_and(|(block, _)| block / 2 <= bytes.max(4096)) {
            let block = blocks.free.remove(at);
            blocks.use_block(block.0);
            return Ok(block);
        }
        self.enter()?;
        let class = size_class(bytes);
        if blocks.have_piled_up(class) {
            self.give_back(&mut blocks, bytes)?;
        }
        let at = self.allocate(class, &mut blocks)?;
        blocks.use_block(class);
        Ok((class, at))
    }

    fn allocate(&self, bytes: usize, blocks: &mut Blocks) -> Result<cu::CUdeviceptr> {
        if blocks.bytes + bytes > self.limit {
            self.give_back(blocks, usize::MAX)?;
        }
        if blocks.bytes + bytes > self.limit {
            return Err(out_of_memory(
                bytes,
                blocks.bytes,
                &format!("{} may be used", mib(self.limit)),
            ));
        }
        let mut at = 0;
        self.counters.allocations.fetch_add(1, Relaxed);
        // SAFETY: the context is current, and `at` outlives the call.
        let mut status = unsafe { cu::cuMemAlloc_v2(&raw mut at, bytes) };
        if status == cu::CUresult::CUDA_ERROR_OUT_OF_MEMORY && !blocks.free.is_empty() {
            self.give_back(blocks, usize::MAX)?;
            // SAFETY: as above.
            status = unsafe { cu::cuMemAlloc_v2(&raw mut at, bytes) };
        }
        if status == cu::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return Err(out_of_memory(bytes, blocks.bytes, "the GPU has no more"));
        }
        self.check(status, "take memory")?;
        blocks.bytes += bytes;
        blocks.peak = blocks.peak.max(blocks.bytes);
        Ok(at)
    }

    /// Gives free blocks back to the driver, largest first, until so many bytes are given back.
    fn give_back(&self, blocks: &mut Blocks, bytes: usize) -> Result<()> {
        if blocks.free.is_empty() {
            return Ok(());
        }
        // Work that is queued may still use them.
        self.wait()?;
        let mut returned = 0;
        while returned < bytes
            && let Some((block, at)) = blocks.free.pop()
        {
            // SAFETY: the block is no buffer's, and no queued work has it.
            let status = unsafe { cu::cuMemFree_v2(at) };
            blocks.bytes -= block;
            returned += block;
            self.check(status, "give memory back")?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the context that of the calling thread.
    fn enter(&self) -> Result<()> {
        // SAFETY: the context lives as long as `self`.
        self.check(unsafe { cu::cuCtxSetCurrent(self.context) }, "enter the GPU's context")
    }

    /// Waits until all that is queued is done.
    fn wait(&self) -> Result<()> {
        self.enter()?;
        self.counters.synchronisations.fetch_add(1, Relaxed);
        // SAFETY: the stream lives as long as `self`.
        self.check(unsafe { cu::cuStreamSynchronize(self.stream) }, "wait for the GPU")
    }

    /// Copies bytes into a buffer, from its byte `first` on.
    ///
    /// # Panics
    /// If they do not fit into it.
    pub fn upload(&self, to: &mut Buffer, first: usize, bytes: &[u8]) -> Result<()> {
        assert!(first + bytes.len() <= to.bytes, "a copy stays within its buffer");
        if bytes.is_empty() {
            return Ok(());
        }
        self.enter()?;
        self.counters.uploads.fetch_add(1, Relaxed);
        self.counters.uploaded.fetch_add(bytes.len() as u64, Relaxed);
        let (to, from) = (to.at + first as u64, bytes.as_ptr().cast());
        // SAFETY: the buffer is long enough. From pageable memory the driver has read the bytes when
        // the call returns (CUDA driver API, API synchronization behavior).
        let status = unsafe { cu::cuMemcpyHtoDAsync_v2(to, from, bytes.len(), self.stream) };
        self.check(status, "copy to the GPU")
    }

    /// Copies the first bytes of a buffer into `to`, and waits for them.
    ///
    /// # Panics
    /// If the buffer has fewer.
    pub fn download(&self, from: &Buffer, to: &mut [u8]) -> Result<()> {
        assert!(to.len() <= from.bytes, "a copy stays within its buffer");
        if to.is_empty() {
            return Ok(());
        }
        self.enter()?;
        self.counters.downloads.fetch_add(1, Relaxed);
        let (len, into) = (to.len(), to.as_mut_ptr().cast());
        // SAFETY: both are long enough, and `to` is borrowed until the copy is done.
        let status = unsafe { cu::cuMemcpyDtoHAsync_v2(into, from.at, len, self.stream) };
        let queued = self.check(status, "copy from the GPU");
        self.wait().and(queued)
    }

    /// Sets all bytes of a buffer to zero.
    pub fn clear(&self, buffer: &mut Buffer) -> Result<()> {
        self.enter()?;
        self.counters.cleared.fetch_add(1, Relaxed);
        // SAFETY: the buffer is so long.
        let status = unsafe { cu::cuMemsetD8Async(buffer.at, 0, buffer.bytes.max(1), self.stream) };
        self.check(status, "clear memory")
    }

    /// Queues a kernel: blocks along x and y, threads a block, bytes of shared memory that it asks
    /// for, and its arguments.
    ///
    /// # Panics
    /// If the sizes of the arguments are not those of the kernel's parameters.
    pub fn launch(
        &self,
        name: &'static str,
        (blocks, blocks_y): (usize, usize),
        threads: u32,
        shared: usize,
        args: &[Arg<'_>],
    ) -> Result<()> {
        if blocks == 0 || blocks_y == 0 {
            return Ok(());
        }
        let kernel = self.kernels.get(name).ok_or_else(|| broken(&format!("no kernel {name}")))?;
        let fits = kernel.parameters.iter().copied().eq(args.iter().map(|arg| arg.bytes.len()));
        assert!(fits, "the arguments of {name} have the sizes of its parameters");
        let (x, y) = (launch_size(name, blocks)?, launch_size(name, blocks_y)?);
        self.enter()?;
        self.counters.launches.fetch_add(1, Relaxed);
        let mut pointers: Vec<*mut c_void> =
            args.iter().map(|arg| arg.bytes.as_ptr().cast_mut().cast()).collect();
        let shared = shared as u32;
        // SAFETY: the driver copies the arguments, which have the sizes of the kernel's parameters,
        // before the call returns. Their addresses are those of buffers that are borrowed until then;
        // what takes such a buffer's memory later is queued later. Within its matrices a kernel stays
        // by its own sizes, which the tests check access by access.
        unsafe {
            if shared > USUAL_SHARED {
                let more =
                    cu::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                let status = cu::cuFuncSetAttribute(kernel.function, more, shared as i32);
                self.check(status, "ask for shared memory")?;
            }
            let (stream, extra) = (self.stream, std::ptr::null_mut());
            let args = pointers.as_mut_ptr();
            let status = cu::cuLaunchKernel(
                kernel.function,
                x,
                y,
                1,
                threads,
                1,
                1,
                shared,
                stream,
                args,
                extra,
            );
            self.check(status, name)
        }
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
        self.enter()?;
        self.counters.products.fetch_add(1, Relaxed);
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

    fn check(&self, status: cu::CUresult, what: &str) -> Result<()> {
        check(status, what).map_err(|error| match error {
            TrainerError::Device(message) => {
                TrainerError::Device(format!("the GPU cuda:{} {message}", self.ordinal))
            }
            other => other,
        })
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // A device that fails here has failed before, and was reported then. Nothing is given back
        // singly: work may be queued that has it, and the context takes it all along.
        if self.wait().is_err() {
            // SAFETY: the context is retained once by `self`.
            let _ = unsafe { cu::cuDevicePrimaryCtxRelease_v2(self.device) };
            return;
        }
        let free = std::mem::take(&mut self.lock().free);
        // SAFETY: the last buffer is gone, and nothing is queued any more.
        unsafe {
            if let Some(Blas { handle, workspace }) = self.blas.take() {
                let handle = handle.into_inner().unwrap_or_else(PoisonError::into_inner);
                let _ = blas::cublasDestroy_v2(handle);
                let _ = cu::cuMemFree_v2(workspace);
            }
            for (_, at) in free {
                let _ = cu::cuMemFree_v2(at);
            }
            let _ = cu::cuModuleUnload(self.module);
            let _ = cu::cuStreamDestroy_v2(self.stream);
            let _ = cu::cuDevicePrimaryCtxRelease_v2(self.device);
        }
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu[cuda:{}]", self.ordinal)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut blocks = self.gpu.lock();
        let at = blocks.free.partition_point(|(block, _)| *block < self.block);
        blocks.free.insert(at, (self.block, self.at));
        blocks.in_use -= self.block;
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer[{} bytes]", self.bytes)
    }
}

fn load_kernels(module: cu::CUmodule, ptx: &str) -> Result<HashMap<String, Kernel>> {
    let kernel = |(name, parameters): (String, KernelParameters)| {
        let c_name = CString::new(name.as_str()).map_err(|e| broken(&e.to_string()))?;
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is loaded, and both pointers outlive the call.
        let status = unsafe { cu::cuModuleGetFunction(&raw mut function, module, c_name.as_ptr()) };
        check(status, "find a kernel")?;
        Ok((name, Kernel { function, parameters }))
    };
    kernels::parameters(ptx).into_iter().map(kernel).collect()
}

fn check_version(version: i32) -> Result<()> {
    if version >= OLDEST_DRIVER {
        return Ok(());
    }
    let [has, needs] = [version, OLDEST_DRIVER].map(|v| format!("{}.{}", v / 1000, v % 1000 / 10));
    Err(TrainerError::Device(format!(
        "the NVIDIA driver is one of CUDA {has}; {needs} or newer is needed (driver 530)"
    )))
}

fn check_capability(ordinal: u32, device: cu::CUdevice) -> Result<()> {
    let [mut major, mut minor] = [0, 0];
    let (a, b) = (
        cu::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
        cu::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
    );
    // SAFETY: the device is one of the driver's, and both numbers outlive the calls.
    unsafe {
        check(cu::cuDeviceGetAttribute(&raw mut major, a, device), "ask for its capability")?;
        check(cu::cuDeviceGetAttribute(&raw mut minor, b, device), "ask for its capability")?;
    }
    if major >= 8 {
        return Ok(());
    }
    Err(TrainerError::Device(format!(
        "the GPU cuda:{ordinal} has compute capability {major}.{minor}; 8.0 or newer is needed \
         (A100, RTX 30 and later)"
    )))
}

fn check(status: cu::CUresult, what: &str) -> Result<()> {
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

fn check_blas(status: blas::cublasStatus_t, what: &str) -> Result<()> {
    match status {
        blas::cublasStatus_t::CUBLAS_STATUS_SUCCESS => Ok(()),
        blas::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => {
            Err(TrainerError::OutOfMemory(format!("failed to {what}: {status:?}")))
        }
        other => Err(TrainerError::Device(format!("failed to {what}: {other:?}"))),
    }
}

fn broken(what: &str) -> TrainerError {
    TrainerError::Device(format!("the CUDA kernels in this binary are broken: {what}"))
}

fn launch_size(name: &str, blocks: usize) -> Result<u32> {
    u32::try_from(blocks).map_err(|_| broken(&format!("{blocks} blocks of {name}")))
}

fn size(n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| broken(&format!("a product of {n} rows")))
}

fn out_of_memory(bytes: usize, in_use: usize, limit: &str) -> TrainerError {
    TrainerError::OutOfMemory(format!(
        "a buffer of {} beside {} in use ({limit})",
        mib(bytes),
        mib(in_use)
    ))
}

fn mib(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Sizes are rounded up to an eighth of their power of two, so that steps with slightly different
/// token counts share blocks.
fn size_class(bytes: usize) -> usize {
    let granule = (bytes.next_power_of_two() / 8).max(512);
    bytes.div_ceil(granule) * granule
}
