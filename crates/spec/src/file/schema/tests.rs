use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Map, Value as Json, json};

use super::reference::Reference;
use super::schema;
use crate::example;
use crate::file::sections::{self, Keys, Setting, TOP_KEYS, Takes};
use crate::file::yaml::{Node, Value, parse};
use crate::file::{Findings, keys};
use crate::mistake::Mistake;
use crate::parameter::Parameter;
use crate::resolve::{PathKind, resolve};

fn json_schema() -> Json {
    serde_json::from_str(&schema()).expect("the schema is JSON")
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&json_schema()).expect("it is a schema of draft 2020-12")
}

/// A file as an editor sees it.
fn json_of(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => i64::try_from(*value).map_or(json!(*value as f64), |n| json!(n)),
        // JSON has no name for a number that is not finite.
        Value::Float(value) => {
            if value.is_finite() {
                json!(value)
            } else {
                json!(node.raw)
            }
        }
        Value::Text(text) => json!(text),
        Value::List(items) => items.iter().map(json_of).collect(),
        Value::Map(entries) => {
            entries.iter().map(|(key, value)| (key.name.clone(), json_of(value))).collect()
        }
    }
}

fn read(text: &str) -> Node {
    parse(text, &mut Findings::default()).unwrap_or_else(|| panic!("not YAML:\n{text}"))
}

fn assert_valid(what: &str, text: &str) {
    let file = json_of(&read(text));
    let problems: Vec<String> =
        validator().iter_errors(&file).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(problems, [""; 0], "{what}");
}

#[test]
fn the_reference_file_and_the_shipped_sweeps_fit_the_schema() {
    assert_valid("the file of init", &example());
    let sweeps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sweeps");
    let mut count = 0;
    for entry in fs::read_dir(sweeps).expect("the shipped sweeps are there") {
        let path = entry.expect("they can be listed").path();
        if path.extension().is_some_and(|e| e == "yaml") {
            assert_valid(&path.display().to_string(), &fs::read_to_string(&path).expect("text"));
            count += 1;
        }
    }
    assert!(count >= 3);
}

#[test]
fn the_shipped_copy_is_the_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sweeps").join(super::SCHEMA_FILE);
    let shipped = fs::read_to_string(path).expect("the shipped schema is there");
    let hint = "run `lorasweep schema > sweeps/lorasweep.schema.json`";
    assert!(shipped == schema(), "the shipped schema is not that of this version: {hint}");
}

/// Every section with its table, and its full name.
fn sections_below(keys: &Keys, name: &str, found: &mut Vec<(String, Vec<&'static str>)>) {
    let rows: Vec<&'static Setting> = keys.settings.iter().copied().flatten().collect();
    found.push((name.to_owned(), rows.iter().map(|row| row.name).collect()));
    for row in rows {
        let name =
            if name.is_empty() { row.name.to_owned() } else { format!("{name}.{}", row.name) };
        let inner: &[Takes] = match &row.takes {
            Takes::AnyOf(several) => several,
            one => std::slice::from_ref(one),
        };
        for takes in inner {
            if let Takes::Section(keys) = takes {
                sections_below(keys, &name, found);
            }
        }
    }
}

fn all_sections() -> Vec<(String, Vec<&'static str>)> {
    let mut found = Vec::new();
    sections_below(&TOP_KEYS, "", &mut found);
    found
}

/// The smallest sweep with a value at a place.
fn sweep_with(section: &str, key: &str, value: &Json) -> Json {
    let mut sweep = json!({
        "method": "random",
        "run_cap": 4,
        "model": "model",
        "data": {"train": "rows.jsonl"},
        "parameters": {"rank": 8},
    });
    let mut place = &mut sweep;
    for part in section.split('.').filter(|part| !part.is_empty()) {
        if place[part].is_null() {
            place[part] = json!({});
        }
        place = &mut place[part];
    }
    place[key] = value.clone();
    // What a key needs beside it.
    match (section, key) {
        ("executor", "command" | "base_command" | "max_parallel" | "grace_seconds") => {
            let command = json!("train --rank {{rank}}");
            let executor = sweep["executor"].as_object_mut().expect("it is a section");
            executor.insert("type".to_owned(), json!("command"));
            executor.entry("command").or_insert(command);
        }
        ("executor", key) if keys::SLURM.contains(&key) => {
            sweep["executor"]["type"] = json!("slurm");
        }
        ("early_terminate", "patience") => sweep["early_terminate"]["type"] = json!("overfit"),
        ("early_terminate", "top" | "chance") => sweep["early_terminate"]["type"] = json!("curve"),
        ("early_terminate", "s") => {
            sweep["early_terminate"] = json!({"type": "asha", "max_iter": 9, "s": value});
        }
        ("early_terminate", "max_iter") => {
            sweep["early_terminate"] = json!({"type": "asha", "max_iter": value, "s": 1});
        }
        ("early_terminate", "min_iter") => sweep["early_terminate"]["type"] = json!("asha"),
        ("early_terminate", "eta" | "strict" | "promote") => {
            sweep["early_terminate"]["type"] = json!("asha");
            sweep["early_terminate"]["min_iter"] = json!(1);
        }
        ("replicates", "top") => sweep["replicates"]["seeds"] = json!(1),
        _ => {}
    }
    sweep
}

/// The mistakes of a sweep, in a world in which all paths lead to what is looked for.
fn mistakes(sweep: &Json) -> Vec<Mistake> {
    let look = |path: &Path| match path.to_str() {
        Some(path) if path.ends_with("jsonl") => PathKind::File,
        _ => PathKind::Folder,
    };
    match resolve(&sweep.to_string(), Path::new("sweep.yaml"), &look) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.errors().iter().map(|error| error.mistake.clone()).collect(),
    }
}

#[test]
fn every_key_of_the_reader_is_in_the_schema_and_every_key_of_the_schema_is_read() {
    let schema = json_schema();
    let mut count = 0;
    for (section, keys) in all_sections() {
        let mut place = &schema;
        for part in section.split('.').filter(|part| !part.is_empty()) {
            place = &place["properties"][part];
            // One of several forms.
            while let Some(forms) = place["anyOf"].as_array() {
                let is_open =
                    |form: &&Json| form["properties"].is_object() || form["anyOf"].is_array();
                place = forms.iter().find(is_open).expect("one of the forms is a section");
            }
        }
        let written: BTreeSet<&str> =
            place["properties"].as_object().expect(&section).keys().map(String::as_str).collect();
        let mut read: BTreeSet<&str> = keys.iter().copied().collect();
        if section == "train" {
            read.extend(keys::train());
        }
        assert_eq!(written, read, "{section}");
        for key in written {
            let found = mistakes(&sweep_with(&section, key, &json!("x")));
            let is_unknown =
                |m: &Mistake| matches!(m, Mistake::UnknownKey { key: k, .. } if k == key);
            assert!(!found.iter().any(is_unknown), "{section}.{key}: {found:?}");
            count += 1;
        }
    }
    assert!(count > 80, "{count} keys");
}

/// Mistakes that no value shows by itself.
fn is_beyond_a_schema(mistake: &Mistake) -> bool {
    match mistake {
        // Of the values beside it.
        Mistake::OutOfRange { required, .. } => required.starts_with("at least eta"),
        // A number is the text that it is written with.
        Mistake::BadName { found } => found.parse::<f64>().is_ok(),
        // The same layers in another order, or the same alpha in other words.
        Mistake::DuplicateValue { what, .. } => {
            what.ends_with("target_modules") || what.ends_with("lora_alpha")
        }
        // Of the metric's name.
        Mistake::MissingKey { section, .. } => section == "`metric`",
        // Of whether there is a command, and of who trains; of a place in a line for the shell, or of more
        // than one value.
        Mistake::UnknownName { what: "metric" | "value for a command", .. }
        | Mistake::BadPattern { .. }
        | Mistake::Syntax { .. }
        | Mistake::DuplicateKey { .. }
        | Mistake::Conflict { .. }
        | Mistake::BadCommand { .. }
        | Mistake::MisplacedValue { .. }
        | Mistake::MinAboveMax { .. }
        | Mistake::EmptyRange { .. }
        | Mistake::RangeLeavesLimits { .. }
        | Mistake::BadProbabilities { .. }
        | Mistake::ContinuousInGrid { .. }
        | Mistake::EndlessDraws { .. }
        | Mistake::TooManyTrials { .. }
        | Mistake::SameFile { .. }
        | Mistake::TestIsSeen
        | Mistake::BadPath { .. } => true,
        _ => false,
    }
}

/// Texts of all kinds.
const TEXTS: [&str; 51] = [
    "",
    " ",
    "x",
    "1",
    "0.5",
    "a b",
    "a\nb",
    "2r",
    "r",
    "0r",
    "infr",
    "-2r",
    "auto",
    "cpu",
    "cuda",
    "cuda:1",
    "cuda:",
    "all",
    "8GiB",
    "8 GB",
    "0MB",
    "8",
    "4:00:00",
    "1-0",
    "0:00",
    "32G",
    "a100:1",
    "gpu:0",
    "none",
    "nf4",
    "linear",
    "cosine",
    "best",
    "f32",
    "default",
    "pissa",
    "bayes",
    "hyperband",
    "envelope",
    "slurm",
    "local",
    "eval_loss",
    "minimize",
    "maximize",
    "all-linear",
    "mlp",
    "q_proj",
    "rows.jsonl",
    "train {{rank}}",
    "{{nothing}}",
    "infMB",
];

/// Values of all kinds, right and wrong ones.
fn values() -> Vec<Json> {
    let mut values = vec![Json::Null, json!(true), json!(false), json!({}), json!([])];
    values.extend([-1.5, -1.0, 0.05, 0.5, 1.5, 1e-5, 1e12, 1e300].map(Json::from));
    values.extend([0, 1, 2, 8, 10, 100, 5000, 100_000, 4_294_967_296_i64].map(Json::from));
    values.extend(TEXTS.map(Json::from));
    values.extend([
        json!([1]),
        json!([1, 1]),
        json!([1, 2]),
        json!([0.5, 0.1]),
        json!(["q_proj", "v_proj"]),
        json!(["q_proj", "attention"]),
        json!([["q_proj"], ["v_proj"]]),
        json!([[]]),
        json!(["a", "b"]),
        json!(["cpu", "cuda:1"]),
        json!([null]),
        json!([true, false]),
        json!(["none", "nf4"]),
        json!({"x": 1}),
        json!({"fraction": 0.5}),
        json!({"fraction": 2}),
        json!({"seeds": 2, "top": 1}),
        json!({"prompt": "question"}),
        json!({"prompt": null}),
        json!({"q_proj": 4}),
        json!({"q_proj": "4"}),
        json!({".*": 4}),
        json!({"reservation": "course", "exclusive": true, "--nice": null}),
        json!({"reservation": false}),
        json!({"mem": 4}),
        json!({"wrap": 4}),
        json!({"n": 4}),
        json!({"type": "median", "min_iter": 2}),
        json!({"type": "median", "patience": 2}),
        json!({"type": "asha"}),
        json!({"type": "asha", "max_iter": 9, "s": 1}),
        json!({"type": "asha", "max_iter": 9}),
        json!({"type": "asha", "min_iter": 1, "max_iter": 9}),
        json!({"device": "cpu", "max_retries": 0}),
        json!({"type": "slurm", "partition": "x"}),
        json!({"partition": "x"}),
        json!({"max_parallel": 2}),
        json!({"train": "rows.jsonl", "validation": 0.1}),
        json!({"train": "rows.jsonl", "validation": 0.1, "validation_fraction": 0.1}),
        json!({"value": 8}),
        json!({"value": 8, "probabilities": [1]}),
        json!({"value": 8, "distribution": "constant"}),
        json!({"value": 8, "distribution": "uniform"}),
        json!({"values": [8, 16]}),
        json!({"values": 8}),
        json!({"values": [8, 16], "probabilities": [0.5, 0.5]}),
        json!({"values": [8, 16], "probabilities": [0, 1]}),
        json!({"values": [8, 16], "distribution": "categorical"}),
        json!({"values": [8, 16], "distribution": "normal"}),
        json!({"values": [8, 16], "min": 1}),
        json!({"min": 1, "max": 8}),
        json!({"min": 0.1, "max": 0.5}),
        json!({"min": 1}),
        json!({"min": 1, "max": 8, "q": 2}),
        json!({"distribution": "q_uniform", "min": 1, "max": 8, "q": 2}),
        json!({"distribution": "q_uniform", "min": 1, "max": 8}),
        json!({"distribution": "uniform", "min": 1, "max": 8, "q": 2}),
        json!({"distribution": "log_uniform_values", "min": 0.001, "max": 0.5}),
        json!({"distribution": "log_uniform_values", "min": 0, "max": 0.5}),
        json!({"distribution": "log_uniform", "min": -5, "max": -1}),
        json!({"distribution": "normal", "mu": 0.5, "sigma": 0.1}),
        json!({"distribution": "normal"}),
        json!({"distribution": "normal", "min": 1}),
        json!({"distribution": "beta", "a": 1}),
        json!({"distribution": "categorical"}),
        json!({"distribution": null, "min": 0.1, "max": 0.5, "mu": null}),
    ]);
    values
}

#[test]
fn the_schema_allows_what_the_reader_accepts_and_refuses_what_is_wrong_by_itself() {
    let validator = validator();
    let mut places: Vec<(String, &str)> = Vec::new();
    for (section, keys) in all_sections() {
        places.extend(keys.into_iter().map(|key| (section.clone(), key)));
    }
    for parameter in Parameter::ALL {
        places.push(("parameters".to_owned(), parameter.name()));
        if keys::fixed_in_train(parameter.name()).is_some_and(|p| p != Parameter::Rank) {
            places.push(("train".to_owned(), parameter.name()));
        }
    }
    let (mut count, mut wrong) = (0, Vec::new());
    for (section, key) in places {
        for value in values() {
            let sweep = sweep_with(&section, key, &value);
            let found = mistakes(&sweep);
            let is_allowed = validator.is_valid(&sweep);
            let is_hidden = found.iter().all(is_beyond_a_schema);
            if is_allowed != found.is_empty() && !(is_allowed && is_hidden) {
                let problem = validator.iter_errors(&sweep).next().map(|e| e.to_string());
                wrong.push(format!("{section}.{key}: {value}\n  {found:?}\n  {problem:?}"));
            }
            count += 1;
        }
    }
    assert!(count > 10_000);
    let first = wrong.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {count} differ:\n{first}", wrong.len());
}

/// The keys, and the places of lists, that lead to what begins at a place.
fn path_to(node: &Node, line: usize, column: usize, path: &mut Vec<String>) -> bool {
    let found = match &node.value {
        Value::Map(entries) => entries.iter().any(|(key, value)| {
            path.push(key.name.clone());
            let is_key = (key.place.line, key.place.column) == (line, column);
            is_key || path_to(value, line, column, path) || path.pop().is_none()
        }),
        Value::List(items) => items.iter().enumerate().any(|(at, item)| {
            path.push(at.to_string());
            path_to(item, line, column, path) || path.pop().is_none()
        }),
        _ => false,
    };
    found || (node.place.line, node.place.column) == (line, column)
}

#[test]
fn the_schema_finds_the_mistakes_of_the_bad_files_where_they_are() {
    let validator = validator();
    let look = |path: &Path| match path.to_str() {
        Some("sweeps/model") => PathKind::Folder,
        Some("sweeps/train.jsonl") => PathKind::File,
        _ => PathKind::Missing,
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the bad files are there") {
        let path = entry.expect("they can be listed").path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("bad files are text");
        let Some(root) = parse(&text, &mut Findings::default()) else { continue };
        let file = json_of(&root);
        let places: Vec<String> =
            validator.iter_errors(&file).map(|e| e.instance_path().to_string()).collect();
        let errors = resolve(&text, Path::new("sweeps/x.yaml"), &look).expect_err("it is bad");
        for error in errors.errors().iter().filter(|e| !is_beyond_a_schema(&e.mistake)) {
            let mut keys = Vec::new();
            path_to(&root, error.line, error.column, &mut keys);
            // One of several forms is reported where the forms begin; an unknown key, at its section.
            let at = |depth: usize| keys[..depth.min(keys.len())].iter().map(|k| format!("/{k}"));
            let least = at(keys.len().saturating_sub(1).min(2)).collect::<String>();
            let whole = at(keys.len()).collect::<String>();
            let is_there = |place: &String| {
                place.starts_with(&least)
                    && (whole.starts_with(place.as_str()) || place.starts_with(&whole))
            };
            assert!(places.iter().any(is_there), "{path:?}: {error}\n{whole}: {places:?}");
            count += 1;
        }
    }
    assert!(count >= 100, "{count} mistakes");
}

#[test]
fn the_reference_file_explains_every_key() {
    let reference = Reference::read();
    let known: BTreeSet<&str> = reference.keys().collect();
    let mut missing = Vec::new();
    for (section, keys) in all_sections() {
        // They are explained where they begin.
        if ["data.validation", "replicates", "metric.measure"].contains(&section.as_str()) {
            continue;
        }
        for key in keys {
            let name = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            // It is there to be refused with what to do instead.
            if !known.contains(name.as_str()) && key != "modules_to_save" {
                missing.push(name);
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}

#[test]
fn a_range_is_described_with_the_limits_of_its_parameter() {
    let schema = json_schema();
    let rank = &schema["$defs"]["rank"];
    assert_eq!(rank, &json!({"type": "integer", "minimum": 1, "maximum": 8192}));
    let sweep: Map<String, Json> = schema["properties"].as_object().expect("an object").clone();
    assert!(sweep["parameters"]["properties"]["rank"]["description"].is_string());
    assert!(sections::find("train", "max_seq_len").is_some());
}
