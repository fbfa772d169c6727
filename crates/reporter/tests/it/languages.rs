//! Pictures and comparisons as people read them, in both languages.

use reporter::plot::{Plot, all_plots};
use reporter::{Lang, TerminalOptions, rank, side_by_side, terminal};
use spec::{Outcome, ReportSettings, StopReason, SweepState, TrialId, TrialStatus};

use crate::replicated::sets;
use crate::sweeps;

/// Runs with every flag that a picture has words for, the last of them stopped.
fn small() -> SweepState {
    let configs = [
        sweeps::config(8, 3e-5, 2),
        sweeps::config(8, 1e-3, 2),
        sweeps::config(32, 1e-3, 4),
        sweeps::config(8, 1e-2, 2),
        sweeps::config(16, 1.5e-4, 6),
    ];
    let mut state = sweeps::sweep("languages", &configs);
    let reason = "median: after 6 evaluations its best validation loss is 1.4000, the median of 4 other \
                  trials 1.2000";
    let outcome =
        Outcome::Stopped { reason: StopReason::EarlyTerminate { reason: reason.to_owned() } };
    state.trials.get_mut(&TrialId(5)).expect("a run").status = TrialStatus::Finished { outcome };
    state
}

/// The texts of a picture, in the order in which they are drawn.
fn texts(plot: &Plot) -> Vec<String> {
    let after = plot.svg.split("<text ").skip(1);
    let text =
        |part: &str| Some(part.split_once('>')?.1.split_once("</text>")?.0.trim().to_owned());
    after.filter_map(text).collect()
}

fn pictures(lang: Lang) -> Vec<Plot> {
    let plots = all_plots(&small(), &ReportSettings::default(), lang);
    plots.into_iter().collect::<Result<_, _>>().expect("every picture is drawn")
}

#[test]
fn pictures_are_in_the_language_of_the_report() {
    for lang in Lang::ALL {
        let all = pictures(lang);
        let shown = all.iter().map(|plot| format!("{}: {}", plot.name, texts(plot).join(" | ")));
        let shown = shown.collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(format!("pictures_{}", lang.code()), shown);
    }
}

#[test]
fn numbers_of_vietnamese_pictures_have_a_decimal_comma() {
    for plot in pictures(Lang::Vi) {
        for text in texts(&plot) {
            let is_setting = |word: &str| word.contains('e') || text.contains("lora_dropout");
            let mut words = text.split_whitespace().filter(|word| !is_setting(word));
            let with_point = words
                .find(|w| w.contains('.') && w.replace(['.', '+', '-'], "").parse::<u64>().is_ok());
            assert_eq!(with_point, None, "{}: {text}", plot.name);
        }
    }
}

#[test]
fn two_runs_are_set_side_by_side_in_the_language_asked_for() {
    let set = &sets()[0];
    let rows: Vec<usize> = (0..set.targets.len()).collect();
    let state = set.sweep(&[0, 1, 2, 3], &[0, 1], &rows);
    let mut live = state.clone();
    live.trials.get_mut(&TrialId(1)).expect("a run").status = TrialStatus::Running;
    let of = |state: &SweepState, a: u32, b: u32, lang: Lang| {
        let sides = (("s:1", state, TrialId(a)), ("s:2", state, TrialId(b)));
        side_by_side(sides.0, sides.1).expect("evaluations").text(lang)
    };
    for lang in Lang::ALL {
        let all = [
            of(&state, 1, 3, lang),
            of(&state, 1, 7, lang),
            of(&state, 1, 2, lang),
            of(&live, 1, 3, lang),
            of(&small(), 1, 2, lang),
        ];
        insta::assert_snapshot!(format!("side_by_side_{}", lang.code()), all.join("\n"));
    }
}

#[test]
fn the_terminal_report_and_the_reason_of_a_stop_are_vietnamese_too() {
    let ranking = rank(&small(), &ReportSettings::default(), Lang::Vi);
    insta::assert_snapshot!("terminal_vi", terminal(&ranking, TerminalOptions::default()));
    let row = ranking.rows.iter().find(|row| row.trial == TrialId(5)).expect("a row");
    let reason = "median: sau 6 lần đánh giá, validation loss tốt nhất là 1,4000, trung vị của 4 lượt \
                  khác là 1,2000";
    assert_eq!(row.stopped.as_deref(), Some(reason));
    assert!(row.explanation.contains(reason), "{}", row.explanation);
}
