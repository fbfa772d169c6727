//! Results folders that earlier versions of lorasweep wrote (`tests/earlier/`).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use spec::{Event, TrialId};
use store::SweepFolder;
use tempfile::TempDir;

use crate::common::lorasweep;

/// What an earlier version left and would have reached.
struct Earlier {
    /// The folder in `tests/earlier`.
    name: &'static str,
    /// The validation loss of trial 1, which has ended.
    ended: f64,
    /// The last step that is saved of trial 2, which was interrupted.
    saved_step: u32,
    /// The validation loss that trial 2 ends with.
    expected: f64,
}

const ALL: [Earlier; 1] =
    [Earlier { name: "version-6", ended: 3.7992, saved_step: 49, expected: 2.0238 }];

impl Earlier {
    /// A copy of the folder, which a test may change.
    fn copy(&self) -> TempDir {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/earlier").join(self.name);
        let dir = tempfile::tempdir().unwrap();
        copy_all(&from, dir.path());
        dir
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The validation loss of each trial of the ranking.
fn losses(ranking: &Value) -> Vec<(u64, f64)> {
    let row = |row: &Value| Some((row["trial"].as_u64()?, row["eval_loss"].as_f64()?));
    let mut losses: Vec<_> = ranking["rows"].as_array().unwrap().iter().filter_map(row).collect();
    losses.sort_by_key(|(trial, _)| *trial);
    losses.retain(|(trial, _)| *trial > 0);
    losses
}

fn is_close(loss: f64, expected: f64) -> bool {
    (loss - expected).abs() < 2e-3
}

#[test]
fn a_report_is_made_of_what_an_earlier_version_left() {
    for earlier in ALL {
        let dir = earlier.copy();
        let ran = lorasweep(dir.path(), &["report", "results/earlier", "--json"]);
        assert_eq!(ran.code, 0, "{}: {}", earlier.name, ran.stderr);
        let losses = losses(&serde_json::from_str(&ran.stdout).unwrap());
        assert_eq!(losses.len(), 2, "{losses:?}");
        assert!(is_close(losses[0].1, earlier.ended), "{}: {losses:?}", earlier.name);
        let page = fs::read_to_string(dir.path().join("results/earlier/report.html")).unwrap();
        assert!(page.contains("\"spans\":[{"), "the page shows when trials ran");
    }
}

#[test]
fn a_sweep_that_an_earlier_version_began_resumes_from_its_checkpoint() {
    for earlier in ALL {
        let dir = earlier.copy();
        let ran = lorasweep(dir.path(), &["run", "earlier.yaml"]);
        assert_eq!(ran.code, 0, "{}: {}", earlier.name, ran.stderr);
        let folder = SweepFolder::open(dir.path().join("results/earlier")).unwrap();
        let starts: Vec<(TrialId, u32)> = folder
            .events()
            .unwrap()
            .iter()
            .filter_map(|event| match event {
                Event::TrialStarted { trial, from_step, .. } => Some((*trial, *from_step)),
                _ => None,
            })
            .collect();
        let resumed = (TrialId(2), earlier.saved_step);
        assert_eq!(starts, [(TrialId(1), 0), (TrialId(2), 0), resumed], "{}", earlier.name);
        let ranking = fs::read_to_string(dir.path().join("results/earlier/ranking.json")).unwrap();
        let losses = losses(&serde_json::from_str(&ranking).unwrap());
        assert!(is_close(losses[0].1, earlier.ended), "{}: {losses:?}", earlier.name);
        assert!(is_close(losses[1].1, earlier.expected), "{}: {losses:?}", earlier.name);
        assert!(folder.state().unwrap().finished);
    }
}
