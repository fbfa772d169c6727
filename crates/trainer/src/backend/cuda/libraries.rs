//! Where the driver and cuBLAS are: found at run time, so that nothing of CUDA is needed to build.
//!
//! cudarc looks the libraries up by name. Those that are elsewhere, in a folder that
//! `LORASWEEP_CUDA_LIBS` names or where pip puts its wheels, are opened here first by their path:
//! the system's loader then knows their names.
#![allow(unsafe_code, reason = "opening a shared library runs its initialisers")]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Result, TrainerError};

/// Folders of libraries, separated as in `PATH`, that take precedence over the system's.
pub const FOLDERS: &str = "LORASWEEP_CUDA_LIBS";
/// `libcublas.so`'s major versions that are known to work, newest first.
const CUBLAS: [u32; 2] = [13, 12];

/// A folder that takes precedence over all others.
static FIRST: OnceLock<PathBuf> = OnceLock::new();

/// Looks for the driver and cuBLAS in this folder first. It counts before the first GPU is asked for,
/// and only the first such folder does.
pub fn look_in(folder: &Path) {
    FIRST.get_or_init(|| folder.to_path_buf());
}

/// Opens the driver; the error says what is missing and how to get it.
pub fn driver() -> Result<()> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    if cfg!(all(target_env = "musl", target_feature = "crt-static")) {
        return Err(TrainerError::Device(
            "no GPU can be used: this program is linked statically and cannot open CUDA's libraries; use \
             the build for glibc, or the Python wheel"
                .to_owned(),
        ));
    }
    let found = FOUND.get_or_init(|| {
        let in_folders = folders().into_iter().find_map(|folder| {
            ["libcuda.so", "libcuda.so.1"].into_iter().find(|name| open(&folder.join(name)))
        });
        // SAFETY: the driver's library is made to be opened by any process.
        in_folders.is_some() || unsafe { cudarc::driver::sys::is_culib_present() }
    });
    if *found {
        return Ok(());
    }
    Err(TrainerError::Device(format!(
        "no GPU can be used: libcuda.so is not found. It belongs to NVIDIA's driver (530 or newer); \
         in a container it needs `--gpus all`; a folder elsewhere can be named in {FOLDERS}"
    )))
}

/// Opens cuBLAS for a driver of this version (12010: CUDA 12.1), if there is one.
pub fn cublas(driver_version: i32) -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let names: Vec<String> = CUBLAS
            .into_iter()
            .filter(|major| i64::from(*major) * 1000 <= i64::from(driver_version))
            .map(|major| format!("libcublas.so.{major}"))
            .chain(["libcublas.so".to_owned()])
            .collect();
        let opened = |folders: Vec<PathBuf>| {
            names.iter().any(|name| folders.iter().any(|folder| open(&folder.join(name))))
        };
        // SAFETY: cuBLAS is made to be opened by any process.
        opened(folders())
            || unsafe { cudarc::cublas::sys::is_culib_present() }
            || opened(usual_folders())
    })
}

fn open(path: &Path) -> bool {
    if !path.is_file() {
        return false;
    }
    // SAFETY: it is one of NVIDIA's libraries, or the person's own choice of another; it stays open
    // as long as the process.
    let Ok(library) = (unsafe { libloading::Library::new(path) }) else { return false };
    std::mem::forget(library);
    true
}

/// The folder of [`look_in`], then those that [`FOLDERS`] names.
fn folders() -> Vec<PathBuf> {
    let named = std::env::var_os(FOLDERS);
    let named = named.iter().flat_map(std::env::split_paths);
    FIRST.get().cloned().into_iter().chain(named).collect()
}

/// Where CUDA's toolkit and pip's wheels put cuBLAS.
fn usual_folders() -> Vec<PathBuf> {
    let from = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let mut all: Vec<PathBuf> = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .filter_map(from)
        .chain([PathBuf::from("/usr/local/cuda")])
        .map(|toolkit| toolkit.join("lib64"))
        .collect();
    let homes = [
        from("VIRTUAL_ENV"),
        from("CONDA_PREFIX"),
        from("HOME").map(|home| home.join(".local")),
        Some(PathBuf::from("/usr/local")),
        Some(PathBuf::from("/usr")),
    ];
    for lib in homes.into_iter().flatten().map(|home| home.join("lib")) {
        let Ok(entries) = std::fs::read_dir(&lib) else { continue };
        let mut pythons: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3"))
            })
            .collect();
        pythons.sort();
        for python in pythons.iter().rev() {
            for packages in ["site-packages", "dist-packages"] {
                for wheel in ["nvidia/cu13/lib", "nvidia/cublas/lib"] {
                    all.push(python.join(packages).join(wheel));
                }
            }
        }
    }
    all
}
