//! The share of the processor that a control group leaves to this process.

use std::fs;
use std::path::Path;

/// Cores of the tightest quota among this process's control group (version 2) and those above it; `None`
/// where there is no quota. `proc_file` is `/proc/self/cgroup`, `root` is where groups are mounted.
pub fn cores(proc_file: &Path, root: &Path) -> Option<f64> {
    let groups = fs::read_to_string(proc_file).ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // A group's name may not lead out of the mounted tree.
    let below = Path::new(group);
    let below = if below.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
        below
    } else {
        Path::new("")
    };
    let quotas = below
        .ancestors()
        .filter_map(|group| quota(&fs::read_to_string(root.join(group).join("cpu.max")).ok()?));
    quotas.min_by(f64::total_cmp)
}

/// `cpu.max` as the kernel writes it: microseconds of computing in a period, or `max`, and the period.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_quota_counts_of_a_group_and_those_above_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let (proc_file, root) = (dir.path().join("cgroup"), dir.path().join("mount"));
        fs::create_dir_all(root.join("job/step")).expect("it can be made");
        let write = |path: &str, text: &str| fs::write(dir.path().join(path), text).expect("text");
        write("cgroup", "0::/job/step\n");
        assert_eq!(cores(&proc_file, &root), None);
        write("mount/job/step/cpu.max", "max 100000\n");
        assert_eq!(cores(&proc_file, &root), None);
        write("mount/job/cpu.max", "250000 100000\n");
        assert_eq!(cores(&proc_file, &root), Some(2.5));
        write("mount/job/step/cpu.max", "50000 100000\n");
        assert_eq!(cores(&proc_file, &root), Some(0.5));
        write("cgroup", "0::/../../elsewhere\n");
        assert_eq!(cores(&proc_file, &root), None);
        write("mount/cpu.max", "400000 100000\n");
        assert_eq!(cores(&proc_file, &root), Some(4.0));
    }
}
