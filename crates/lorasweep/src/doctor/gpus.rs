//! The CUDA driver, its libraries, and each GPU.

use std::path::{Path, PathBuf};

use trainer::Device;
use trainer::backend::cuda::{self, Numbers};
use trainer::self_check::check_kernels;

use super::SystemCheck;
use super::kernels::{failed, outcome};
use crate::size::bytes;

/// The driver, then each GPU with its memory, its kernels and cuBLAS.
pub fn checks(model: &Path) -> Vec<SystemCheck> {
    let count = match cuda::device_count() {
        Ok(count) => count,
        Err(error) if expects_gpus() => {
            return vec![SystemCheck::warn("cuda", &error.to_string(), "sweeps use the CPU")];
        }
        Err(error) => return vec![SystemCheck::ok("cuda", &format!("none ({error})"))],
    };
    let driver =
        opened("libcuda.so").map_or_else(String::new, |path| format!("{}: ", shown(&path)));
    let devices = if count == 1 { "1 GPU".to_owned() } else { format!("{count} GPUs") };
    let mut found = vec![if count == 0 {
        let help = "CUDA_VISIBLE_DEVICES chooses among the GPUs; sweeps use the CPU";
        SystemCheck::warn("cuda", &format!("{driver}no GPU is visible"), help)
    } else {
        SystemCheck::ok("cuda", &format!("{driver}{devices}"))
    }];
    found.extend((0..count).flat_map(|index| gpu(index, model)));
    found
}

fn gpu(index: u32, model: &Path) -> Vec<SystemCheck> {
    let device = Device::Cuda { index, numbers: Numbers::F32 };
    let name = device.name();
    if let Err(error) = cuda::check_device(index) {
        return vec![SystemCheck::warn(&name, &error.to_string(), "sweeps do not use this GPU")];
    }
    let free = device.available_memory(None);
    let free = free.map_or_else(|| "unknown".to_owned(), |free| format!("{} free", bytes(free)));
    let mut found = vec![SystemCheck::ok(&name, &format!("memory: {free}"))];
    let kernels = format!("{name} kernels");
    match check_kernels(&device, model) {
        Ok(check) => {
            found.push(outcome(&kernels, &check));
            found.push(cublas(check.note.as_deref()));
        }
        Err(error) => found.push(failed(&kernels, &error.to_string())),
    }
    found
}

/// `missing` says what is slower without it, and how to get it.
fn cublas(missing: Option<&str>) -> SystemCheck {
    if let Some(note) = missing {
        return SystemCheck::warn("cublas", "not found", note);
    }
    let path = opened("libcublas.so");
    SystemCheck::ok("cublas", &path.map_or_else(|| "found".to_owned(), |path| shown(&path)))
}

/// Whether a variable asks for GPUs, or the system has an NVIDIA driver.
fn expects_gpus() -> bool {
    std::env::var_os(cuda::LIBRARY_FOLDERS).is_some()
        || std::env::var_os("CUDA_VISIBLE_DEVICES").is_some_and(|devices| !devices.is_empty())
        || Path::new("/proc/driver/nvidia").exists()
}

/// Where a library that this process has opened lies, as far as the system says.
fn opened(name: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    opened_in(&maps, name)
}

/// `maps` has the path of a mapped file in the sixth column, after spaces.
fn opened_in(maps: &str, name: &str) -> Option<PathBuf> {
    let paths = maps.lines().filter_map(|line| Some(&line[line.find('/')?..]));
    paths
        .map(PathBuf::from)
        .find(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::CheckStatus;

    #[test]
    fn a_library_is_found_by_its_file_name_and_not_by_its_folder() {
        let maps = "7f00-7f10 r--p 00000000 08:01 12  /opt/libcuda.so/libm.so.6\n\
                    7f10-7f20 rw-p 00000000 00:00 0\n\
                    7f20-7f30 r-xp 00000000 08:01 13                 /usr/lib/my gpu/libcuda.so.1\n";
        assert_eq!(opened_in(maps, "libcuda.so"), Some("/usr/lib/my gpu/libcuda.so.1".into()));
        assert_eq!(opened_in(maps, "libcublas.so"), None);
    }

    #[test]
    fn a_missing_cublas_is_a_warning_that_says_how_to_get_it() {
        let found = cublas(Some("pip install it"));
        assert_eq!(
            (found.status, found.help.as_deref()),
            (CheckStatus::Warn, Some("pip install it"))
        );
    }
}
