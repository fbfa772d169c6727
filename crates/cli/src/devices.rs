//! Which devices a sweep's workers take, one each.

use spec::{DeviceChoice, Devices, ExecutorSettings};

use crate::error::CliError;

/// The device of every worker, in order.
pub fn of(executor: &ExecutorSettings) -> Vec<DeviceChoice> {
    let one = executor.device;
    let several = |count: u32| match one {
        DeviceChoice::Auto if trainer::cuda_available() => {
            (0..count).map(DeviceChoice::Cuda).collect()
        }
        DeviceChoice::Cuda(first) => (first..first + count).map(DeviceChoice::Cuda).collect(),
        cpu => vec![cpu; count as usize],
    };
    match &executor.devices {
        Some(Devices::List(list)) => list.clone(),
        Some(Devices::Count(count)) => several(*count),
        None | Some(Devices::All) => vec![one],
    }
}

/// A device as a worker's argument.
pub fn name(device: DeviceChoice) -> String {
    match device {
        DeviceChoice::Auto => "auto".to_owned(),
        DeviceChoice::Cpu => "cpu".to_owned(),
        DeviceChoice::Cuda(index) => format!("cuda:{index}"),
    }
}

/// The reverse of [`name`].
pub fn parse(name: &str) -> Result<DeviceChoice, CliError> {
    match name {
        "auto" => Ok(DeviceChoice::Auto),
        "cpu" => Ok(DeviceChoice::Cpu),
        other => other
            .strip_prefix("cuda:")
            .and_then(|index| index.parse().ok())
            .map(DeviceChoice::Cuda)
            .ok_or_else(|| CliError::NoDevice { name: other.to_owned() }),
    }
}
