//! Sweeps whose trials another program trains, from the command line.

use crate::common;
use std::fs;

use crate::common::lorasweep;
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
        echo weights > $LORASWEEP_TRIAL_DIR/a/adapter_model.safetensors
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
    for line in [
        r#"{"trial": 2, "epoch": 1, "eval_loss": 1.6}"#,
        r#"{"trial": 2, "epoch": 2, "eval_loss": 1.7, "outcome": "completed"}"#,
    ] {
        assert_eq!(lorasweep(dir.path(), &["tell", "s.yaml", line]).code, 0);
    }
    let explained = lorasweep(dir.path(), &["explain", "s.yaml", "--json"]);
    assert_eq!(explained.code, 0, "{}", explained.stderr);
    let explained: Value = serde_json::from_str(&explained.stdout).unwrap();
    let second = &explained["trials"][1];
    assert_eq!((&second["eval_loss"], &second["last_eval_loss"]), (&1.6.into(), &1.7.into()));
    let report = lorasweep(dir.path(), &["report", "results/s"]);
    assert_eq!(report.code, 0, "{}", report.stderr);
    assert!(report.stdout.contains("1.5"), "{}", report.stdout);
}

/// Tells `lines` through stdin.
fn told_through_stdin(dir: &std::path::Path, lines: &str) -> common::Ran {
    common::lorasweep_told(dir, &["tell", "s.yaml"], lines)
}

#[test]
fn lines_on_stdin_are_answered_one_by_one_up_to_a_wrong_one_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let text = "method: random\nrun_cap: 500\nmodel: some/model\ndata: {train: some-rows}\n\
                parameters: {learning_rate: {min: 0.001, max: 0.01}}\n\
                executor: {type: external}\n";
    fs::write(dir.path().join("s.yaml"), text).unwrap();
    assert_eq!(lorasweep(dir.path(), &["ask", "s.yaml", "-n", "500"]).code, 0);
    // More than is taken together, blank lines and a last line without an end among them.
    let line =
        |n: u32| format!(r#"{{"trial": {n}, "eval_loss": 1.{n:03}, "outcome": "completed"}}"#);
    let lines = |from: u32, to: u32| (from..=to).map(line).collect::<Vec<_>>().join("\n\n");
    let told = told_through_stdin(dir.path(), &lines(1, 400));
    assert_eq!(told.code, 0, "{}", told.stderr);
    let numbers = told.stdout.lines().map(|line| {
        let answer: Value = serde_json::from_str(line).unwrap();
        assert_eq!(answer["recorded"], true, "{answer}");
        answer["trial"].as_u64().unwrap()
    });
    assert!(numbers.eq(1..=400), "{}", told.stdout);

    let wrong = format!("{}\nno line\n{}\n", lines(401, 450), lines(451, 500));
    let told = told_through_stdin(dir.path(), &wrong);
    assert_eq!((told.code, told.stdout.lines().count()), (2, 50), "{}", told.stderr);
    assert!(told.stderr.contains("line 100: "), "{}", told.stderr);
    let again = told_through_stdin(dir.path(), &lines(449, 452)).stdout;
    let is_new = again.lines().map(|line| line.contains(r#""recorded":true"#));
    assert!(is_new.eq([false, false, true, true]), "{again}");
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

/// Six trials of a command, one at a time, of which the third is stopped after its first epoch and is
/// among the better half once all have come that far. `goes_on` is what a stopped trial's command does
/// before its first epoch, and `checkpoint` what it adds to its lines.
#[cfg(unix)]
fn promoted(dir: &std::path::Path, goes_on: &str, checkpoint: &str) -> (common::Ran, Value) {
    let script = format!(
        r#"
        from=0
        {goes_on}
        for epoch in 1 2 3; do
            [ $epoch -gt $from ] || continue
            loss=1.$LORASWEEP_TRIAL
            [ $LORASWEEP_TRIAL = 3 ] && [ $epoch -gt 1 ] && loss=0.$((8 - epoch))
            echo $epoch > $LORASWEEP_TRIAL_DIR/state-$epoch
            echo "{{\"step\": ${{epoch}}0, \"epoch\": $epoch, \"eval_loss\": $loss{checkpoint}}}"
            if [ $LORASWEEP_TRIAL -gt 2 ] && [ $epoch = 1 ]; then
                echo $$ > $LORASWEEP_TRIAL_DIR/pid
                exec sleep 600
            fi
        done
        "#
    );
    fs::write(dir.join("train.sh"), script).unwrap();
    let text = "name: s\nmethod: grid\nmodel: some/model\ndata: {train: some-rows}\n\
                parameters: {learning_rate: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}\n\
                early_terminate: {type: asha, min_iter: 1, eta: 2, promote: true}\n\
                executor: {type: command, command: 'sh train.sh', max_parallel: 1}\n";
    fs::write(dir.join("s.yaml"), text).unwrap();
    let run = lorasweep(dir, &["run", "s.yaml"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let ranking = fs::read_to_string(dir.join("results/s/ranking.json")).unwrap();
    (run, serde_json::from_str(&ranking).unwrap())
}

#[cfg(unix)]
fn row(ranking: &Value, trial: u64) -> &Value {
    let mut rows = ranking["rows"].as_array().unwrap().iter();
    rows.find(|row| row["trial"] == trial).expect("a row of the trial")
}

#[cfg(unix)]
#[test]
fn a_stopped_command_that_is_promoted_goes_on_from_the_checkpoint_that_it_named() {
    let dir = tempfile::tempdir().unwrap();
    let goes_on = r#"
        if [ -n "$LORASWEEP_RESUME" ]; then
            from=$(cat "$LORASWEEP_RESUME")
            kill -0 $(cat $LORASWEEP_TRIAL_DIR/pid) 2> /dev/null && exit 3
            echo "goes on after $from" >> $LORASWEEP_TRIAL_DIR/went-on
        fi
    "#;
    let checkpoint = r#", \"checkpoint\": \"$LORASWEEP_TRIAL_DIR/state-$epoch\""#;
    let (_, ranking) = promoted(dir.path(), goes_on, checkpoint);
    let best = &ranking["rows"][0];
    assert_eq!((&best["trial"], &best["eval_loss"]), (&3.into(), &0.5.into()), "{ranking}");
    assert_eq!((&best["best_epoch"], &best["steps"]), (&3.0.into(), &30.into()), "{ranking}");
    let trial = dir.path().join("results/s/trials/trial-003");
    let metrics = fs::read_to_string(trial.join("metrics.csv")).unwrap();
    let losses: Vec<&str> = metrics.lines().skip(1).collect();
    assert_eq!(losses.len(), 3, "{metrics}");
    let journal = fs::read_to_string(dir.path().join("results/s/journal/driver-1.jsonl")).unwrap();
    assert!(journal.contains("trial_promoted"), "{journal}");
    for stopped in 4..=6 {
        assert_eq!(row(&ranking, stopped)["steps"], 10, "{ranking}");
    }
}

#[cfg(unix)]
#[test]
fn a_stopped_command_that_named_no_checkpoint_stays_stopped_and_the_person_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (run, ranking) = promoted(dir.path(), "", "");
    assert_eq!(row(&ranking, 3)["steps"], 10, "{ranking}");
    let told = "trial 003 was stopped and cannot be promoted: its command has named no checkpoint";
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(said.matches(told).count(), 1, "{said}");
}

#[cfg(unix)]
#[test]
fn a_promoted_command_that_begins_again_instead_of_going_on_has_failed_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = r#", \"checkpoint\": \"$LORASWEEP_TRIAL_DIR/state-$epoch\""#;
    let (_, ranking) = promoted(dir.path(), "", checkpoint);
    let third = row(&ranking, 3).to_string();
    assert!(third.contains("LORASWEEP_RESUME"), "{third}");
    assert!(third.contains("1.3"), "what it had reached is not lost: {third}");
}
