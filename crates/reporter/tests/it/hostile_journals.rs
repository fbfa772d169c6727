//! Journals of anything (numbers of any size, any text, events in any order): whatever is written of
//! them is well formed, below the folder that it belongs to, and never a panic.

use std::path::{Component, Path};

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;
use reporter::diagnose::diagnose_all;
use reporter::{
    Lang, Page, TerminalOptions, evaluations_csv, evaluations_parquet, html, importance,
    metrics_csv, mlflow, optuna_journal, rank, ranking_csv, ranking_json, ranking_parquet,
    steps_csv, tensorboard, terminal,
};
use spec::{
    Evaluation, Event, ExampleLosses, Outcome, Record, ReportSettings, StopReason, SweepState,
    TrainPoint, Trial, TrialId,
};

use crate::sweeps;

const ESCAPE: char = '\u{1b}';

/// A finite number, as a journal has them, of any size.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..5.0_f64,
        2 => prop::sample::select(
            &[0.0, -0.0, 1.0, -1.0, 1e-300, 1e300, -1e300, f64::MAX, f64::MIN, f64::MIN_POSITIVE][..]
        ),
        1 => any::<f64>().prop_filter("finite", |x| x.is_finite()),
    ]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..20_u32, 1 => prop::sample::select(&[u32::MAX, u32::MAX - 1, 1 << 31][..])]
}

fn large() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..20_000_u64, 1 => prop::sample::select(&[u64::MAX, 1 << 63, 1 << 53][..])]
}

fn text() -> impl Strategy<Value = String> {
    const TEXTS: &[&str] = &[
        "",
        "=HYPERLINK(\"http://x\")",
        "../../x",
        "a: b\n- c",
        "\u{1b}]0;title\u{7}",
        "<script>alert(1)</script>",
        "\u{202e}\u{0}\r\n",
        "{{ 7 * 7 }}",
    ];
    prop_oneof![
        3 => prop::sample::select(TEXTS).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn id() -> impl Strategy<Value = TrialId> {
    prop_oneof![8 => 0..5_u32, 1 => Just(u32::MAX)].prop_map(TrialId)
}

fn evaluation() -> impl Strategy<Value = Evaluation> {
    let losses = (number(), number(), prop::option::of(number()), prop::option::of(number()));
    let groups = prop::collection::vec(number().prop_map(|x| x as f32), 0..4);
    let groups = prop_oneof![2 => Just(Vec::new()), 1 => groups];
    (count(), number(), losses, prop::option::of(number()), groups, large(), number()).prop_map(
        |(step, epoch, losses, rise_stderr, group_nll, tokens, seconds)| {
            let (eval_loss, eval_loss_stderr, train_loss, retention_loss) = losses;
            Evaluation {
                step,
                epoch,
                eval_loss,
                eval_loss_stderr,
                rise_stderr,
                group_nll,
                train_loss,
                retention_loss,
                scores: Vec::new(),
                tokens,
                seconds,
            }
        },
    )
}

fn examples() -> impl Strategy<Value = ExampleLosses> {
    let nll = prop::collection::vec(number().prop_map(|x| x as f32), 0..5);
    (nll, prop::collection::vec(count(), 0..5))
        .prop_map(|(nll, targets)| ExampleLosses { nll, targets })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Completed),
        number()
            .prop_map(|target| Outcome::Stopped { reason: StopReason::TargetReached { target } }),
        text()
            .prop_map(|reason| Outcome::Stopped { reason: StopReason::EarlyTerminate { reason } }),
        (count(), text()).prop_map(|(step, reason)| Outcome::Diverged { step, reason }),
        text().prop_map(|error| Outcome::Failed { error }),
    ]
}

fn proposed() -> impl Strategy<Value = Event> {
    (id(), count(), number(), count(), number()).prop_map(|(id, rank, rate, epochs, alpha)| {
        let mut config = sweeps::config(rank, rate, epochs);
        config.lora_alpha = alpha;
        Event::proposed(Trial { id, config })
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => proposed(),
        8 => (id(), evaluation())
            .prop_map(|(trial, evaluation)| Event::Evaluated { trial, evaluation }),
        2 => evaluation().prop_map(|evaluation| Event::BaseEvaluated { evaluation }),
        3 => (id(), text(), count(), count(), prop::option::of(id())).prop_map(
            |(trial, device, from_step, total_steps, continues)| Event::TrialStarted {
                trial, device, from_step, total_steps, continues,
            }
        ),
        3 => (id(), count(), number(), number(), prop::option::of(number()), number(), large(), number())
            .prop_map(|(trial, step, epoch, loss, grad_norm, learning_rate, tokens, seconds)| {
                let point =
                    TrainPoint { step, epoch, loss, grad_norm, learning_rate, tokens, seconds };
                Event::Trained { trial, point }
            }),
        3 => (id(), outcome()).prop_map(|(trial, outcome)| Event::TrialFinished { trial, outcome }),
        2 => (id(), count(), examples())
            .prop_map(|(trial, step, examples)| Event::ExamplesEvaluated { trial, step, examples }),
        1 => (text(), text(), text()).prop_map(|(name, fingerprint, version)| Event::SweepStarted {
            name, fingerprint, version, objective: spec::Objective::default() }),
        1 => (id(), text()).prop_map(|(trial, text)| Event::Warned { trial, text }),
        1 => (text(), text(), text()).prop_map(|(worker, cause, log)| Event::WorkerLost {
            worker, cause, log, trials: vec![TrialId(1)],
        }),
        1 => (id(), text()).prop_map(|(trial, log)| Event::FailureLogged { trial, log }),
        1 => Just(Event::SweepFinished),
    ]
}

/// Events with the times of a clock that may jump.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let record = (large(), event()).prop_map(|(at_ms, event)| Record {
        v: spec::SCHEMA_VERSION,
        at_ms,
        seq: None,
        attempt: None,
        event,
    });
    prop::collection::vec(record, 0..40)
}

fn is_below(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// As many as `PROPTEST_CASES` says, else few: every case writes pages and pictures.
fn few_cases() -> ProptestConfig {
    let is_asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    if is_asked_for { ProptestConfig::default() } else { ProptestConfig::with_cases(48) }
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn a_journal_of_anything_is_ranked_and_exported_in_well_formed_files(records in records()) {
        let state = SweepState::from_records(&records);
        let settings = ReportSettings::default();
        for lang in [Lang::En, Lang::Vi] {
            let ranking = rank(&state, &settings, lang);
            let text = terminal(&ranking, TerminalOptions::default());
            prop_assert!(!text.contains(ESCAPE));
            let page = Page {
                state: &state, ranking: &ranking, settings: &settings, lang, reload_seconds: None,
            };
            prop_assert!(!html(page).unwrap().contains("<script>alert"));
        }
        let ranking = rank(&state, &settings, Lang::En);
        let json: serde_json::Value = serde_json::from_str(&ranking_json(&ranking).unwrap()).unwrap();
        prop_assert!(json["rows"].is_array());
        for table in [ranking_csv(&ranking).unwrap(), evaluations_csv(&state).unwrap()] {
            let is_formula = |cell: &str| cell.starts_with(['=', '@', '\t']);
            // A comma or a line's end within a cell ends none.
            for row in csv::Reader::from_reader(table.as_bytes()).records() {
                prop_assert!(!row.unwrap().iter().any(is_formula), "{table}");
            }
        }
        for trial in state.trials.values() {
            metrics_csv(trial, state.base.as_ref()).unwrap();
            steps_csv(trial).unwrap();
        }
        for bytes in [evaluations_parquet(&state).unwrap(), ranking_parquet(&ranking).unwrap()] {
            let read = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
            prop_assert!(read.get_row_iter(None).unwrap().all(|row| row.is_ok()));
        }
        importance(&state);
    }

    #[test]
    fn trackers_get_whole_lines_and_paths_below_their_folder(records in records()) {
        let state = SweepState::from_records(&records);
        let diagnoses = diagnose_all(&state, &ReportSettings::default(), Lang::En);
        for line in optuna_journal(&state, &diagnoses).lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            prop_assert!(line["op_code"].is_u64());
        }
        let experiment = mlflow(&state, &diagnoses, "/store");
        prop_assert!(is_below(&experiment.id) && !experiment.id.contains('/'));
        let files = experiment.files.iter().map(|file| &file.path);
        for path in files.chain(&experiment.folders) {
            prop_assert!(is_below(path), "{path}");
        }
        for file in experiment.files.iter().filter(|file| file.path.ends_with("meta.yaml")) {
            let text = std::str::from_utf8(&file.bytes).unwrap();
            let is_key = |key: &str| key.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
            let one_key = |line: &str| line.split_once(": ").is_some_and(|(key, _)| is_key(key));
            prop_assert!(text.lines().all(one_key), "{text:?}");
        }
        let events = tensorboard(&state);
        prop_assert!(events.iter().all(|file| is_below(&file.path)));
    }
}
