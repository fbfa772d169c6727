//! What exports, reports and conversions replace: files that are as lorasweep wrote them, and none
//! that a person changed or put there.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use std::fs;
use std::path::Path;

use crate::common::{Ran, interrupted_sweep, lorasweep};
use serde_json::Value;

fn export(dir: &Path, more: &[&str]) -> Ran {
    lorasweep(dir, &[&["export", "results/small", "--to", "out"], more].concat())
}

fn report(dir: &Path) -> Ran {
    lorasweep(dir, &["report", "results/small"])
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| format!("{}: {error}", path.display()))
}

#[test]
fn force_replaces_an_export_that_is_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    assert_eq!(export(dir.path(), &["--trial", "1"]).code, 0);
    let ran = export(dir.path(), &["--trial", "2", "--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(text(&dir.path().join("out/adapter_model.safetensors")), "weights 2");
}

#[test]
fn force_leaves_an_export_alone_in_which_a_file_was_changed_or_added_and_names_each() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    assert_eq!(export(dir.path(), &[]).code, 0);
    let out = dir.path().join("out");
    fs::write(out.join("README.md"), "my card").unwrap();
    for name in ["config.json", "adapter.gguf", "notes.txt"] {
        fs::write(out.join(name), "mine").unwrap();
    }
    let ran = export(dir.path(), &["--trial", "1", "--force"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("`README.md` was changed since"), "{}", ran.stderr);
    for name in ["config.json", "adapter.gguf", "notes.txt"] {
        let said = format!("`{name}` was not written by lorasweep");
        assert!(ran.stderr.contains(&said), "{}", ran.stderr);
        assert_eq!(text(&out.join(name)), "mine");
    }
    assert!(ran.stderr.contains("help: lorasweep replaces only files"), "{}", ran.stderr);
    assert_eq!(text(&out.join("README.md")), "my card");
    assert_eq!(text(&out.join("adapter_model.safetensors")), "weights 2");
    let help = lorasweep(dir.path(), &["export", "--help"]).stdout;
    assert!(help.contains("only files that are as lorasweep wrote them"), "{help}");
}

#[test]
fn a_file_that_an_export_does_not_vouch_for_is_still_known_to_be_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    let adapter = sweep.join("trials/trial-002/adapter");
    fs::remove_file(adapter.join("SHA256SUMS")).unwrap();
    fs::write(adapter.join("adapter_model.safetensors"), b"\x02\0\0\0\0\0\0\0{}").unwrap();
    assert_eq!(export(dir.path(), &[]).code, 0);
    let ran = export(dir.path(), &["--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    fs::write(dir.path().join("out/adapter_model.safetensors"), "mine").unwrap();
    assert_eq!(export(dir.path(), &["--force"]).code, 2);
}

#[test]
fn best_stays_as_it_is_when_its_card_was_edited_and_the_report_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    assert_eq!(report(dir.path()).code, 0);
    let card = sweep.join("best/README.md");
    fs::write(&card, "my card").unwrap();
    for _ in 0..2 {
        let ran = report(dir.path());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains("002"), "{}", ran.stdout);
        assert_eq!(ran.stderr.matches("warning:").count(), 1, "{}", ran.stderr);
        assert!(ran.stderr.contains("`README.md` was changed since"), "{}", ran.stderr);
        assert_eq!(text(&card), "my card");
    }
    fs::rename(&card, sweep.join("my-card.md")).unwrap();
    let ran = report(dir.path());
    assert_eq!((ran.code, &*ran.stderr), (0, ""));
    assert!(text(&card).contains("# small, trial 002"));
}

#[test]
fn a_file_of_a_person_under_a_name_of_the_report_stays_and_the_verdict_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    fs::write(sweep.join("ranking.csv"), "mine").unwrap();
    let first = report(dir.path());
    assert!(first.stderr.contains("ranking.csv` stays as it is"), "{}", first.stderr);
    fs::write(sweep.join("report.html"), "annotated").unwrap();
    let ran = report(dir.path());
    assert_eq!((ran.code, &*ran.stdout), (0, &*first.stdout));
    assert_eq!(ran.stderr.matches("warning:").count(), 2, "{}", ran.stderr);
    assert_eq!(text(&sweep.join("ranking.csv")), "mine");
    assert_eq!(text(&sweep.join("report.html")), "annotated");
    fs::remove_file(sweep.join("ranking.csv")).unwrap();
    fs::remove_file(sweep.join("report.html")).unwrap();
    assert_eq!(report(dir.path()).stderr, "");
    assert!(text(&sweep.join("ranking.csv")).contains("eval_loss"));
}

#[test]
#[cfg(unix)]
fn a_link_in_the_place_of_a_part_of_the_report_is_left_alone_and_the_verdict_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("precious"), "precious").unwrap();
    let verdict = report(dir.path()).stdout;
    let files = ["ranking.csv", "ranking.json", "report.txt", "report.html"];
    for name in [&files[..], &["plots", "best", ".lorasweep-report.json"]].concat() {
        let place = sweep.join(name);
        let is_file = files.contains(&name) || name.starts_with('.');
        let aside = dir.path().join("aside");
        fs::rename(&place, &aside).unwrap();
        let leads_to = if is_file { home.join("precious") } else { home.clone() };
        std::os::unix::fs::symlink(leads_to, &place).unwrap();
        let ran = report(dir.path());
        assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
        assert!(ran.stdout.starts_with(verdict.split("\nreport ").next().unwrap()), "{name}");
        let said = ran.stderr.contains(&format!("{name}` stays as it is: it is a symbolic link"));
        assert!(said, "{name}: {}", ran.stderr);
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "{name}");
        assert_eq!(text(&home.join("precious")), "precious");
        fs::remove_file(&place).unwrap();
        fs::rename(&aside, &place).unwrap();
    }
}

#[test]
fn a_report_elsewhere_renews_its_own_files_only() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    let report = || lorasweep(dir.path(), &["report", "results/small", "--to", "new"]);
    assert_eq!(report().code, 0);
    fs::write(dir.path().join("new/report.txt"), "annotated").unwrap();
    let ran = report();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("report.txt` stays as it is"), "{}", ran.stderr);
    assert_eq!(text(&dir.path().join("new/report.txt")), "annotated");
}

#[test]
fn convert_replaces_what_it_wrote_until_somebody_changed_it() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    let convert = |more: &[&str]| {
        let args = ["convert", "results/small", "--tensorboard", "events", "--csv", "all.csv"];
        let args = [&args[..], &["--mlflow", "mlruns", "--parquet", "tables"], more].concat();
        lorasweep(dir.path(), &args)
    };
    assert_eq!(convert(&[]).code, 0);
    let ran = convert(&["--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut experiments = fs::read_dir(dir.path().join("mlruns")).unwrap();
    let experiment = experiments.next().unwrap().unwrap().path();
    let changed = [
        dir.path().join("tables/ranking.parquet"),
        experiment.join("meta.yaml"),
        dir.path().join("all.csv"),
    ];
    for path in changed {
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"mine,1,2\n"].concat()).unwrap();
        let ran = convert(&["--force"]);
        assert_eq!(ran.code, 2, "{}: {}", path.display(), ran.stderr);
        assert!(ran.stderr.contains("changed since"), "{}", ran.stderr);
        assert!(fs::read(&path).unwrap().ends_with(b"mine,1,2\n"));
        fs::write(&path, whole).unwrap();
    }
    let theirs = experiment.join("0/meta.yaml");
    fs::create_dir_all(theirs.parent().unwrap()).unwrap();
    fs::write(&theirs, "a run of theirs").unwrap();
    let ran = convert(&["--force"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("`0/meta.yaml` was not written by lorasweep"), "{}", ran.stderr);
    assert_eq!(text(&theirs), "a run of theirs");
}

#[test]
fn an_adapter_whose_base_has_other_weights_by_now_is_exported_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    let weights = dir.path().join("model/model.safetensors");
    fs::write(&weights, "weights of then").unwrap();
    let hashed = store::hash_weights(&weights, []).unwrap();
    let resolved = sweep.join("resolved.json");
    let mut identity: Value = serde_json::from_str(&text(&resolved)).unwrap();
    identity["inputs"]["model's model.safetensors"] = serde_json::to_value(hashed).unwrap();
    fs::write(&resolved, identity.to_string()).unwrap();
    let origin = || -> Value {
        serde_json::from_str(&text(&dir.path().join("out/lorasweep.json"))).unwrap()
    };
    let ran = export(dir.path(), &[]);
    assert_eq!((ran.code, &*ran.stderr), (0, ""));
    assert_eq!(origin()["base_weights_have_changed"], false);
    fs::write(&weights, "weights of now_").unwrap();
    let ran = export(dir.path(), &["--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("the adapter belongs to other weights than"), "{}", ran.stderr);
    assert_eq!(origin()["base_weights_have_changed"], true);
    let card = text(&dir.path().join("out/README.md"));
    assert!(card.contains("| base weights | as they were when this was trained"), "{card}");
    fs::remove_dir_all(dir.path().join("model")).unwrap();
    let ran = export(dir.path(), &["--force"]);
    assert!(!ran.stderr.contains("other weights"), "it is elsewhere: {}", ran.stderr);
}

#[test]
fn a_journal_cut_within_its_first_line_is_said_by_every_command_and_nothing_is_trained_anew() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    let journal = sweep.join("journal/driver-1.jsonl");
    let line: String = text(&journal).chars().take(30).collect();
    fs::write(&journal, &line).unwrap();
    for command in ["report", "status", "export"] {
        let args = match command {
            "export" => vec![command, "results/small", "--to", "out"],
            _ => vec![command, "results/small"],
        };
        let ran = lorasweep(dir.path(), &args);
        assert_eq!(ran.code, 1, "{command}: {}", ran.stdout);
        assert!(ran.stderr.contains("driver-1.jsonl`, which ends within line 1: trials 001, 002"));
        assert!(ran.stderr.contains("help: nothing was changed"), "{}", ran.stderr);
    }
    assert_eq!(text(&journal), line);
}
