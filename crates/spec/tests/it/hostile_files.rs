//! Sweep files that nobody would write: an answer in bounded time and memory, never a panic.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use spec::{PathKind, SweepErrors, resolve};

fn look(path: &Path) -> PathKind {
    match path.extension() {
        Some(_) => PathKind::File,
        None => PathKind::Folder,
    }
}

fn read(text: &str) -> Result<spec::Sweep, SweepErrors> {
    resolve(text, Path::new("sweeps/x.yaml"), &look)
}

/// Keys of all sections, and some of none.
const KEYS: &[&str] = &[
    "name",
    "method",
    "parameters",
    "early_terminate",
    "run_cap",
    "seed",
    "model",
    "data",
    "train",
    "executor",
    "report",
    "bayes",
    "rank_ladder",
    "metric",
    "rank",
    "lora_alpha",
    "learning_rate",
    "batch_size",
    "epochs",
    "target_modules",
    "values",
    "value",
    "min",
    "max",
    "q",
    "mu",
    "sigma",
    "distribution",
    "probabilities",
    "type",
    "partition",
    "time",
    "mem",
    "gpus_per_node",
    "setup",
    "additional_parameters",
    "max_jobs",
    "signal_delay_seconds",
    "exclude",
    "device",
    "devices",
    "memory_limit",
    "validation",
    "fraction",
    "test",
    "goal",
    "target",
    "max_iter",
    "min_iter",
    "s",
    "eta",
    "patience",
    "warmup_steps",
    "warmup_ratio",
    "max_seq_len",
    "",
    "<<",
    "no_such_key",
];

const WORDS: &[&str] = &[
    "grid",
    "random",
    "bayes",
    "rank_ladder",
    "slurm",
    "local",
    "hyperband",
    "patience",
    "uniform",
    "q_uniform",
    "log_uniform_values",
    "normal",
    "all-linear",
    "linear",
    "cuda:0",
    "8GiB",
    "4:00",
    "1-0",
    "32G",
    "a100:1",
    "2r",
    "r",
    "inf",
    "nan",
    "-",
    "",
    "\u{1F600}",
    "a\nb",
    "\u{0}",
    "rows.jsonl",
];

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3..40_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0.0..1.0_f64).prop_map(Value::from),
        prop::sample::select(WORDS).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

/// Any value, up to a few levels deep.
fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(KEYS), inner), 0..6)
                .prop_map(|entries| Value::from(mapping(entries))),
        ]
    })
}

fn mapping(entries: Vec<(&'static str, Value)>) -> Map<String, Value> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// A sweep in which some sections, and some keys of sections, are anything.
fn sweep() -> impl Strategy<Value = Value> {
    let changes = prop::collection::vec(
        (prop::sample::select(KEYS), prop::option::of(prop::sample::select(KEYS)), value()),
        0..6,
    );
    changes.prop_map(|changes| {
        let mut sweep = json!({
            "method": "random", "run_cap": 3, "model": "base", "data": {"train": "rows.jsonl"},
            "parameters": {"rank": {"values": [4, 8]}}, "executor": {"type": "slurm"},
        });
        for (section, key, value) in changes {
            match (key, sweep[section].as_object_mut()) {
                (Some(key), Some(section)) => section.insert(key.to_owned(), value),
                _ => sweep.as_object_mut().expect("an object").insert(section.to_owned(), value),
            };
        }
        sweep
    })
}

proptest! {
    /// JSON is YAML.
    #[test]
    fn a_sweep_of_anything_is_refused_with_places_or_can_be_told_apart(sweep in sweep()) {
        let text = serde_json::to_string_pretty(&sweep).expect("it is JSON");
        match read(&text) {
            Ok(sweep) => prop_assert_eq!(sweep.fingerprint().len(), 64),
            Err(errors) => {
                prop_assert!(!errors.to_string().is_empty());
                for error in errors.errors() {
                    prop_assert!(error.line >= 1 && error.column >= 1);
                    prop_assert!(error.line <= text.lines().count() + 1);
                }
            }
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_read_or_refused(share in 0.0..1.0_f64) {
        let text = spec::example();
        let mut at = (share * text.len() as f64) as usize;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let _ = read(&text[..at]);
    }
}

#[test]
fn aliases_that_multiply_are_refused_before_they_fill_the_memory() {
    let mut text = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (name, of) in ('b'..='p').zip('a'..) {
        let aliases = vec![format!("*{of}"); 9].join(", ");
        let _ = writeln!(text, "{name}: &{name} [{aliases}]");
    }
    assert!(read(&text).is_err());
}

#[test]
fn a_nest_of_any_depth_is_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("a: [", "]")] {
        let text = open.repeat(100_000) + &close.repeat(100_000);
        assert!(read(&text).is_err());
    }
}

#[test]
fn a_long_line_of_many_values_is_read_in_one_go() {
    let values = vec!["8"; 200_000].join(",");
    let text = format!(
        "method: grid\nmodel: base\ndata: {{train: a.jsonl}}\nparameters: {{rank: [{values}]}}\n"
    );
    assert!(read(&text).is_err(), "8 is listed twice");
}
