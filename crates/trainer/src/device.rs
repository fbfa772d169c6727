//! Which device to train on, and in which number format.

use candle_core::{DType, Device as CandleDevice};
use spec::{DeviceChoice, Dtype};

use crate::error::{Result, TrainerError};
use crate::memory;
use crate::model::BaseOn;

/// A device that was found usable.
#[derive(Debug, Clone)]
pub enum Device {
    /// This machine's processor, by the slice kernels.
    Cpu,
    /// A GPU, by candle's CUDA operations.
    Cuda {
        /// Its index.
        index: u32,
        /// The device and the number format of base and activations.
        device: CandleDevice,
        /// bf16 or f32.
        dtype: DType,
    },
}

impl Device {
    /// `cpu` or `cuda:0`.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu => "cpu".to_owned(),
            Self::Cuda { index, .. } => format!("cuda:{index}"),
        }
    }
}

impl Device {
    /// How a base model is kept on it.
    pub fn keeps_base(&self) -> BaseOn {
        match self {
            Self::Cpu => BaseOn::Cpu,
            Self::Cuda { dtype, .. } => BaseOn::Gpu { value_bytes: dtype.size_in_bytes() as u64 },
        }
    }

    /// Bytes that training may take on it: on the CPU what is free, and what `limit` leaves; not
    /// told for a GPU, where a step that does not fit is cut when it fails.
    pub fn available_memory(&self, limit: Option<u64>) -> Option<u64> {
        match self {
            Self::Cpu => memory::available(limit),
            Self::Cuda { .. } => None,
        }
    }
}

/// Whether this binary was built with CUDA.
pub const fn cuda_available() -> bool {
    cfg!(feature = "cuda")
}

/// Picks the device. Returns it with a note when it is not what one might expect (asked for
/// `auto`, built for CUDA, but no GPU answers).
pub fn select(choice: DeviceChoice, dtype: Dtype) -> Result<(Device, Option<String>)> {
    match choice {
        DeviceChoice::Cpu => cpu(dtype, None),
        DeviceChoice::Cuda(_) if !cuda_available() => Err(TrainerError::Device(
            "this binary was built without CUDA; build it with `--features cuda`, or set \
             `executor.devices: cpu`"
                .to_owned(),
        )),
        DeviceChoice::Cuda(index) => Ok((cuda(index, dtype)?, None)),
        DeviceChoice::Auto if !cuda_available() => cpu(dtype, None),
        DeviceChoice::Auto => match cuda(0, dtype) {
            Ok(device) => Ok((device, None)),
            Err(error) => cpu(dtype, Some(format!("no GPU can be used ({error}); using the CPU"))),
        },
    }
}

fn cpu(dtype: Dtype, note: Option<String>) -> Result<(Device, Option<String>)> {
    if dtype == Dtype::Bf16 {
        return Err(TrainerError::Device(
            "train.dtype is bf16, but the CPU computes in f32; use `auto` or `f32`".to_owned(),
        ));
    }
    Ok((Device::Cpu, note))
}

fn cuda(index: u32, dtype: Dtype) -> Result<Device> {
    let device = CandleDevice::new_cuda(index as usize)
        .map_err(|e| TrainerError::Device(format!("the GPU cuda:{index} cannot be used: {e}")))?;
    let dtype = match dtype {
        Dtype::F32 => DType::F32,
        Dtype::Auto | Dtype::Bf16 => DType::BF16,
    };
    Ok(Device::Cuda { index, device, dtype })
}
