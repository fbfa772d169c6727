//! What is said while a sweep runs, and of runs that were stopped early.

use reporter::{Lang, Ranking, TerminalOptions, rank, ranking_csv, side_by_side, terminal};
use spec::{Event, Outcome, ReportSettings, StopReason, SweepState, TrialId, TrialStatus};

use crate::replicated::sets;

fn finished() -> SweepState {
    let set = &sets()[0];
    let rows: Vec<usize> = (0..set.targets.len()).collect();
    set.sweep(&(0..set.runs.len()).collect::<Vec<_>>(), &[0], &rows)
}

fn live() -> SweepState {
    let mut state = finished();
    state.finished = false;
    state.trials.get_mut(&TrialId(3)).expect("a run").status = TrialStatus::Running;
    state.trials.get_mut(&TrialId(4)).expect("a run").status = TrialStatus::Pending;
    state
}

fn ranking(state: &SweepState, lang: Lang) -> Ranking {
    rank(state, &ReportSettings::default(), lang)
}

#[test]
fn a_live_verdict_says_that_it_is_preliminary_and_what_is_missing() {
    let words = ranking(&live(), Lang::En).verdict.sentences;
    let first = "Preliminary: 6 of 8 runs have ended (in training: 1, waiting: 1);";
    assert!(words[0].starts_with(first), "{words:?}");
    let all = words.join(" ");
    assert!(!all.contains("better than every"), "{all}");
    assert!(!all.contains("cannot be told apart"), "{all}");
    assert!(all.contains("Runs that have not ended are not compared"), "{all}");
    let words = ranking(&live(), Lang::Vi).verdict.sentences;
    assert!(words[0].starts_with("Tạm thời"), "{words:?}");
    assert!(!ranking(&finished(), Lang::En).verdict.sentences[0].starts_with("Preliminary"));
}

#[test]
fn a_sweep_between_two_proposals_is_not_called_done() {
    let mut state = finished();
    state.finished = false;
    let words = ranking(&state, Lang::En).verdict.sentences;
    assert!(words[0].contains("more may be proposed"), "{words:?}");
}

#[test]
fn a_run_that_has_not_ended_is_not_better_beyond_chance_in_any_comparison() {
    let state = live();
    let both = side_by_side(("s", &state, TrialId(3)), ("s", &state, TrialId(1))).expect("runs");
    assert_eq!(both.difference, None);
    let text = both.text(Lang::En);
    assert!(text.contains("Preliminary: s has not ended"), "{text}");
    let found = ranking(&state, Lang::En);
    let row = found.rows.iter().find(|row| row.trial == TrialId(3)).expect("a row");
    assert_eq!((row.against_best, row.outcome), (None, "running"));
}

#[test]
fn a_run_that_was_stopped_early_is_seen_to_be_everywhere() {
    let mut state = finished();
    let reason = StopReason::EarlyTerminate { reason: "worse than the median".to_owned() };
    let outcome = Outcome::Stopped { reason };
    state.apply(&Event::TrialFinished { trial: TrialId(2), outcome });
    state.finished = true;
    let found = ranking(&state, Lang::En);
    let row = found.rows.iter().find(|row| row.trial == TrialId(2)).expect("a row");
    assert_eq!((row.outcome, row.stopped.as_deref()), ("stopped", Some("worse than the median")));
    assert!(row.explanation.contains("stopped early"), "{}", row.explanation);
    let csv = ranking_csv(&found).expect("csv");
    let header: Vec<&str> = csv.lines().next().expect("a header").split(',').collect();
    let column = header.iter().position(|name| *name == "outcome").expect("a column");
    let line = csv.lines().find(|line| line.split(',').nth(1) == Some("2")).expect("a line");
    assert_eq!(line.split(',').nth(column), Some("stopped"));
    let text = terminal(&found, TerminalOptions { lines: 40, ..TerminalOptions::default() });
    assert!(text.contains(" stopped"), "{text}");
    let words = found.verdict.sentences.join(" ");
    assert!(words.contains("Stopped early: 1 of 8 runs"), "{words}");
}

#[test]
fn a_vietnamese_report_has_no_decimal_point_but_in_settings() {
    for state in [finished(), crate::sweeps::quickstart()] {
        let found = ranking(&state, Lang::Vi);
        let findings = found.verdict.findings.iter();
        let texts = findings.flat_map(|f| [f.evidence.clone(), f.advice.clone()]);
        // Why a run diverged is in the trainer's own words.
        let rows = found.rows.iter().filter(|row| row.outcome != "diverged");
        let rows = rows.map(|row| row.explanation.clone());
        for text in found.verdict.sentences.iter().cloned().chain(texts).chain(rows) {
            for word in text.split([' ', '(', ')', ';', ':']) {
                let has_point = word.trim_end_matches(['.', ',']).contains('.');
                let is_number = word.chars().all(|c| c.is_ascii_digit() || "+-.,".contains(c));
                assert!(!(has_point && is_number), "{word} in {text}");
            }
        }
        let table = terminal(&found, TerminalOptions::default());
        assert!(table.contains("được chọn") || found.comparison.is_none(), "{table}");
    }
}
