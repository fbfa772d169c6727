//! Checkpoints of anything, as a stranger's results folder may hold them: refused with the file's
//! name, or trained on from; never a panic and never without an end.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use std::fs;
use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use spec::{Event, TrainSettings, TrialId};

use crate::engine::{engine, trial};

/// Steps of an epoch and more than the whole trial takes.
const MANY_STEPS: usize = 40;

/// The header and the data of a checkpoint after three steps, with an evaluation.
fn checkpoint() -> &'static (Value, Vec<u8>) {
    static WHOLE: OnceLock<(Value, Vec<u8>)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("checkpoint.safetensors");
        let mut engine = engine(1, &TrainSettings::default());
        engine.admit(&trial(1), None).expect("admitted");
        for _ in 0..4 {
            engine.step().expect("a step");
        }
        engine.save_checkpoint(TrialId(1), &path).expect("saved");
        let bytes = fs::read(&path).expect("the file");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let header = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
        (header, bytes[8 + length..].to_vec())
    })
}

fn written(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        prop::sample::select(&[0_u64, 1, 5, 6, 7, 1 << 31, (1 << 32) - 1, u64::MAX][..])
            .prop_map(Value::from),
        prop::sample::select(&[-1.0, 1e-300, 1e308, -1e308, 0.5][..]).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!([])),
        Just(json!([1e308, 1e308, -1e308])),
        Just(json!("")),
    ]
}

/// Restores what is there and trains to the end, as far as this is possible.
fn go_on(bytes: &[u8]) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("checkpoint.safetensors");
    fs::write(&path, bytes).expect("written");
    let mut engine = engine(1, &TrainSettings::default());
    if let Err(error) = engine.admit(&trial(1), Some(&path)) {
        let said = error.to_string();
        prop_assert!(said.contains("checkpoint.safetensors"), "{said}");
        return Ok(());
    }
    for _ in 0..MANY_STEPS {
        let events = engine.step().expect("a step");
        if events.iter().any(|event| matches!(event, Event::TrialFinished { .. })) {
            return Ok(());
        }
    }
    Err(TestCaseError::fail("the trial has no end"))
}

fn few_cases() -> ProptestConfig {
    let is_asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    if is_asked_for { ProptestConfig::default() } else { ProptestConfig::with_cases(48) }
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn a_checkpoint_whose_scalars_say_anything_is_refused_or_trained_on_from(
        changes in prop::collection::vec((0.0..1.0_f64, anything()), 1..3),
    ) {
        let (mut header, data) = checkpoint().clone();
        let text = header["__metadata__"]["slot"].as_str().expect("the scalars");
        let mut scalars: Value = serde_json::from_str(text).expect("they are JSON");
        for (share, value) in changes {
            let best = scalars["best"].as_object().expect("an evaluation");
            let of_best = best.keys().map(|key| ("best", key.clone()));
            let own = scalars.as_object().expect("an object").keys().map(|key| ("", key.clone()));
            let keys: Vec<_> = own.chain(of_best).collect();
            let (inside, key) = &keys[(share * keys.len() as f64) as usize];
            if inside.is_empty() {
                // What belongs to another trial is refused before the rest is read.
                if !["trial", "best"].contains(&key.as_str()) {
                    scalars[key] = value;
                }
            } else {
                scalars["best"][key] = value;
            }
        }
        header["__metadata__"]["slot"] = scalars.to_string().into();
        go_on(&written(&header, &data))?;
    }

    #[test]
    fn a_checkpoint_whose_tensors_are_anything_is_refused_or_trained_on_from(
        name in prop::sample::select(
            &["params", "first_moment", "second_moment", "best_params", "best_validation_nll"][..]
        ),
        change in prop_oneof![
            Just(json!({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})),
            Just(json!({"dtype": "U8", "shape": [8], "data_offsets": [0, 8]})),
            Just(json!({"dtype": "F64", "shape": [1], "data_offsets": [0, 8]})),
            Just(json!({"dtype": "F64", "shape": [3], "data_offsets": [0, 24]})),
            Just(json!({"dtype": "F32", "shape": [2], "data_offsets": [4, 12]})),
            Just(Value::Null),
        ],
    ) {
        let (header, data) = checkpoint().clone();
        // Tensors follow one another without a gap, so that the others are written anew.
        let (mut tensors, mut bytes) = (serde_json::Map::new(), Vec::new());
        for (key, entry) in header.as_object().expect("an object") {
            if key == "__metadata__" {
                tensors.insert(key.clone(), entry.clone());
                continue;
            }
            let wanted = if key == name { &change } else { entry };
            let at = |index: usize| wanted["data_offsets"][index].as_u64().map(|at| at as usize);
            let (Some(from), Some(to)) = (at(0), at(1)) else { continue };
            let begin = bytes.len();
            bytes.extend(&data[from..to]);
            let mut entry = wanted.clone();
            entry["data_offsets"] = json!([begin, bytes.len()]);
            tensors.insert(key.clone(), entry);
        }
        go_on(&written(&Value::Object(tensors), &bytes))?;
    }

    #[test]
    fn changed_bytes_in_a_checkpoint_are_refused_or_trained_on_from(
        changes in prop::collection::vec((0.0..1.0_f64, any::<u8>(), any::<bool>()), 1..6),
    ) {
        let (header, data) = checkpoint();
        let mut bytes = written(header, data);
        let header = bytes.len() - data.len();
        for (share, byte, is_early) in changes {
            let length = if is_early { header } else { bytes.len() };
            bytes[(share * length as f64) as usize] = byte;
        }
        go_on(&bytes)?;
    }
}
