//! Which device to train on, and in which number format.

use spec::{DeviceChoice, Dtype};

use crate::backend::cuda::{self, Numbers};
use crate::error::{Result, TrainerError};
use crate::memory;
use crate::model::BaseStorage;

/// A device that was found usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// This machine's processor, by the slice kernels.
    Cpu,
    /// A GPU, by the CUDA kernels.
    Cuda {
        /// Its index among those that are visible.
        index: u32,
        /// The numbers of base and activations.
        numbers: Numbers,
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
    pub fn keeps_base(&self) -> BaseStorage {
        match self {
            Self::Cpu => BaseStorage::Cpu,
            Self::Cuda { numbers, .. } => BaseStorage::Gpu { value_bytes: numbers.bytes() as u64 },
        }
    }

    /// Bytes that training may take on it: on the CPU what is free, and what `limit` leaves; on a GPU
    /// what its driver has free. `None` where neither reports it.
    pub fn available_memory(&self, limit: Option<u64>) -> Option<u64> {
        match self {
            Self::Cpu => memory::available(limit),
            Self::Cuda { index, .. } => cuda::free_memory(*index).ok(),
        }
    }
}

/// How many GPUs the driver shows to this process, which `CUDA_VISIBLE_DEVICES` chooses among; 0
/// without a driver.
pub fn visible_gpus() -> u32 {
    cuda::device_count().unwrap_or(0)
}

/// Picks the device. Returns it with a note when it is not what one might expect (asked for
/// `auto`, and there is a GPU, but it cannot be used).
pub fn select(choice: DeviceChoice, dtype: Dtype) -> Result<(Device, Option<String>)> {
    match choice {
        DeviceChoice::Cpu => cpu(dtype, None),
        DeviceChoice::Cuda(index) => Ok((gpu(index, dtype)?, None)),
        DeviceChoice::Auto if visible_gpus() == 0 => cpu(dtype, None),
        DeviceChoice::Auto => match gpu(0, dtype) {
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

fn gpu(index: u32, dtype: Dtype) -> Result<Device> {
    cuda::check_device(index)?;
    let numbers = match dtype {
        Dtype::F32 => Numbers::F32,
        Dtype::Auto | Dtype::Bf16 => Numbers::Bf16,
    };
    Ok(Device::Cuda { index, numbers })
}
