//! `lorasweep doctor`, which reports of problems come with.

use std::process::Command;

use serde_json::Value;

use crate::common::lorasweep;

#[test]
fn doctor_checks_the_kernels_and_says_what_it_found_of_each_kind() {
    let dir = tempfile::tempdir().unwrap();
    let ran = lorasweep(dir.path(), &["doctor"]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    for name in ["lorasweep", "system", "processor", "cores", "memory", "cache", "cuda"] {
        let line = ran.stdout.lines().find(|line| line[5..].starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in:\n{}", ran.stdout));
        assert!(line.starts_with("ok ") || line.starts_with("warn "), "{line}");
    }
    assert!(ran.stdout.contains("agree with the oracle"), "{}", ran.stdout);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn doctor_as_json_has_a_version_and_the_status_of_each_finding() {
    let dir = tempfile::tempdir().unwrap();
    let ran = lorasweep(dir.path(), &["doctor", "--json"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["v"], 1);
    let checks = report["checks"].as_array().unwrap();
    let status = |check: &Value| check["status"].as_str().map(str::to_owned);
    assert!(checks.iter().all(|c| c["name"].is_string() && c["text"].is_string()), "{report}");
    assert!(checks.iter().all(|c| ["ok", "warn"].contains(&c["status"].as_str().unwrap())));
    assert!(["ok", "warn"].contains(&status(&report).unwrap().as_str()));
}

#[test]
#[cfg(unix)]
fn doctor_fails_where_it_cannot_check_and_cleans_what_variables_hold() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lorasweep"))
        .arg("doctor")
        .env("TMPDIR", dir.path().join("not there"))
        .env("CUDA_VISIBLE_DEVICES", "0\x1b[2J\nok   kernels")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("fail kernels"), "{text}");
    assert!(!text.contains('\x1b') && !text.contains("\nok   kernels"), "{text}");
}
