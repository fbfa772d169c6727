//! Devices that the driver shows, and whether they can be used.
#![allow(unsafe_code, reason = "calls of the CUDA driver")]

use cudarc::driver::sys as cu;

use super::super::libraries;
use super::status::check;
use crate::error::{Result, TrainerError};

/// The oldest CUDA whose drivers take the kernels: arguments of more than 4 KiB, PTX 8.1.
const OLDEST_DRIVER: i32 = 12_010;

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
pub fn usable(ordinal: u32) -> Result<(cu::CUdevice, i32)> {
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
