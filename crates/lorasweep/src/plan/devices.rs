//! Which devices a sweep's workers take, one each, and how much memory each may use there.

use spec::{DeviceChoice, Devices, ExecutorSettings, Sweep};

use crate::error::Error;

/// The device of every worker, in order.
pub fn of(executor: &ExecutorSettings) -> Result<Vec<DeviceChoice>, Error> {
    choose(executor, trainer::visible_gpus())
}

/// The same with this many usable GPUs.
fn choose(executor: &ExecutorSettings, gpus: u32) -> Result<Vec<DeviceChoice>, Error> {
    let one = executor.device;
    let of_gpus = |first: u32, count: u32| -> Result<Vec<DeviceChoice>, Error> {
        if first + count > gpus {
            return Err(Error::TooFewGpus { asked: first + count, visible: gpus });
        }
        Ok((first..first + count).map(DeviceChoice::Cuda).collect())
    };
    match (&executor.devices, one) {
        (Some(Devices::List(list)), _) => Ok(list.clone()),
        (Some(Devices::All), DeviceChoice::Auto | DeviceChoice::Cuda(_)) if gpus > 0 => {
            of_gpus(0, gpus)
        }
        (None | Some(Devices::All), _) => Ok(vec![one]),
        (Some(Devices::Count(count)), DeviceChoice::Cuda(first)) => of_gpus(first, *count),
        (Some(Devices::Count(count)), DeviceChoice::Auto) if gpus > 0 => of_gpus(0, *count),
        (Some(Devices::Count(count)), _) => Ok(vec![DeviceChoice::Cpu; *count as usize]),
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
pub fn parse(name: &str) -> Result<DeviceChoice, Error> {
    match name {
        "auto" => Ok(DeviceChoice::Auto),
        "cpu" => Ok(DeviceChoice::Cpu),
        other => other
            .strip_prefix("cuda:")
            .and_then(|index| index.parse().ok())
            .map(DeviceChoice::Cuda)
            .ok_or_else(|| Error::NoDevice { name: other.to_owned() }),
    }
}

/// The sweep as its first worker sees it.
pub fn on_first_device(sweep: &Sweep) -> Result<Sweep, Error> {
    let devices = of(&sweep.executor)?;
    let mut sweep = sweep.clone();
    sweep.executor.device = devices.first().copied().unwrap_or(DeviceChoice::Auto);
    sweep.executor.memory_limit = memory_limit(&sweep.executor, &devices);
    Ok(sweep)
}

/// Bytes that each worker may take on the CPU: what the settings say, and of what is free its share.
pub fn memory_limit(executor: &ExecutorSettings, devices: &[DeviceChoice]) -> Option<u64> {
    let on_cpu = devices.iter().filter(|&&device| device == DeviceChoice::Cpu).count() as u64;
    if on_cpu < 2 {
        return executor.memory_limit;
    }
    let share = trainer::memory::available(None).map(|bytes| bytes / on_cpu);
    [executor.memory_limit, share].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use DeviceChoice::{Auto, Cpu, Cuda};

    use super::*;

    fn with(device: DeviceChoice, devices: Devices) -> ExecutorSettings {
        ExecutorSettings { device, devices: Some(devices), ..ExecutorSettings::default() }
    }

    #[test]
    fn a_number_means_gpus_where_there_are_some_and_else_a_share_of_the_processor() {
        let two = with(Auto, Devices::Count(2));
        assert_eq!(choose(&two, 4).unwrap(), [Cuda(0), Cuda(1)]);
        assert_eq!(choose(&two, 0).unwrap(), [Cpu, Cpu]);
        assert_eq!(choose(&with(Cpu, Devices::Count(2)), 4).unwrap(), [Cpu, Cpu]);
        assert_eq!(choose(&with(Auto, Devices::All), 3).unwrap(), [Cuda(0), Cuda(1), Cuda(2)]);
        assert_eq!(choose(&with(Auto, Devices::All), 0).unwrap(), [Auto]);
    }

    #[test]
    fn more_gpus_than_there_are_is_an_error_that_says_how_many_there_are() {
        let error = choose(&with(Auto, Devices::Count(3)), 2).unwrap_err();
        assert_eq!(error.to_string(), "the sweep asks for 3 GPUs, but 2 are visible");
    }

    #[test]
    fn a_device_is_read_back_from_its_name() {
        for device in [Auto, Cpu, Cuda(3)] {
            assert_eq!(parse(&name(device)).unwrap(), device);
        }
    }
}
