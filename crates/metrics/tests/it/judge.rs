//! Judges as people write them, and as they should not.
#![cfg(unix)]

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use metrics::judge::{Judge, JudgeError, JudgeFault, JudgeSettings, ToScore};
use tempfile::TempDir;

/// Longer than any of these judges takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);
/// Scores by the number in the answer.
const GOOD: &str = "sed -un 's/.*\"output\":\"\\([0-9.]*\\)\".*/\\1/p'";

fn judge(dir: &Path, command: &str, timeout: Duration) -> Judge {
    Judge::new(JudgeSettings { command: command.to_owned(), dir: dir.to_owned(), timeout })
}

fn asked<'a>(outputs: &'a [(&'a str, &'a str)]) -> Vec<ToScore<'a>> {
    let one = |(id, output): &(&'a str, &'a str)| ToScore {
        id,
        prompt: "how much?",
        reference: Some("1"),
        output,
    };
    outputs.iter().map(one).collect()
}

const THREE: [(&str, &str); 3] = [("a", "1"), ("b", "0.5"), ("c", "0")];

fn scores(command: &str) -> Result<Vec<f64>, JudgeError> {
    let dir = TempDir::new().unwrap();
    judge(dir.path(), command, LONG).score(&asked(&THREE))
}

fn fault(command: &str, timeout: Duration) -> (JudgeFault, String) {
    let dir = TempDir::new().unwrap();
    let error = judge(dir.path(), command, timeout).score(&asked(&THREE)).unwrap_err();
    let told = error.to_string();
    assert!(error.help().is_some(), "{told}");
    match error {
        JudgeError::Failed(failure) => (failure.fault, told),
        JudgeError::Start { .. } => panic!("{told}"),
    }
}

#[test]
fn every_answer_has_the_score_that_the_judge_wrote_for_it() {
    assert_eq!(scores(GOOD).unwrap(), [1.0, 0.5, 0.0]);
}

#[test]
fn scores_with_ids_may_come_in_any_order() {
    let with_ids = r#"read a; read b; read c
        echo '{"id": "c", "score": 0.3}'; echo '{"id": "a", "score": 0.1, "why": "no"}'
        echo '{"score": 0.2, "id": "b"}'; cat > /dev/null"#;
    assert_eq!(scores(with_ids).unwrap(), [0.1, 0.2, 0.3]);
}

#[test]
fn a_judge_is_started_once_for_all_calls() {
    let dir = TempDir::new().unwrap();
    let command = format!("echo started >> starts; {GOOD}");
    let mut judge = judge(dir.path(), &command, LONG);
    for _ in 0..3 {
        assert_eq!(judge.score(&asked(&THREE)).unwrap(), [1.0, 0.5, 0.0]);
    }
    assert_eq!(judge.score(&[]).unwrap(), [0.0; 0]);
    assert_eq!(std::fs::read_to_string(dir.path().join("starts")).unwrap(), "started\n");
}

#[test]
fn a_judge_in_python_that_prints_is_heard_at_once() {
    let dir = TempDir::new().unwrap();
    let script = "import json, sys\nfor line in sys.stdin:\n    row = json.loads(line)\n    \
                  print(float(row['output'] == row['reference']))\n";
    std::fs::write(dir.path().join("judge.py"), script).unwrap();
    let mut judge = judge(dir.path(), "python3 judge.py", LONG);
    assert_eq!(judge.score(&asked(&THREE)).unwrap(), [1.0, 0.0, 0.0]);
    assert_eq!(judge.score(&asked(&THREE[..1])).unwrap(), [1.0]);
}

#[test]
fn a_judge_that_crashes_is_told_with_its_line_and_the_end_of_its_stderr() {
    let crash = "read a; echo 1; read b; echo 'Traceback: no key' >&2; exit 3";
    let (fault, told) = fault(crash, LONG);
    assert_eq!(fault, JudgeFault::Ended { how: "exit status: 3".to_owned() });
    // One score of each of the two starts.
    assert!(
        told.contains("after 2 of 3 scores, the second time in a row; \"c\" has none"),
        "{told}"
    );
    assert!(told.ends_with("the end of its stderr:\nTraceback: no key"), "{told}");
}

#[test]
fn a_judge_that_crashed_once_goes_on_where_it_was() {
    let dir = TempDir::new().unwrap();
    let once = format!("test -e crashed || {{ read a; echo 7; touch crashed; exit 1; }}; {GOOD}");
    assert_eq!(judge(dir.path(), &once, LONG).score(&asked(&THREE)).unwrap(), [7.0, 0.5, 0.0]);
}

#[test]
fn after_an_error_the_next_call_starts_the_judge_again() {
    let dir = TempDir::new().unwrap();
    let command = format!("test -e fine || {{ read a; touch fine; echo no; }}; {GOOD}");
    let mut judge = judge(dir.path(), &command, LONG);
    assert!(judge.score(&asked(&THREE)).is_err());
    assert_eq!(judge.score(&asked(&THREE)).unwrap(), [1.0, 0.5, 0.0]);
}

#[test]
fn a_judge_that_hangs_or_writes_too_few_lines_is_given_up() {
    for command in ["sleep 600", "cat > /dev/null", "read a; echo 1; cat > /dev/null"] {
        let (fault, told) = fault(command, SHORT);
        assert_eq!(fault, JudgeFault::Silent { longest: SHORT }, "{told}");
        assert!(told.contains("wrote no score for 0.3 s"), "{told}");
    }
}

#[test]
fn what_is_no_score_is_refused_with_the_line() {
    for (line, why) in [
        ("good", "it is neither a number nor"),
        ("", "it is empty"),
        ("nan", "the score is not finite"),
        (r#"{"id": "x", "score": 1}"#, "no answer has this `id`"),
        (r#"{"id": "a"}"#, "it has no `score`"),
    ] {
        let (fault, told) = fault(&format!("read a; echo '{line}'; cat > /dev/null"), LONG);
        assert!(matches!(fault, JudgeFault::NotAScore { .. }) && told.contains(why), "{told}");
    }
}

#[test]
fn an_id_is_scored_once_and_all_lines_have_ids_or_none() {
    for (lines, why) in [
        (r#"'{"id": "a", "score": 1}' '{"id": "a", "score": 1}'"#, "scored before"),
        (r#"'{"id": "a", "score": 1}' 0.5"#, "some of its lines have an `id`"),
    ] {
        let command = format!("read a; read b; read c; printf '%s\\n' {lines}; cat > /dev/null");
        let told = fault(&command, LONG).1;
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn lines_too_many_are_never_taken_for_the_next_answers_scores() {
    let twice = "while read line; do echo 1; echo 1; done";
    let (fault, told) = fault(twice, LONG);
    let is_told = matches!(fault, JudgeFault::TooMany { .. } | JudgeFault::Unasked { .. });
    // Written late, they are seen by the next call.
    assert!(is_told, "{told}");
    let dir = TempDir::new().unwrap();
    let late = "read a; read b; read c; printf '1\\n1\\n1\\n'; sleep 0.2; echo 1; cat > /dev/null";
    let mut judge = judge(dir.path(), late, LONG);
    assert_eq!(judge.score(&asked(&THREE)).unwrap(), [1.0; 3]);
    std::thread::sleep(Duration::from_millis(500));
    let error = judge.score(&asked(&THREE)).unwrap_err();
    assert!(error.to_string().contains("wrote \"1\" before it was asked"), "{error}");
}

#[test]
fn a_line_without_an_end_takes_no_memory() {
    let (fault, _) = fault("tr '\\0' 1 < /dev/zero", LONG);
    assert_eq!(fault, JudgeFault::TooLong);
}

#[test]
fn a_judge_that_closes_its_input_is_told() {
    let dir = TempDir::new().unwrap();
    // More than a pipe holds, so that the rest cannot be written.
    let long = "x".repeat(300_000);
    let outputs = [("a", "1"), ("b", long.as_str())];
    let command = "read a; exec < /dev/null; echo 1; sleep 600";
    let error = judge(dir.path(), command, LONG).score(&asked(&outputs)).unwrap_err();
    assert!(error.to_string().contains("closed its stdin"), "{error}");
}

#[test]
fn a_judge_that_writes_much_before_it_reads_holds_nothing_up() {
    let dir = TempDir::new().unwrap();
    let many: Vec<String> = (0..3000).map(|i| i.to_string()).collect();
    let outputs: Vec<(&str, &str)> = many.iter().map(|i| (i.as_str(), i.as_str())).collect();
    // Neither pipe holds all of it.
    let command = format!("head -c 2000000 /dev/zero | tr '\\0' '\\n' >&2; {GOOD}");
    let scores = judge(dir.path(), &command, LONG).score(&asked(&outputs)).unwrap();
    assert!(scores.iter().enumerate().all(|(at, score)| *score == at as f64));
    let flood = "yes 1";
    assert!(matches!(
        fault(flood, LONG).0,
        JudgeFault::Unasked { .. } | JudgeFault::TooMany { .. }
    ));
}

#[test]
fn nothing_that_a_judge_started_outlives_it() {
    let dir = TempDir::new().unwrap();
    let command = format!("sleep 600 & echo $! > child; {GOOD}");
    let mut judge = judge(dir.path(), &command, LONG);
    judge.score(&asked(&THREE)).unwrap();
    let child = std::fs::read_to_string(dir.path().join("child")).unwrap();
    let is_alive = || {
        let mut path = String::new();
        let _ = write!(path, "/proc/{}/stat", child.trim());
        // A process that nobody waits for stays as a zombie.
        std::fs::read_to_string(path).is_ok_and(|stat| !stat.contains(") Z "))
    };
    assert!(is_alive());
    drop(judge);
    let since = Instant::now();
    while is_alive() && since.elapsed() < LONG {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!is_alive());
}

#[test]
fn a_command_that_is_not_there_is_told_with_what_the_shell_says() {
    let (fault, told) = fault("no-such-judge-here --fast", LONG);
    assert!(matches!(fault, JudgeFault::Ended { .. }), "{told}");
    assert!(told.contains("no-such-judge-here") && told.contains("not found"), "{told}");
    let missing = Path::new("/no/such/folder");
    let error = judge(missing, GOOD, LONG).score(&asked(&THREE)).unwrap_err();
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
}

/// Whatever a judge writes, there is an answer: as many finite scores as were asked for, or an error.
#[test]
fn any_output_gives_scores_or_an_error() {
    let dir = TempDir::new().unwrap();
    for seed in 0..20 {
        let command = format!(
            "awk 'BEGIN{{srand({seed})}} {{ r = rand(); print (r < 0.8 ? r : r < 0.85 ? \"x\" : r < 0.9 ? \
             \"1\\n1\" : r < 0.95 ? \"\" : \"inf\"); fflush() }}'"
        );
        match judge(dir.path(), &command, SHORT).score(&asked(&THREE)) {
            Ok(scores) => {
                assert!(scores.len() == 3 && scores.iter().all(|score| score.is_finite()));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
