//! The device that the tests of this folder run on: one of software, made from `tests/fake_cuda` and
//! the kernels' sources, or with `LORASWEEP_TEST_GPU=1` a real one.
//!
//! Where there is no C++ compiler the tests say that they are not run.
#![allow(unsafe_code, reason = "the software device is steered through its C functions")]

use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libloading::Library;
use trainer::backend::cuda::{self, Cuda, Numbers};

/// One test at a time: the software device is one for the process.
static ONE: Mutex<()> = Mutex::new(());
/// With this variable the tests run on the GPU of the machine.
const REAL: &str = "LORASWEEP_TEST_GPU";

/// The device in use by a test; what it has set is unset at its end.
pub struct Device {
    software: Option<&'static Library>,
    set: Vec<&'static str>,
    _one: MutexGuard<'static, ()>,
}

impl Device {
    /// The device, or `None` where there is none to test on, which is said.
    pub fn take() -> Option<Self> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        if std::env::var_os(REAL).is_some() {
            return Some(Self { software: None, set: Vec::new(), _one: one });
        }
        let software = software()?;
        Some(Self { software: Some(software), set: Vec::new(), _one: one })
    }

    /// The same, where the test needs the device of software.
    pub fn take_software() -> Option<Self> {
        let device = Self::take()?;
        if device.software.is_none() {
            eprintln!("not run: needs the device of software, not a GPU");
            return None;
        }
        Some(device)
    }

    /// Its seed, limits and failures: see `device.cpp`.
    pub fn set(&mut self, name: &'static str, value: i64) {
        self.set.push(name);
        self.put(name, value);
    }

    fn put(&self, name: &str, value: i64) {
        let Some(library) = self.software else { return };
        let name = CString::new(name).expect("a name");
        // SAFETY: the function is declared so in device.cpp.
        unsafe {
            let set: libloading::Symbol<'_, unsafe extern "C" fn(*const i8, i64)> =
                library.get(b"fake_cuda_set").expect("the function");
            set(name.as_ptr().cast(), value);
        }
    }

    /// A counter of the device of software.
    pub fn count(&self, name: &str) -> i64 {
        let Some(library) = self.software else { return 0 };
        let name = CString::new(name).expect("a name");
        // SAFETY: the function is declared so in device.cpp.
        unsafe {
            let get: libloading::Symbol<'_, unsafe extern "C" fn(*const i8) -> i64> =
                library.get(b"fake_cuda_get").expect("the function");
            get(name.as_ptr().cast())
        }
    }

    /// A backend in f32.
    #[expect(clippy::unused_self, reason = "there is none without a device")]
    pub fn f32(&self) -> Cuda {
        Cuda::new(0, Numbers::F32, usize::MAX).expect("a device")
    }

    /// A backend in bf16.
    #[expect(clippy::unused_self, reason = "there is none without a device")]
    pub fn bf16(&self) -> Cuda {
        Cuda::new(0, Numbers::Bf16, usize::MAX).expect("a device")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        for name in &self.set {
            self.put(name, -1);
        }
    }
}

fn software() -> Option<&'static Library> {
    static BUILT: OnceLock<Option<Library>> = OnceLock::new();
    let library = BUILT.get_or_init(|| {
        let folder = build()?;
        cuda::look_in(&folder);
        // SAFETY: it is the library built from this repository.
        Some(unsafe { Library::new(folder.join("libcuda.so")) }.expect("the library opens"))
    });
    library.as_ref()
}

/// Builds the device where it is not built yet; `None` where there is no C++ compiler, which is said.
/// Processes that test at the same time wait for each other.
fn build() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_cuda/build.sh");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake_cuda");
    std::fs::create_dir_all(&folder).expect("a folder");
    let lock = File::create(folder.join("lock")).expect("a lock file");
    lock.lock().expect("locked");
    let built = Command::new("sh").arg(script).arg(&folder).status().expect("a shell");
    match built.code() {
        Some(0) => Some(folder),
        Some(3) => None,
        _ => panic!("the device of software is not built"),
    }
}
