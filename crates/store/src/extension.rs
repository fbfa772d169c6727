//! Which changes of a sweep file extend a sweep, and which make it another one.
//!
//! A trial's result depends on its own configuration, the model, the rows and the settings of `train`.
//! What says which configurations there are, how many, and where they run may change.

use std::fmt;

use serde_json::Value;

/// A setting that differs between a sweep and its folder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// Its place in `resolved.json`, with dots.
    pub path: String,
    /// What the folder has.
    pub there: Value,
    /// What the sweep file says now.
    pub here: Value,
}

/// Settings that say how trials are chosen and stopped.
const HOW_TRIALS_ARE_CHOSEN: [&str; 6] =
    ["run_cap", "replicates", "promote", "early_terminate", "bayes", "rank_ladder"];
/// Executors in which lorasweep itself trains.
const OWN_EXECUTORS: [&str; 2] = ["local", "slurm"];
/// Longer or shorter trials are other trials of the same sweep.
const EPOCHS: &str = "space.epochs";

/// Reached earlier or later, the target ends the same sweep.
const TARGET: &str = "metric.target";

/// Whether the sweep continues with this change.
pub(crate) fn as_extension(change: &Change) -> bool {
    let Change { path, there, here } = change;
    let section = path.split('.').next().unwrap_or_default();
    match path.as_str() {
        "executor.kind.type" => [there, here]
            .iter()
            .all(|kind| kind.as_str().is_some_and(|kind| OWN_EXECUTORS.contains(&kind))),
        "space.variant" | "executor.kind.command" | "executor.kind.base_command" => false,
        _ if change.is_of_space() => path == EPOCHS || !(is_fixed(there) && is_fixed(here)),
        _ => path == TARGET || section == "executor" || HOW_TRIALS_ARE_CHOSEN.contains(&section),
    }
}

impl Change {
    /// Whether it is one of the search space.
    pub(crate) fn is_of_space(&self) -> bool {
        self.path.starts_with("space.")
    }
}

/// Whether an axis has one value; one that is not written has its default.
fn is_fixed(axis: &Value) -> bool {
    axis.is_null() || values(axis).is_some_and(|values| values.len() == 1)
}

/// The values of a listed axis.
fn values(axis: &Value) -> Option<&Vec<Value>> {
    axis.pointer("/choice/values").or_else(|| axis.get("values"))?.as_array()
}

/// `parameters.rank: [8] -> [8,16]`
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self.path.strip_prefix("space.") {
            Some(parameter) => format!("parameters.{parameter}"),
            None => self.path.replace("executor.kind.", "executor."),
        };
        write!(f, "{path}: {} -> {}", short(&self.there), short(&self.here))
    }
}

/// An axis as its values or its range, anything else as it is.
fn short(value: &Value) -> String {
    if let Some(values) = values(value) {
        return match &values[..] {
            [only] => only.to_string(),
            _ => Value::from(values.clone()).to_string(),
        };
    }
    let Some(distribution) = value.get("distribution") else {
        return if value.is_null() { "not set".to_owned() } else { value.to_string() };
    };
    let shape = distribution.get("shape").and_then(Value::as_object);
    let shape = shape.and_then(|shape| shape.iter().next());
    shape.map_or_else(|| value.to_string(), |(name, ends)| format!("{name} {ends}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(path: &str, there: Value, here: Value) -> Change {
        Change { path: path.to_owned(), there, here }
    }

    fn axis(values: &Value) -> Value {
        json!({"choice": {"values": values, "probabilities": null}})
    }

    #[test]
    fn what_says_which_trials_there_are_and_where_they_run_extends_a_sweep() {
        for (path, there, here) in [
            ("run_cap", json!(8), json!(16)),
            ("metric.target", json!(null), json!(1.5)),
            ("space.rank", axis(&json!([8])), axis(&json!([8, 16]))),
            ("space.epochs", axis(&json!([1])), axis(&json!([2]))),
            (
                "space.use_dora",
                json!(null),
                json!({"values": [false, true], "probabilities": null}),
            ),
            ("executor.device", json!("cpu"), json!({"cuda": 0})),
            ("executor.kind.type", json!("local"), json!("slurm")),
        ] {
            assert!(as_extension(&change(path, there, here)), "{path}");
        }
    }

    #[test]
    fn another_model_other_rows_and_other_fixed_settings_are_another_sweep() {
        for (path, there, here) in [
            ("model", json!("a"), json!("b")),
            ("data.train", json!("a"), json!("b")),
            ("train.max_seq_len", json!(128), json!(256)),
            ("seed", json!(1), json!(2)),
            ("method", json!("random"), json!("grid")),
            ("space.rank", axis(&json!([8])), axis(&json!([16]))),
            ("space.use_dora", json!(null), json!({"values": [true], "probabilities": null})),
            ("space.variant", json!(null), json!({"init": "x"})),
            ("executor.kind.type", json!("local"), json!("command")),
            ("executor.kind.command", json!("a"), json!("b")),
        ] {
            assert!(!as_extension(&change(path, there, here)), "{path}");
        }
    }

    #[test]
    fn a_change_is_written_as_the_sweep_file_names_it() {
        let shown = |path: &str, there, here| change(path, there, here).to_string();
        let ranks = shown("space.rank", axis(&json!([8])), axis(&json!([8, 16])));
        assert_eq!(ranks, "parameters.rank: 8 -> [8,16]");
        assert_eq!(shown("run_cap", json!(null), json!(4)), "run_cap: not set -> 4");
        assert_eq!(
            shown("space.rank", axis(&json!([8])), axis(&json!([16]))),
            "parameters.rank: 8 -> 16"
        );
    }
}
