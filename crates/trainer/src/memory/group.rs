//! The memory limits of this process's control groups.

use std::fs;
use std::path::Path;

use crate::control_groups;

/// What a group has of its memory in use that cannot give way: not its cache of files, of which a mapped base
/// model is a part.
const IN_USE: [&str; 2] = ["anon", "total_rss"];

/// Limits of a group: those of v2 (beyond `memory.high` a process is slowed down to a crawl), and that of v1.
const LIMITS: [&str; 3] = ["memory.max", "memory.high", "memory.limit_in_bytes"];

/// Bytes that the groups of this process leave; `None` where none of them has a limit. `root` is `/`.
pub fn available(root: &Path) -> Option<u64> {
    control_groups::folders(root, "memory").iter().filter_map(|folder| left(folder)).min()
}

/// The lowest limit of these groups.
pub fn limit(root: &Path) -> Option<u64> {
    control_groups::folders(root, "memory").iter().filter_map(|folder| limit_of(folder)).min()
}

fn limit_of(folder: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    // `max` is no number, and no limit; that of v1 is so high that it is above every other.
    LIMITS.iter().filter_map(|name| read(name)?.trim().parse::<u64>().ok()).min()
}

/// What a group's limit leaves.
fn left(folder: &Path) -> Option<u64> {
    let limit = limit_of(folder)?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let in_use = stat.lines().find_map(|line| {
        let (name, bytes) = line.split_once(' ')?;
        IN_USE.contains(&name).then(|| bytes.trim().parse().ok())?
    });
    Some(limit.saturating_sub(in_use.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A root folder with the files that a test names.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, content).expect("written");
        }
        root
    }

    const V2: &str =
        "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      32 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn the_limit_of_a_job_of_slurm_counts_although_its_own_group_has_none() {
        let job = "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7";
        let machine = machine(&[
            ("proc/self/cgroup", "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0\n"),
            ("proc/self/mountinfo", V2),
            (&format!("{job}/step_0/user/task_0/memory.max"), "max\n"),
            (&format!("{job}/memory.max"), "1048576000\n"),
            (&format!("{job}/memory.stat"), "file 900000000\nanon 48576000\nanon_thp 5\n"),
        ]);
        assert_eq!(available(machine.path()), Some(1_000_000_000));
    }

    #[test]
    fn the_lowest_of_all_limits_counts() {
        let machine = machine(&[
            ("proc/self/cgroup", "1:name=systemd:/\n0::/a/b\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/a/memory.max", &(64 * MIB).to_string()),
            ("sys/fs/cgroup/a/b/memory.max", &(900 * MIB).to_string()),
            ("sys/fs/cgroup/a/b/memory.high", &(80 * MIB).to_string()),
        ]);
        assert_eq!(available(machine.path()), Some(64 * MIB));
        assert_eq!(limit(machine.path()), Some(64 * MIB));
    }

    #[test]
    fn groups_of_the_first_version_have_their_limits_in_a_folder_of_their_own() {
        let machine = machine(&[
            ("proc/self/cgroup", "4:memory:/jobs/7\n3:cpu,cpuacct:/other\n0::/\n"),
            ("proc/self/mountinfo", V1),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/jobs/7/memory.limit_in_bytes", "209715200\n"),
            ("sys/fs/cgroup/memory/jobs/7/memory.stat", "cache 7\nrss 1\ntotal_rss 9715200\n"),
        ]);
        assert_eq!(available(machine.path()), Some(200_000_000));
    }

    #[test]
    fn in_a_container_the_mounted_root_is_the_processs_own_group() {
        let mounted = "32 24 0:28 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        for group in ["4:memory:/docker/abc\n", "4:memory:/\n", "4:memory:/../other\n"] {
            let machine = machine(&[
                ("proc/self/cgroup", group),
                ("proc/self/mountinfo", mounted),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
                ("sys/fs/cgroup/memory/memory.stat", "total_rss 1500\n"),
            ]);
            assert_eq!(available(machine.path()), Some(0), "{group}");
        }
    }

    #[test]
    fn without_a_group_or_a_limit_there_is_none() {
        let unlimited = machine(&[
            ("proc/self/cgroup", "0::/a\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
        ]);
        assert_eq!(available(unlimited.path()), None);
        let odd = machine(&[
            ("proc/self/cgroup", "0\n::\n\n4:memory\n"),
            ("proc/self/mountinfo", "- x\n"),
        ]);
        for root in [unlimited.path().join("none").as_path(), odd.path()] {
            assert_eq!(available(root), None);
        }
    }
}
