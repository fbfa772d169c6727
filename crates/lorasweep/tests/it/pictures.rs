//! The pictures of README.md and the guides show what the present plots look like.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

#[test]
fn no_committed_picture_is_older_than_what_draws_it() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let probe = Command::new(repository.join("scripts/plots_probe.sh"))
        .arg(env!("CARGO_BIN_EXE_lorasweep"))
        .output()
        .unwrap();
    assert!(probe.status.success(), "{}", String::from_utf8_lossy(&probe.stderr));
    let plots = String::from_utf8(probe.stdout).unwrap();
    assert!(plots.matches("<svg").count() >= 12, "the probe draws each kind of plot");
    let hash: String = Sha256::digest(&plots)
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let recorded =
        fs::read_to_string(repository.join("results/bench/readme/plots.sha256")).unwrap();
    assert!(
        recorded.trim() == hash,
        "the plots have changed since the pictures in results/bench/readme were made: run \
         `scripts/readme_figures.sh` and look at them (the hash is now {hash})"
    );
}
