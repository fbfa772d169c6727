//! Tables and text.

use std::collections::BTreeMap;

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use reporter::{
    Lang, TerminalOptions, evaluations_csv, evaluations_parquet, metrics_csv, mlflow, rank,
    ranking_csv, ranking_json, ranking_parquet, steps_csv, terminal,
};
use spec::{Event, Outcome, ReportSettings, SweepState, TrialId};

use crate::sweeps;

fn ranking_of(state: &SweepState) -> reporter::Ranking {
    rank(state, &ReportSettings::default(), Lang::En)
}

fn small() -> SweepState {
    let configs = [
        sweeps::config(8, 3e-5, 2),
        sweeps::config(8, 1e-3, 2),
        sweeps::config(32, 1e-3, 4),
        sweeps::config(8, 1e-2, 2),
    ];
    sweeps::sweep("small", &configs)
}

#[test]
fn runs_are_ranked_by_their_best_evaluation_and_the_base_is_among_them() {
    let ranking = ranking_of(&sweeps::quickstart());
    let losses: Vec<f64> = ranking.rows.iter().filter_map(|row| row.eval_loss).collect();
    assert!(losses.is_sorted());
    assert_eq!(ranking.rows.len(), 18 + 1);
    let base = ranking.rows.iter().position(|row| row.trial == TrialId::BASE);
    let diverged = ranking.rows.iter().position(|row| row.flag.name() == "diverged");
    assert!(base < diverged, "a diverged run never beat the base model");
    assert!(ranking.rows.iter().zip(1..).all(|(row, place)| row.position == place));
}

#[test]
fn a_run_without_evaluations_comes_last() {
    let mut state = small();
    state.trials.get_mut(&TrialId(1)).expect("trial").evaluations.clear();
    let ranking = ranking_of(&state);
    assert_eq!(ranking.rows.last().map(|row| row.trial), Some(TrialId(1)));
}

#[test]
fn the_ranking_table_has_one_line_a_run() {
    insta::assert_snapshot!(ranking_csv(&ranking_of(&small())).expect("csv"));
}

#[test]
fn the_ranking_as_json_can_be_read_back() {
    let text = ranking_json(&ranking_of(&small())).expect("json");
    let value: serde_json::Value = serde_json::from_str(&text).expect("valid");
    assert_eq!(value["rows"][0]["config"]["rank"], 32);
    assert_eq!(value["rows"].as_array().map(Vec::len), Some(5));
    assert_eq!(value["verdict"]["flags"]["diverged"], 1);
}

#[test]
fn the_terminal_shows_the_verdict_and_the_first_rows() {
    let text = terminal(&ranking_of(&sweeps::quickstart()), TerminalOptions::default());
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(text.lines().count() <= 25, "{}", text.lines().count());
    insta::assert_snapshot!(text);
}

#[test]
fn colours_change_nothing_but_colours() {
    let ranking = ranking_of(&small());
    let plain = terminal(&ranking, TerminalOptions::default());
    let coloured = terminal(&ranking, TerminalOptions { colour: true, ..Default::default() });
    assert!(coloured.contains("\x1b[31m"));
    let stripped = ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[2m", "\x1b[0m"]
        .iter()
        .fold(coloured, |text, code| text.replace(code, ""));
    assert_eq!(stripped, plain);
}

#[test]
fn metrics_begin_with_the_base_model_and_mark_the_best_evaluation() {
    let state = small();
    let text = metrics_csv(&state.trials[&TrialId(2)], state.base.as_ref()).expect("csv");
    insta::assert_snapshot!(text, @r"
    step,epoch,eval_loss,eval_loss_stderr,rise_stderr,train_loss,gap,retention_loss,is_best,tokens,seconds
    0,0,2.9,0.03,,2.92,-0.02,1.4,false,0,0
    30,0.5,1.57185644,0.03,,1.35753247,0.21432398,1.5088755,false,23040,6.3
    60,1,1.35673469,0.03,0.008,0.94893207,0.40780262,1.56500456,true,46080,12.6
    90,1.5,1.39175245,0.03,0.008,0.79357922,0.59817322,1.60309546,false,69120,18.9
    120,2,1.43428762,0.03,0.008,0.67868799,0.75559963,1.63196425,false,92160,25.2
    ");
}

#[test]
fn steps_have_one_line_an_optimizer_step() {
    let state = small();
    let text = steps_csv(&state.trials[&TrialId(2)]).expect("csv");
    assert_eq!(text.lines().count(), 1 + 6);
    assert!(text.starts_with("step,epoch,loss,grad_norm,learning_rate,tokens,seconds\n20,"));
}

#[test]
fn trials_that_failed_of_one_cause_are_told_together() {
    let configs: Vec<_> = (0..12).map(|_| sweeps::config(8, 1e-4, 1)).collect();
    let mut state = sweeps::sweep("failing", &configs);
    for number in 1..=11_u32 {
        let error = if number == 4 { "a bad adapter" } else { "no room" }.to_owned();
        let outcome = Outcome::Failed { error };
        state.apply(&Event::TrialFinished { trial: TrialId(number), outcome });
    }
    let failures = ranking_of(&state).failures;
    let told: Vec<_> = failures.iter().map(|f| (f.whose(), f.cause.as_str())).collect();
    let many = "001, 002, 003, 005, 006, 007, 008, 009, … (10)".to_owned();
    assert_eq!(told, [(many, "no room"), ("004".to_owned(), "a bad adapter")]);
    assert_eq!(failures[0].trials.len(), 10);
}

#[test]
fn a_small_heat_map_as_svg() {
    let configs = [sweeps::config(8, 1e-4, 1), sweeps::config(16, 1e-2, 1)];
    let state = sweeps::sweep("tiny", &configs);
    let plots = reporter::plot::sweep_plots(&state, &ReportSettings::default(), Lang::En);
    let heatmap = plots.into_iter().flatten().find(|plot| plot.name == "heatmap");
    insta::assert_snapshot!(heatmap.expect("a heat map").svg);
}

#[test]
fn the_parquet_tables_have_typed_columns_and_nulls() {
    let mut state = small();
    let first = state.trials.get_mut(&TrialId(1)).expect("trial");
    first.evaluations[0].train_loss = None;
    first.trial.config.seed = u64::MAX;
    let rows = read_parquet(evaluations_parquet(&state).expect("parquet"));
    let csv = evaluations_csv(&state).expect("csv");
    assert_eq!(rows.len() + 1, csv.lines().count());
    let names: Vec<_> = rows[0].get_column_iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.join(","), csv.lines().next().expect("a header"));
    // The row of the base model comes first.
    assert!(rows[1].get_double(6).is_err(), "there is no train loss");
    let evaluation = &state.trials[&TrialId(1)].evaluations[0];
    assert_eq!(rows[1].get_double(3).expect("eval_loss"), evaluation.eval_loss);
    let seed = names.iter().position(|name| *name == "seed").expect("a column");
    assert_eq!(rows[1].get_ulong(seed).expect("a seed"), u64::MAX);
    let marked = rows.iter().filter(|row| row.get_bool(9).expect("is_best")).count();
    assert_eq!(marked, state.trials.len());

    let ranking = ranking_of(&state);
    let rows = read_parquet(ranking_parquet(&ranking).expect("parquet"));
    let header = ranking_csv(&ranking).expect("csv").lines().next().map(str::to_owned);
    let names: Vec<_> = rows[0].get_column_iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(Some(names.join(",")), header);
    let trials: Vec<_> = rows.iter().map(|row| row.get_long(1).expect("trial") as u32).collect();
    assert_eq!(trials, ranking.rows.iter().map(|row| row.trial.0).collect::<Vec<_>>());
}

fn read_parquet(bytes: Vec<u8>) -> Vec<parquet::record::Row> {
    let file = SerializedFileReader::new(Bytes::from(bytes)).expect("a Parquet file");
    file.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect()
}

#[test]
fn an_mlflow_experiment_has_a_run_for_each_trial_and_its_curves() {
    let state = small();
    let (none, store) = (BTreeMap::new(), "/some where/mlruns");
    let experiment = mlflow(&state, &none, store);
    let text = |path: &str| {
        let file = experiment.files.iter().find(|file| file.path == path).expect(path);
        String::from_utf8(file.bytes.clone()).expect("text")
    };
    let metas = experiment.files.iter().filter(|file| file.path.ends_with("/meta.yaml"));
    let runs: Vec<&str> = metas.filter_map(|meta| meta.path.split('/').next()).collect();
    assert_eq!(runs.len(), 1 + state.trials.len());
    assert!(runs.iter().all(|id| id.len() == 32));
    assert!(text("meta.yaml").contains("artifact_location: \"file:///some%20where/mlruns/"));
    let second = runs[2];
    assert_eq!(text(&format!("{second}/params/learning_rate")), "1e-3");
    assert_eq!(text(&format!("{second}/tags/lorasweep.trial")), "2");
    let losses = text(&format!("{second}/metrics/eval_loss"));
    let of_state = &state.trials[&TrialId(2)].evaluations;
    let expected: Vec<String> = of_state
        .iter()
        .map(|e| format!("{} {:?} {}", (e.seconds * 1000.0) as u64, e.eval_loss, e.step))
        .collect();
    assert_eq!(losses.lines().collect::<Vec<_>>(), expected);
    assert_eq!(mlflow(&state, &none, store), experiment, "its numbers do not change");
}
