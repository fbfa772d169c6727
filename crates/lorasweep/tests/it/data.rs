//! `lorasweep data` on files as people have them.

use std::fs;
use std::path::Path;

use crate::common::lorasweep;
use serde_json::Value;

/// A sweep over rows in two files with columns of their own names, one row of which leaks.
fn sweep(dir: &Path) {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/quickstart/base");
    let base = base.canonicalize().unwrap();
    fs::create_dir(dir.join("rows")).unwrap();
    fs::write(dir.join("rows/a.csv"), "question,answer\none, two\nthree, four\n").unwrap();
    fs::write(
        dir.join("rows/b.jsonl"),
        "{\"question\": \"five\", \"answer\": \" six\"}\n{\"question\": \"one\", \"answer\": \" two\"}\n",
    )
    .unwrap();
    fs::write(dir.join("check.json"), "[{\"question\": \"five\", \"answer\": \"six\"}]").unwrap();
    let text = format!(
        "method: grid\nmodel: {}\nparameters: {{rank: 8}}\ndata:\n  train: rows\n  \
         validation: check.json\n  columns: {{prompt: question, completion: answer}}\n",
        base.display()
    );
    fs::write(dir.join("sweep.yaml"), text).unwrap();
}

#[test]
fn a_row_is_shown_with_what_is_learnt_and_what_is_doubtful_by_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    sweep(dir.path());
    let ran = lorasweep(dir.path(), &["data", "sweep.yaml", "--example", "3"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let (a, b) = (Path::new("rows").join("a.csv"), Path::new("rows").join("b.jsonl"));
    for words in [
        format!("train {} (CSV, prompt/completion): 2 of 2 rows used", a.display()),
        format!("train {} (JSONL, prompt/completion): 2 of 2 rows used", b.display()),
        format!("leak: 1 row of validation also in train: line 1 (train {} line 1)", b.display()),
        format!("repeat an earlier row and weigh more: {} line 2", b.display()),
        format!("train row 3 ({} line 1):", b.display()),
        "validation: 1 rows".to_owned(),
        // Without the blank, "fivesix" has a token across the seam.
        "the end of the prompt and the start of the completion in 1 row (first line 1)".to_owned(),
    ] {
        assert!(ran.stdout.contains(&words), "{words} is missing in:\n{}", ran.stdout);
    }
    let row = ran.stdout.lines().last().unwrap();
    assert!(row.contains("five") && row.contains("⟦ six"), "{row}");
    let coloured = lorasweep(dir.path(), &["data", "sweep.yaml", "--color", "always"]);
    assert!(coloured.stdout.contains("\u{1b}[32m two"), "{}", coloured.stdout);
}

#[test]
fn the_same_is_told_as_json() {
    let dir = tempfile::tempdir().unwrap();
    sweep(dir.path());
    let arguments = ["data", "sweep.yaml", "--json", "--set", "validation"];
    let ran = lorasweep(dir.path(), &arguments);
    let told: Value = serde_json::from_str(&ran.stdout).expect("one JSON object");
    assert_eq!(told["example"]["set"], "validation");
    assert_eq!(told["example"]["pieces"][1]["is_target"], true);
    let ids = told["example"]["input_ids"].as_array().unwrap().len();
    assert_eq!(told["example"]["loss_mask"].as_array().unwrap().len(), ids);
    let counted = |set: usize| -> u64 {
        let bins = told["lengths"][set]["bins"].as_array().unwrap();
        bins.iter().map(|bin| bin["rows"].as_u64().unwrap()).sum()
    };
    assert_eq!((counted(0), counted(1)), (4, 1));
}

#[test]
fn a_row_that_is_not_there_is_refused_with_how_many_there_are() {
    let dir = tempfile::tempdir().unwrap();
    sweep(dir.path());
    for number in ["5", "0"] {
        let ran = lorasweep(dir.path(), &["data", "sweep.yaml", "--example", number]);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains("the train set has 4 rows"), "{}", ran.stderr);
    }
    let ran = lorasweep(dir.path(), &["data", "sweep.yaml", "--set", "test"]);
    assert!(ran.stderr.contains("the test set has 0 rows"), "{}", ran.stderr);
}

#[test]
fn a_column_that_is_not_there_is_named_with_the_file() {
    let dir = tempfile::tempdir().unwrap();
    sweep(dir.path());
    fs::write(dir.path().join("rows/c.csv"), "prompt,completion\na,b\n").unwrap();
    let ran = lorasweep(dir.path(), &["data", "sweep.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("c.csv: there is no column `answer`"), "{}", ran.stderr);
}
