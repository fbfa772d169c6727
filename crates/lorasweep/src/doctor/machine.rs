//! The program, the system, the processor, memory, disks and folders.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, System};

use super::{CheckStatus, SystemCheck};
use crate::hub::Hub;
use crate::inputs::rows;
use crate::size::bytes;

/// Less memory or disk than this is worth a warning: the quickstart needs about as much.
const LITTLE: u64 = 1 << 30;
/// Variables that change what lorasweep does. Their values are shown, so no token is among them.
const VARIABLES: [&str; 16] = [
    "CUDA_VISIBLE_DEVICES",
    "LORASWEEP_CUDA_LIBS",
    "CUDA_HOME",
    "CUDA_PATH",
    "RAYON_NUM_THREADS",
    "LORASWEEP_CACHE",
    "XDG_CACHE_HOME",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_ENDPOINT",
    "TMPDIR",
    "NO_COLOR",
    "SLURM_JOB_ID",
    "KUBERNETES_SERVICE_HOST",
];

/// Everything but the devices' kernels.
pub fn checks() -> Vec<SystemCheck> {
    let version = format!("{} ({})", env!("CARGO_PKG_VERSION"), env!("LORASWEEP_BUILT"));
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    system.refresh_cpu_list(CpuRefreshKind::nothing());
    vec![
        SystemCheck::ok("lorasweep", &version),
        SystemCheck::ok("system", &operating_system()),
        SystemCheck::ok("processor", &processor(&system)),
        cores(&system),
        memory(&system),
        disk("current folder", env::current_dir().ok()),
        disk("temporary folder", Some(env::temp_dir())),
        disk("cache", rows::cache()),
        disk("model cache", Hub::from_environment().ok().map(|hub| hub.cache_folder().to_owned())),
        SystemCheck::ok("slurm", &first_line("sbatch", "--version").unwrap_or_else(none)),
        SystemCheck::ok("environment", &environment()),
    ]
}

fn none() -> String {
    "none".to_owned()
}

fn operating_system() -> String {
    let name = System::long_os_version().unwrap_or_else(|| env::consts::OS.to_owned());
    let kernel = System::kernel_version().map_or_else(String::new, |it| format!(", kernel {it}"));
    let libc = if cfg!(target_env = "musl") {
        ", musl (static)".to_owned()
    } else {
        let version = first_line("getconf", "GNU_LIBC_VERSION");
        version.map_or_else(String::new, |version| format!(", {version}"))
    };
    format!("{name}{kernel}{libc}, {}", env::consts::ARCH)
}

/// The first line that another program prints; `None` where it is not there or fails.
fn first_line(program: &str, argument: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

fn processor(system: &System) -> String {
    let brand = system.cpus().first().map_or("", sysinfo::Cpu::brand).trim();
    let brand = if brand.is_empty() { "unknown" } else { brand };
    format!("{brand}; kernels use {}", trainer::real::instruction_set())
}

fn cores(system: &System) -> SystemCheck {
    let here = system.cpus().len();
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    let quota = trainer::control_groups::cpu_quota(Path::new("/"));
    cores_check(here, usable, quota, rayon::current_num_threads())
}

fn cores_check(here: usize, usable: usize, quota: Option<f64>, threads: usize) -> SystemCheck {
    let quota_text = quota
        .map_or_else(|| "no cgroup quota".to_owned(), |cores| format!("cgroup quota of {cores}"));
    let text = format!("{usable} of {here} usable, {quota_text}, {threads} threads");
    if threads > usable {
        let help = "more threads than cores slow each other down: unset RAYON_NUM_THREADS";
        return SystemCheck::warn("cores", &text, help);
    }
    SystemCheck::ok("cores", &text)
}

fn memory(system: &System) -> SystemCheck {
    let total = system.total_memory();
    let limit = trainer::memory::group_limit().filter(|of| *of < total);
    let limit_text = limit.map_or_else(
        || "no cgroup limit".to_owned(),
        |of| format!("cgroup limit of {}", bytes(of)),
    );
    let free = trainer::memory::available(None);
    let free_text = free.map_or_else(
        || "free memory unknown".to_owned(),
        |of| format!("{} free for lorasweep", bytes(of)),
    );
    let text = format!("{} in all, {limit_text}, {free_text}", bytes(total));
    if free.is_some_and(|free| free < LITTLE) {
        return SystemCheck::warn("memory", &text, "less than 1 GiB holds only small models");
    }
    SystemCheck::ok("memory", &text)
}

fn disk(name: &str, folder: Option<PathBuf>) -> SystemCheck {
    let Some(folder) = folder else {
        return SystemCheck::warn(name, "there is none", "set HOME, or the folder's own variable");
    };
    let free = store::free_bytes(&folder);
    let room =
        free.map_or_else(|| "free room unknown".to_owned(), |of| format!("{} free", bytes(of)));
    let text = format!("{}: {room}", folder.display());
    if free.is_some_and(|free| free < LITTLE) {
        return SystemCheck::warn(name, &text, "less than 1 GiB: adapters or models may not fit");
    }
    SystemCheck::new(name, CheckStatus::Ok, &text)
}

/// The variables that are set, with their values.
fn environment() -> String {
    let set = VARIABLES.iter().filter_map(|name| {
        Some(format!("{name}={}", spec::shell_word(&env::var_os(name)?.to_string_lossy())))
    });
    let set: Vec<String> = set.collect();
    if set.is_empty() { none() } else { set.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_usable_cores_are_a_warning() {
        assert_eq!(cores_check(64, 4, Some(4.0), 4).status, CheckStatus::Ok);
        let found = cores_check(64, 2, None, 64);
        assert_eq!(found.status, CheckStatus::Warn);
        assert_eq!(found.text, "2 of 64 usable, no cgroup quota, 64 threads");
    }

    #[test]
    fn no_variable_that_is_shown_holds_a_secret() {
        assert!(VARIABLES.iter().all(|name| !name.contains("TOKEN") && !name.contains("KEY")));
    }

    #[test]
    fn a_program_that_is_not_there_says_nothing() {
        assert_eq!(first_line("no-such-program-of-lorasweep", "--version"), None);
    }
}
