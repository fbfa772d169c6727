//! Sweeps whose trials another program trains, from the command line.

mod common;

use std::fs;

use common::lorasweep;
use serde_json::Value;

const PARAMETERS: &str = "method: grid\nmodel: some/model\ndata: {train: some-rows}\n\
                          parameters: {learning_rate: [0.1, 0.2, 0.4]}\n";

#[cfg(unix)]
#[test]
fn a_command_trains_and_the_sweep_is_ranked_and_exported() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"
        mkdir -p $LORASWEEP_TRIAL_DIR/a
        echo '{"base_model_name_or_path": "some/model"}' > $LORASWEEP_TRIAL_DIR/a/adapter_config.json
        echo "{\"epoch\": 1, \"eval_loss\": 1.$1}"
        echo "{\"adapter\": \"$LORASWEEP_TRIAL_DIR/a\"}"
    "#;
    fs::write(dir.path().join("train.sh"), script).unwrap();
    let executor =
        "executor: {type: command, command: 'sh train.sh $(echo {{learning_rate}} | tr -d .)'}\n";
    fs::write(dir.path().join("s.yaml"), format!("{PARAMETERS}{executor}")).unwrap();

    let check = lorasweep(dir.path(), &["check", "s.yaml"]);
    assert!(check.stdout.contains("sh train.sh $(echo 0.1 | tr -d .)"), "{}", check.stdout);

    let run = lorasweep(dir.path(), &["run", "s.yaml"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let ranking = fs::read_to_string(dir.path().join("results/s/ranking.json")).unwrap();
    let ranking: Value = serde_json::from_str(&ranking).unwrap();
    assert_eq!(ranking["rows"][0]["eval_loss"], 1.01, "{ranking}");
    assert_eq!(ranking["rows"][0]["train_loss"], Value::Null);
    let export = lorasweep(dir.path(), &["export", "results/s", "--best", "--to", "out"]);
    assert_eq!(export.code, 0, "{}", export.stderr);
    assert!(dir.path().join("out/adapter_config.json").is_file());
    let again = lorasweep(dir.path(), &["run", "s.yaml"]);
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);
}

#[test]
fn trials_are_asked_for_told_of_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("{PARAMETERS}executor: {{type: external}}\n");
    fs::write(dir.path().join("s.yaml"), text).unwrap();

    let refused = lorasweep(dir.path(), &["run", "s.yaml"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("lorasweep ask s.yaml"), "{}", refused.stderr);

    let asked = lorasweep(dir.path(), &["ask", "s.yaml", "-n", "2"]);
    let lines: Vec<Value> =
        asked.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{}", asked.stdout);
    assert_eq!(lines[1]["trial"], 2);
    let rate = |line: &Value| line["params"]["learning_rate"].as_f64().unwrap();
    let (first, second) = (rate(&lines[0]), rate(&lines[1]));
    assert!(first != second && [first, second].iter().all(|r| [0.1, 0.2, 0.4].contains(r)));

    let told = lorasweep(
        dir.path(),
        &["tell", "s.yaml", r#"{"trial": 1, "eval_loss": 1.5, "outcome": "completed"}"#],
    );
    assert_eq!(told.stdout.trim(), r#"{"trial":1,"decision":"ended","recorded":true}"#);
    let wrong = lorasweep(dir.path(), &["tell", "s.yaml", r#"{"trial": 7, "epoch": 1}"#]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("line 1: there is no trial 007"), "{}", wrong.stderr);

    let status = lorasweep(dir.path(), &["status", "s.yaml"]);
    assert!(status.stdout.contains("completed"), "{}", status.stdout);
    let explained = lorasweep(dir.path(), &["explain", "s.yaml"]);
    assert_eq!(explained.code, 0, "{}", explained.stderr);
    let report = lorasweep(dir.path(), &["report", "results/s"]);
    assert_eq!(report.code, 0, "{}", report.stderr);
    assert!(report.stdout.contains("1.5"), "{}", report.stdout);
}

#[test]
fn a_sweep_that_lorasweep_trains_is_not_given_out() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("some/model")).unwrap();
    fs::write(dir.path().join("some-rows"), "").unwrap();
    fs::write(dir.path().join("s.yaml"), PARAMETERS).unwrap();
    let asked = lorasweep(dir.path(), &["ask", "s.yaml"]);
    assert_eq!(asked.code, 2);
    assert!(asked.stderr.contains("executor: {type: external}"), "{}", asked.stderr);
}
