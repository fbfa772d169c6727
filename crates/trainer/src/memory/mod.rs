//! How much memory this machine has left and this process takes.

mod group;

use std::path::Path;

use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System};

/// The lowest memory limit of this process's control groups; `None` where they have none.
pub fn group_limit() -> Option<u64> {
    group::limit(Path::new("/"))
}

/// Bytes this process may still take: what the system (its control groups, the limit of the process as
/// `ulimit -v` sets it) has free, and what `limit` leaves beside the memory this process has already.
/// `None` where the system does not report it and there is no limit.
pub fn available(limit: Option<u64>) -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let of_machine = Some(system.available_memory()).filter(|bytes| *bytes > 0);
    let of_groups = group::available(Path::new("/"));
    let of_limit = limit.map(|limit| limit.saturating_sub(resident().unwrap_or(0)));
    let of_process = address_space().map(|limit| limit.saturating_sub(mapped().unwrap_or(0)));
    [of_machine, of_groups, of_process, of_limit].into_iter().flatten().min()
}

/// Bytes that this process may map at most; `None` where there is no such limit.
fn address_space() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::As).current;
    #[cfg(not(unix))]
    None
}

/// Bytes that this process has mapped.
fn mapped() -> Option<u64> {
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = System::new();
    let memory = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, memory);
    system.process(pid).map(sysinfo::Process::virtual_memory)
}

/// Bytes of this process that are in memory now.
pub fn resident() -> Option<u64> {
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = System::new();
    let memory = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, memory);
    system.process(pid).map(sysinfo::Process::memory)
}

/// The most bytes of this process that have been in memory at a time; only Linux reports it.
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_leaves_what_the_process_does_not_have_yet() {
        let resident = resident().expect("the system tells");
        let left = available(Some(resident + (64 << 20))).expect("a limit");
        assert!(left <= 65 << 20, "{left}");
        assert_eq!(available(Some(1)), Some(0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_is_at_least_what_is_resident() {
        let ballast = vec![1_u8; 32 << 20];
        assert!(peak().expect("Linux tells") >= ballast.len() as u64);
    }
}
