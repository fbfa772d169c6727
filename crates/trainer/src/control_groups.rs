//! The control groups of this process (cgroup v2 and v1), as jobs of Slurm, units of systemd and containers
//! have them.
//!
//! A process is in one group of each hierarchy, and the limits of all groups above hold as well. Which
//! group is in `/proc/self/cgroup`, and where its files are in `/proc/self/mountinfo`: in a container the
//! mounted root is often a group far below that of the machine.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Folders with the files of a controller (`memory`, `cpu`): in each hierarchy from the process's own group
/// up to the mounted root. `root` is `/`.
pub(crate) fn folders(root: &Path, controller: &str) -> Vec<PathBuf> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let of_line = |line| folders_of(root, line, &mounts, controller);
    groups.lines().filter_map(of_line).flatten().collect()
}

/// Cores of the tightest quota among this process's group (version 2) and those above it; `None` where
/// there is no quota. `root` is `/`.
pub fn cpu_quota(root: &Path) -> Option<f64> {
    let read = |folder: PathBuf| quota(&fs::read_to_string(folder.join("cpu.max")).ok()?);
    folders(root, "cpu").into_iter().filter_map(read).min_by(f64::total_cmp)
}

/// `cpu.max` as the kernel writes it: microseconds of computing in a period, or `max`, and the period.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then_some(quota / period)
}

/// The folders of a line of `/proc/self/cgroup`, from the process's own group up to the mounted root.
fn folders_of(root: &Path, group: &str, mounts: &str, controller: &str) -> Option<Vec<PathBuf>> {
    let mut parts = group.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    if !controllers.is_empty() && !controllers.split(',').any(|name| name == controller) {
        return None;
    }
    let mount =
        mounts.lines().filter_map(Mount::of).find(|mount| mount.is_of(controllers, controller))?;
    let top = root.join(mount.point.trim_start_matches('/'));
    // A group beside the mounted root is not to be seen from here; the root's own limit holds.
    let below = Path::new(path).strip_prefix(mount.root).unwrap_or(Path::new(""));
    let is_below = below.components().all(|name| matches!(name, Component::Normal(_)));
    let names: Vec<_> = below.components().filter(|_| is_below).collect();
    let folder = |depth: usize| top.join(names[..depth].iter().collect::<PathBuf>());
    Some((0..=names.len()).rev().map(folder).collect())
}

/// One line of `/proc/self/mountinfo`.
struct Mount<'a> {
    /// The group that is mounted.
    root: &'a str,
    /// Where.
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// `36 35 98:0 /root /point options [optional fields] - type source super-options`; see `proc(5)`.
    fn of(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        Some(Self { root, point, kind, options })
    }

    /// Of the hierarchy with these controllers, this one among them: v2 names none.
    fn is_of(&self, controllers: &str, controller: &str) -> bool {
        match controllers {
            "" => self.kind == "cgroup2",
            _ => self.kind == "cgroup" && self.options.split(',').any(|name| name == controller),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_quota_counts_of_a_group_and_those_above_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        for folder in ["proc/self", "sys/fs/cgroup/job/step"] {
            fs::create_dir_all(root.join(folder)).expect("it can be made");
        }
        let write = |path: &str, text: &str| fs::write(root.join(path), text).expect("text");
        write("proc/self/mountinfo", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        write("proc/self/cgroup", "0::/job/step\n");
        assert_eq!(cpu_quota(root), None);
        write("sys/fs/cgroup/job/step/cpu.max", "max 100000\n");
        assert_eq!(cpu_quota(root), None);
        write("sys/fs/cgroup/job/cpu.max", "250000 100000\n");
        assert_eq!(cpu_quota(root), Some(2.5));
        write("sys/fs/cgroup/job/step/cpu.max", "50000 100000\n");
        assert_eq!(cpu_quota(root), Some(0.5));
        write("proc/self/cgroup", "0::/../../elsewhere\n");
        assert_eq!(cpu_quota(root), None);
        write("sys/fs/cgroup/cpu.max", "400000 100000\n");
        assert_eq!(cpu_quota(root), Some(4.0));
    }
}
