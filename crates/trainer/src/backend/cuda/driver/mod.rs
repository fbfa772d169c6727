//! One device with its one stream: memory, copies, launches and cuBLAS's products.
//!
//! Everything is queued on one stream, in the order of the calls. Small operations wait in a
//! [`Program`] for those that follow, and are queued with them before anything else is. Memory returns
//! to the pool when its [`Buffer`] is dropped and may be taken by the next one at once: whatever was
//! queued with it comes before whatever is queued with its successor. Only [`Gpu::download`],
//! [`Gpu::trim`] and a pool that has to give memory back to the driver wait for the device.
#![allow(unsafe_code, reason = "calls of the CUDA driver")]

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys as cu;

use super::kernels::{self, KernelParameters};
use super::libraries;
use crate::error::{Result, TrainerError};

mod arguments;
mod counters;
mod device;
mod low_rank;
mod low_rank_table;
mod memory;
mod products;
mod program;
mod status;

pub use arguments::{Arg, Fields, View, value_bytes};
pub use counters::Counts;
pub use device::{check_device, device_count, free_memory};
pub use low_rank_table::{LoraCall, LoraPart, LoraSlot, MOST_PARTS};
pub use memory::Buffer;
pub use program::{Job, Kind};

use counters::Counters;
use device::usable;
use memory::Blocks;
use products::Blas;
use program::Program;
use status::{broken, check};

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
    /// What waits for the next operation; locked before `blocks`.
    pending: Mutex<Program>,
    blocks: Mutex<Blocks>,
    /// Two counters of blocks that programs keep on the device.
    progress: cu::CUdeviceptr,
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
            pending: Mutex::default(),
            blocks: Mutex::default(),
            progress: 0,
            counters: Counters::default(),
            limit,
        };
        gpu.progress = gpu.new_progress()?;
        if with_cublas && libraries::cublas(version) {
            gpu.blas = gpu.open_blas()?;
        }
        Ok(Arc::new(gpu))
    }

    /// The device's index among the visible ones.
    pub const fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Its name, as the driver gives it.
    pub fn name(&self) -> String {
        let mut name = [0_u8; 256];
        // SAFETY: the driver writes at most this many bytes, the last of them zero.
        let status = unsafe { cu::cuDeviceGetName(name.as_mut_ptr().cast(), 256, self.device) };
        let text =
            CStr::from_bytes_until_nul(&name).ok().filter(|_| status == cu::CUresult::CUDA_SUCCESS);
        text.map_or_else(|| "a GPU".to_owned(), |text| text.to_string_lossy().into_owned())
    }

    /// What was asked of the device so far; what was still waiting is queued first.
    pub fn counts(&self) -> Result<Counts> {
        self.run_pending()?;
        Ok(self.counters.counts())
    }

    /// Makes the context that of the calling thread.
    fn enter(&self) -> Result<()> {
        // SAFETY: the context lives as long as `self`.
        self.check(unsafe { cu::cuCtxSetCurrent(self.context) }, "enter the GPU's context")
    }

    /// Waits until all that was asked for is done.
    fn wait(&self) -> Result<()> {
        self.run_pending()?;
        self.settle()
    }

    /// Whether the device still answers. An error of a kernel or of the hardware stays with the context:
    /// the driver answers every later call with it.
    pub fn check_device(&self) -> Result<()> {
        self.settle()
    }

    /// Waits until all that is queued is done.
    fn settle(&self) -> Result<()> {
        self.enter()?;
        self.counters.synchronisations.add(1);
        // SAFETY: the stream lives as long as `self`.
        self.check(unsafe { cu::cuStreamSynchronize(self.stream) }, "wait for the GPU")
    }

    fn pending(&self) -> MutexGuard<'_, Program> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the jobs that wait.
    fn run_pending(&self) -> Result<()> {
        self.run(&mut self.pending())
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
        let mut pending = self.pending();
        self.run(&mut pending)?;
        self.start(name, (blocks, blocks_y), threads, shared, args)
    }

    /// The same, before the jobs that wait.
    fn start(
        &self,
        name: &'static str,
        (blocks, blocks_y): (usize, usize),
        threads: u32,
        shared: usize,
        args: &[Arg<'_>],
    ) -> Result<()> {
        let kernel = self.kernels.get(name).ok_or_else(|| broken(&format!("no kernel {name}")))?;
        let fits = kernel.parameters.iter().copied().eq(args.iter().map(|arg| arg.bytes.len()));
        assert!(fits, "the arguments of {name} have the sizes of its parameters");
        let (x, y) = (status::launch_size(name, blocks)?, status::launch_size(name, blocks_y)?);
        self.enter()?;
        self.counters.launches.add(1);
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
        let free = std::mem::take(&mut self.blocks().free);
        // SAFETY: the last buffer is gone, and nothing is queued any more.
        unsafe {
            if let Some(blas) = self.blas.take() {
                let _ = cu::cuMemFree_v2(blas.close());
            }
            let _ = cu::cuMemFree_v2(self.progress);
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
