//! Trials that are given out and told of: `ask` and `tell`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::{BoundPruner, ListPlanner, config};
use planner::Pruner;
use proptest::prelude::*;
use spec::{Outcome, SweepState, TrialId};
use store::{Identity, Opened, SweepDir, SweepFolder, TrialTables};
use worker::{Answer, Asked, Board, TellError, Verdict};

fn open(results: &Path) -> Opened {
    let identity = Identity::new("s", "print", BTreeMap::new(), serde_json::json!({}));
    SweepDir::join(results, &identity, "name: s\n", Duration::from_secs(20)).unwrap()
}

/// Opens the sweep, does something with its board, and lets go of it, as each command does.
fn board<T>(results: &Path, act: impl FnOnce(&mut Board) -> T) -> T {
    let mut opened = open(results);
    let trials = vec![config(0.1, 3), config(0.2, 3), config(0.3, 3)];
    let planner = ListPlanner(trials);
    let pruner = BoundPruner { bound: 2.0, promotes: false };
    act(&mut Board {
        sweep: &mut opened,
        planner: &planner,
        pruner: Some(&pruner as &dyn Pruner),
        tables: &|_, _| Ok(TrialTables::default()),
    })
}

fn ask(results: &Path, count: usize) -> Vec<Asked> {
    board(results, |board| board.ask(count).unwrap())
}

fn tell(results: &Path, line: &str) -> Result<Answer, TellError> {
    board(results, |board| board.tell(line, results))
}

fn told(results: &Path, line: &str) -> Answer {
    tell(results, line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn state(results: &Path) -> SweepState {
    SweepFolder::open(results.join("s")).unwrap().state().unwrap()
}

fn numbers(asked: &[Asked]) -> Vec<u32> {
    let number = |asked: &Asked| match asked {
        Asked::Trial { trial, .. } => *trial,
        other => panic!("{other:?}"),
    };
    asked.iter().map(number).collect()
}

#[test]
fn a_sweep_is_asked_told_and_over() {
    let results = tempfile::tempdir().unwrap();
    let results = results.path();
    assert_eq!(numbers(&ask(results, 2)), [1, 2]);
    assert_eq!(numbers(&ask(results, 8)), [3]);
    assert_eq!(ask(results, 1), [Asked::Wait { unfinished: vec![1, 2, 3] }]);
    assert!(told(results, r#"{"trial": 0, "eval_loss": 3.0}"#).recorded);
    let point = r#"{"trial": 1, "epoch": 1, "eval_loss": 1.5, "train_loss": 1.4}"#;
    assert_eq!(told(results, point).verdict, Verdict::Continue);
    let last = r#"{"trial": 1, "epoch": 2, "eval_loss": 1.4, "outcome": "completed"}"#;
    assert_eq!(told(results, last).verdict, Verdict::Ended);
    told(results, r#"{"trial": 2, "eval_loss": 1.9, "outcome": "completed"}"#);
    told(results, r#"{"trial": 3, "outcome": "failed", "error": "out of memory"}"#);
    assert!(matches!(ask(results, 1)[..], [Asked::Finished { .. }]));
    let state = state(results);
    assert!(state.finished);
    assert_eq!(state.base.as_ref().map(|base| base.eval_loss), Some(3.0));
    assert_eq!(state.trials[&TrialId(1)].evaluations.len(), 2);
    // A final loss alone is that of the whole trial.
    assert_eq!(state.trials[&TrialId(2)].evaluations[0].epoch, 3.0);
    assert_eq!(
        state.trials[&TrialId(3)].outcome(),
        Some(&Outcome::Failed { error: "out of memory".to_owned() })
    );
    // One journal file, however often the sweep was opened.
    assert_eq!(fs::read_dir(results.join("s/journal")).unwrap().count(), 1);
}

#[test]
fn telling_twice_changes_nothing_and_telling_otherwise_is_refused() {
    let results = tempfile::tempdir().unwrap();
    let results = results.path();
    ask(results, 1);
    let point = r#"{"trial": 1, "step": 5, "epoch": 1, "eval_loss": 1.5}"#;
    assert!(told(results, point).recorded);
    assert!(!told(results, point).recorded);
    let error = tell(results, &point.replace("1.5", "1.6")).unwrap_err().to_string();
    assert!(error.contains("told before with 1.5"), "{error}");
    let end = r#"{"trial": 1, "outcome": "completed"}"#;
    assert!(told(results, end).recorded);
    assert_eq!(told(results, end), Answer { trial: 1, verdict: Verdict::Ended, recorded: false });
    assert_eq!(state(results).trials[&TrialId(1)].evaluations.len(), 1);
}

#[test]
fn a_trial_that_is_behind_is_to_be_stopped_and_stays_stopped() {
    let results = tempfile::tempdir().unwrap();
    let results = results.path();
    ask(results, 1);
    told(results, r#"{"trial": 1, "epoch": 1, "eval_loss": 2.5}"#);
    let answer = told(results, r#"{"trial": 1, "epoch": 2, "eval_loss": 2.4}"#);
    assert_eq!(answer.verdict, Verdict::Stop { reason: "2.4 is above 2".to_owned() });
    let late = told(results, r#"{"trial": 1, "epoch": 3, "eval_loss": 1.0}"#);
    assert_eq!((late.verdict, late.recorded), (answer.verdict, false));
}

#[test]
fn a_caller_that_lost_its_trial_can_have_it_again() {
    let results = tempfile::tempdir().unwrap();
    ask(results.path(), 2);
    told(results.path(), r#"{"trial": 1, "eval_loss": 1.0, "outcome": "completed"}"#);
    let again = board(results.path(), |board| board.unfinished_trials());
    assert_eq!(numbers(&again), [2]);
}

#[test]
fn lines_that_cannot_be_taken_say_what_is_wrong() {
    let results = tempfile::tempdir().unwrap();
    let results = results.path();
    ask(results, 1);
    for (line, why) in [
        ("eval_loss 1", "not a JSON object"),
        (r#"{"eval_loss": 1}"#, "`trial` must be the number"),
        (r#"{"trial": 9, "epoch": 1, "eval_loss": 1}"#, "`ask` has given trials 1 to 1"),
        (r#"{"trial": 1, "eval_loss": 1}"#, "without `step` or `epoch`"),
        (r#"{"trial": 1, "epoch": 1, "eval_loss": "x"}"#, "a loss must be a number"),
        (r#"{"trial": 1, "outcome": "done"}"#, "unknown variant `done`"),
        (r#"{"trial": 1, "outcome": "completed"}"#, "needs an `eval_loss`"),
        (r#"{"trial": 0, "epoch": 1}"#, "needs an `eval_loss`"),
    ] {
        let error = tell(results, line).unwrap_err().to_string();
        assert!(error.contains(why), "{line}: {error}");
    }
    assert_eq!(state(results).trials[&TrialId(1)].evaluations, []);
}

#[test]
fn the_best_evaluations_adapter_is_copied_when_it_is_told() {
    let results = tempfile::tempdir().unwrap();
    let results = results.path();
    ask(results, 1);
    let adapter = results.join("out");
    fs::create_dir(&adapter).unwrap();
    for (epoch, loss) in [(1, 1.5), (2, 1.2), (3, 1.3)] {
        fs::write(adapter.join("adapter_config.json"), format!("epoch {epoch}")).unwrap();
        let line =
            format!(r#"{{"trial": 1, "epoch": {epoch}, "eval_loss": {loss}, "adapter": "out"}}"#);
        told(results, &line);
    }
    let kept = results.join("s/trials/trial-001/adapter/adapter_config.json");
    assert_eq!(fs::read_to_string(kept).unwrap(), "epoch 2");
}

#[test]
fn callers_at_the_same_time_get_different_trials() {
    let results = tempfile::tempdir().unwrap();
    let results = results.path();
    let given: Vec<u32> = std::thread::scope(|scope| {
        let callers: Vec<_> =
            (0..3).map(|_| scope.spawn(|| numbers(&ask(results, 1))[0])).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let mut sorted = given.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 2, 3], "{given:?}");
}

/// Values that a key of a told line may have.
fn anything() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    prop_oneof![
        4 => (0..4_u32).prop_map(Value::from),
        2 => (0.0..3.0_f64).prop_map(Value::from),
        1 => prop::sample::select(&[-1.0, 1e308, -1e308, 1e-300, 4e9, 1e20][..]).prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => prop::sample::select(
            &["completed", "failed", "diverged", "not a number", "../out", "\u{1b}[31m", ""][..]
        )
        .prop_map(Value::from),
        1 => Just(json!([])),
        1 => Just(Value::Null),
    ]
}

/// A line of some of the keys that mean something, and what is none.
fn line() -> impl Strategy<Value = String> {
    const KEYS: [&str; 13] = [
        "trial",
        "trial",
        "trial",
        "step",
        "epoch",
        "eval_loss",
        "train_loss",
        "outcome",
        "error",
        "tokens",
        "seconds",
        "adapter",
        "grad_norm",
    ];
    let pairs = prop::collection::vec((0..KEYS.len(), anything()), 0..7);
    prop_oneof![
        8 => pairs.prop_map(|pairs| {
            let pairs = pairs.into_iter().map(|(key, value)| (KEYS[key].to_owned(), value));
            serde_json::Value::Object(pairs.collect()).to_string()
        }),
        1 => "\\{?.*",
    ]
}

/// As many as `PROPTEST_CASES` says, else few: every case syncs to the disk.
fn few_cases() -> ProptestConfig {
    let is_asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    if is_asked_for { ProptestConfig::default() } else { ProptestConfig::with_cases(32) }
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn whatever_is_told_is_taken_or_refused_and_the_sweep_goes_on(
        lines in prop::collection::vec(line(), 1..8),
    ) {
        let results = tempfile::tempdir().unwrap();
        let results = results.path();
        ask(results, 3);
        for line in &lines {
            if let Err(error) = tell(results, line) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
        let state = state(results);
        prop_assert_eq!(state.trials.len(), 3);
        for evaluation in state.trials.values().flat_map(|trial| &trial.evaluations) {
            prop_assert!(evaluation.eval_loss.is_finite());
        }
    }
}
