//! Sweeps that are chosen by what their adapters answer.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use std::fs;
use std::path::Path;

use serde_json::Value;
use spec::{Event, SweepState, TrialId};
use store::SweepFolder;

use crate::common::{is_training, lorasweep, prepare, start, wait_until};

/// The quickstart with this metric, trained for so many epochs.
fn prepare_scored(dir: &Path, epochs: u32, metric: &str, executor: &str) {
    prepare(dir, epochs, executor);
    choose_by(dir, metric);
}

/// Changes the metric of the sweep file.
fn choose_by(dir: &Path, metric: &str) {
    let path = dir.join("s.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let changed = |line: &str| {
        if line.starts_with("metric:") {
            format!("metric: {metric}\n")
        } else {
            format!("{line}\n")
        }
    };
    let lines = text.lines().map(changed);
    fs::write(path, lines.collect::<String>()).unwrap();
}

fn run(dir: &Path) {
    let ran = lorasweep(dir, &["run", "s.yaml", "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

fn state(dir: &Path) -> SweepState {
    SweepFolder::open(dir.join("results/s")).unwrap().state().unwrap()
}

/// Columns of numbers of a CSV file, by name.
fn columns(path: &Path, names: &[&str]) -> Vec<Vec<f64>> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let at =
        |name: &&str| header.iter().position(|h| h == name).unwrap_or_else(|| panic!("{name}"));
    let places: Vec<usize> = names.iter().map(at).collect();
    // An empty cell is no number.
    let number = |cell: &str| cell.parse().unwrap_or(f64::NAN);
    lines.map(|cells| places.iter().map(|at| number(cells[*at])).collect()).collect()
}

const EXACT: &str = "{name: exact_match, goal: maximize, examples: 40, max_new_tokens: 12}";

#[test]
fn two_lines_of_the_sweep_file_choose_by_exact_match() {
    let dir = tempfile::tempdir().unwrap();
    prepare_scored(dir.path(), 3, EXACT, "max_packed: 2");
    run(dir.path());

    let state = state(dir.path());
    assert_eq!(state.objective.metric, "exact_match");
    for trial in state.trials.values() {
        assert!(trial.evaluations.iter().all(|e| e.score("exact_match").is_some()));
        let answers = trial.answers.as_ref().expect("its answers at the best evaluation");
        let best = trial.best().unwrap();
        let scores = &answers.scores["exact_match"];
        assert_eq!((answers.step, scores.len()), (best.step, 40));
        let mean = scores.iter().map(|score| f64::from(*score)).sum::<f64>() / 40.0;
        assert!((mean - best.score("exact_match").unwrap().value).abs() < 1e-9);
        let highest = trial.evaluations.iter().filter_map(|e| e.score("exact_match"));
        let highest = highest.map(|score| score.value).fold(0.0, f64::max);
        assert_eq!(best.score("exact_match").unwrap().value, highest);
    }
    let base = state.base_answers.as_ref().expect("the base model's answers");
    assert!(base.kept.iter().all(|kept| !kept.prompt.is_empty() && !kept.reference.is_empty()));

    // The table is in the order of the metric, and the loss is beside it.
    let table = dir.path().join("results/s/ranking.csv");
    let rows = columns(&table, &["trial", "exact_match", "eval_loss"]);
    let scores: Vec<f64> = rows.iter().map(|row| row[1]).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{rows:?}");
    assert!(Some(&scores[0]) > scores.last(), "training teaches some of the code book: {rows:?}");

    // So are the sentences, `status`, and the adapter that is exported.
    let report = fs::read_to_string(dir.path().join("results/s/report.txt")).unwrap();
    assert!(report.contains("exact_match"), "{report}");
    let status = lorasweep(dir.path(), &["status", "results/s", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status[0]["metric"], "exact_match");
    assert_eq!(status[0]["best_value"].as_f64(), Some(scores[0]));
    let page = fs::read_to_string(dir.path().join("results/s/report.html")).unwrap();
    assert!(page.contains("\"metric\":\"exact_match\"") && page.contains("\"questions\":["));
}

#[test]
fn a_metric_beside_the_loss_leaves_the_choice_to_the_loss() {
    let dir = tempfile::tempdir().unwrap();
    let metric = "{name: eval_loss, measure: [exact_match, chrf], examples: 10, every: best, \
                  max_new_tokens: 8}";
    prepare_scored(dir.path(), 2, metric, "max_packed: 2");
    run(dir.path());
    let state = state(dir.path());
    assert!(state.objective.is_loss());
    for trial in state.trials.values() {
        let mut lowest = f64::INFINITY;
        for evaluation in &trial.evaluations {
            let is_lowest = evaluation.eval_loss < lowest;
            lowest = lowest.min(evaluation.eval_loss);
            let names: Vec<&str> = evaluation.scores.iter().map(|s| s.metric.as_str()).collect();
            assert_eq!(names, if is_lowest { vec!["exact_match", "chrf"] } else { vec![] });
        }
        assert_eq!(trial.best(), trial.lowest());
    }
}

#[test]
fn a_worker_that_is_killed_changes_no_score() {
    let executor = "max_packed: 2, checkpoint_seconds: 1";
    let alone = tempfile::tempdir().unwrap();
    prepare_scored(alone.path(), 4, EXACT, executor);
    run(alone.path());

    let killed = tempfile::tempdir().unwrap();
    prepare_scored(killed.path(), 4, EXACT, executor);
    let mut driver = start(killed.path());
    wait_until("it trains", || is_training(killed.path()));
    let evaluated = || {
        let folder = SweepFolder::open(killed.path().join("results/s"));
        let events = folder.and_then(|folder| folder.events()).unwrap_or_default();
        events.iter().any(|event| matches!(event, Event::Checkpointed { step, .. } if *step > 0))
    };
    wait_until("it has a checkpoint", evaluated);
    driver.kill().unwrap();
    driver.wait().unwrap();
    run(killed.path());

    let [alone, killed] = [&alone, &killed].map(|dir| state(dir.path()));
    let scores = |state: &SweepState, id: TrialId| -> Vec<(u32, Vec<spec::MeanScore>)> {
        let evaluations = state.trials[&id].evaluations.iter();
        evaluations.map(|e| (e.step, e.scores.clone())).collect()
    };
    for id in alone.trials.keys() {
        assert_eq!(scores(&alone, *id), scores(&killed, *id), "{id}");
        assert_eq!(alone.trials[id].answers, killed.trials[id].answers, "{id}");
    }
    assert_eq!(alone.base_answers, killed.base_answers);
}

/// Rows as GSM8K has them: the answer works a sum out and ends with `#### n`.
#[test]
fn a_sweep_of_word_problems_is_chosen_by_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), 1, "max_packed: 4");
    let rows = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sums");
    for name in ["train.jsonl", "validation.jsonl"] {
        fs::copy(rows.join(name), dir.path().join(name)).unwrap();
    }
    let sweep = "name: s\nmethod: grid\n\
                 metric: {name: number_match, goal: maximize, measure: exact_match, \
                 max_new_tokens: 24}\n\
                 parameters: {learning_rate: [0.0002, 0.005], rank: [4, 16]}\n\
                 model: quickstart/base\n\
                 data: {train: train.jsonl, validation: validation.jsonl}\n\
                 train: {batch_size: 8, lora_alpha: 32, epochs: 6, max_seq_len: 64}\n\
                 executor: {device: cpu, max_packed: 4}\n";
    fs::write(dir.path().join("s.yaml"), sweep).unwrap();
    run(dir.path());

    let table = dir.path().join("results/s/ranking.csv");
    let rows = columns(&table, &["trial", "number_match", "exact_match", "learning_rate"]);
    assert!(rows.is_sorted_by(|a, b| a[1] >= b[1]), "{rows:?}");
    let base = rows.iter().find(|row| row[0] == 0.0).unwrap();
    assert!(rows[0][1] > base[1] + 0.2, "sums are learnt: {rows:?}");
    // An answer that is right to the letter has the right number.
    assert!(rows.iter().all(|row| row[1] >= row[2]), "{rows:?}");
    let state = state(dir.path());
    let chosen = lorasweep(dir.path(), &["export", "results/s", "--to", "adapter"]);
    assert_eq!(chosen.code, 0, "{}", chosen.stderr);
    let best = state.trials.values().filter_map(spec::TrialState::best_cost).fold(1.0, f64::min);
    assert!((best - (1.0 - rows[0][1])).abs() < 1e-6);
}

#[test]
fn a_command_reports_a_metric_of_its_own_and_the_highest_is_chosen() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rows.jsonl"), "{}\n").unwrap();
    // The higher the rank, the higher its accuracy and its loss.
    let sweep = "name: s\nmethod: grid\nmodel: any/model\ndata: {train: rows.jsonl}\n\
                 metric: {name: accuracy, goal: maximize}\n\
                 parameters: {rank: [2, 8, 4]}\n\
                 executor:\n  type: command\n  command: |\n    \
                 echo \"{\\\"epoch\\\": 1, \\\"eval_loss\\\": $LORASWEEP_RANK, \
                 \\\"eval_accuracy\\\": 0.$LORASWEEP_RANK, \
                 \\\"accuracy_examples\\\": [0, 1, 0.$LORASWEEP_RANK]}\"\n";
    fs::write(dir.path().join("s.yaml"), sweep).unwrap();
    run(dir.path());
    let rows = columns(&dir.path().join("results/s/ranking.csv"), &["accuracy", "eval_loss"]);
    let measured: Vec<_> = rows.iter().filter(|row| row[1] > 0.0).collect();
    assert_eq!(measured, [&[0.8, 8.0], &[0.4, 4.0], &[0.2, 2.0]]);
    for trial in state(dir.path()).trials.values() {
        let answers = trial.answers.as_ref().expect("the scores of the examples");
        assert_eq!(answers.scores["accuracy"].len(), 3);
    }
}

#[test]
fn a_judge_of_ones_own_scores_the_answers() {
    let dir = tempfile::tempdir().unwrap();
    let metric = "{name: brevity, goal: maximize, examples: 10, max_new_tokens: 4, command: \
                  \"while read -r line; do echo -${#line}; done\"}";
    prepare_scored(dir.path(), 1, metric, "max_packed: 2");
    run(dir.path());
    let state = state(dir.path());
    assert_eq!(state.objective.metric, "brevity");
    for trial in state.trials.values() {
        assert!(trial.best().unwrap().score("brevity").unwrap().value < -10.0);
        assert_eq!(trial.answers.as_ref().unwrap().scores["brevity"].len(), 10);
    }
}

#[test]
fn what_cannot_be_measured_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), 1, "max_packed: 2");
    for (metric, why) in [
        ("exact_mach", "did you mean `exact_match`"),
        ("{name: exact_match, goal: minimize}", "higher is better"),
        ("{name: regex_match}", "write `pattern:"),
        ("{name: regex_match, pattern: '(a'}", "not a regular expression"),
        ("{name: exact_match, tolerance: 1}", "`metric.tolerance` and `name: exact_match`"),
        ("{name: eval_loss, examples: 3}", "measure: exact_match"),
        ("{name: my_score, command: judge}", "write `goal: maximize`"),
    ] {
        choose_by(dir.path(), metric);
        let ran = lorasweep(dir.path(), &["check", "s.yaml"]);
        assert_ne!(ran.code, 0, "{metric}");
        assert!(ran.stderr.contains(why), "{metric}: {}", ran.stderr);
        assert!(ran.stderr.contains("s.yaml:"), "{metric}: {}", ran.stderr);
    }
}
