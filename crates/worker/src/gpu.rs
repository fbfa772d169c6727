//! The GPUs that this process may use, as NVIDIA's driver tells. Its library is loaded when asked;
//! a machine without it has none.

use nvml_wrapper::Nvml;

/// Names the GPUs that programs may use, by index or by the beginning of their UUIDs.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// What the driver calls it.
    pub name: String,
    /// `GPU-...`, the same whatever is visible.
    pub uuid: String,
    /// Bytes that no process has taken.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// The GPUs that are visible to CUDA programs, in the order in which these number them.
pub fn visible() -> Vec<Gpu> {
    let all = Nvml::init().map(|nvml| all(&nvml)).unwrap_or_default();
    match std::env::var(VISIBLE) {
        Ok(chosen) => choose(&all, &chosen),
        Err(_) => all,
    }
}

fn all(nvml: &Nvml) -> Vec<Gpu> {
    let gpu = |index| {
        let device = nvml.device_by_index(index).ok()?;
        let memory = device.memory_info().ok()?;
        Some(Gpu {
            name: device.name().unwrap_or_default(),
            uuid: device.uuid().ok()?,
            free_bytes: memory.free,
            total_bytes: memory.total,
        })
    };
    (0..nvml.device_count().unwrap_or(0)).filter_map(gpu).collect()
}

/// Those that the variable names, up to the first name that is none, as CUDA does it.
fn choose(all: &[Gpu], chosen: &str) -> Vec<Gpu> {
    let find = |name: &str| match name.parse::<usize>() {
        Ok(index) => all.get(index).cloned(),
        Err(_) if name.starts_with("GPU-") => {
            all.iter().find(|gpu| gpu.uuid.starts_with(name)).cloned()
        }
        Err(_) => None,
    };
    chosen.split(',').map(str::trim).map_while(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus() -> Vec<Gpu> {
        let gpu = |uuid: &str| Gpu {
            name: "a".into(),
            uuid: uuid.into(),
            free_bytes: 1 << 30,
            total_bytes: 2 << 30,
        };
        ["GPU-aa11", "GPU-bb22", "GPU-cc33"].map(gpu).to_vec()
    }

    #[test]
    fn the_variable_chooses_and_orders_and_ends_at_the_first_name_that_is_none() {
        let chosen = |text: &str| -> Vec<String> {
            choose(&gpus(), text).into_iter().map(|gpu| gpu.uuid).collect()
        };
        assert_eq!(chosen("2,0"), ["GPU-cc33", "GPU-aa11"]);
        assert_eq!(chosen("GPU-bb"), ["GPU-bb22"]);
        assert_eq!(chosen("1, -1, 0"), ["GPU-bb22"]);
        assert_eq!(chosen(""), Vec::<String>::new());
        assert_eq!(chosen("7"), Vec::<String>::new());
    }

    #[test]
    fn a_machine_without_the_driver_has_no_gpu_and_that_is_no_error() {
        for gpu in visible() {
            println!("{gpu:?}");
            assert!(gpu.free_bytes <= gpu.total_bytes, "{gpu:?}");
        }
    }
}
