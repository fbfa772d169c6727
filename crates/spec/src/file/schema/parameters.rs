//! The parameters of a trial in the schema, from their table: a value, a list of values, or a
//! distribution.

use serde_json::{Map, Value, json};

use super::{number, or_empty};
use crate::file::keys;
use crate::file::parameters::MOST_LISTED;
use crate::file::value::MODULE_WORDS;
use crate::file::words::{DISTRIBUTIONS, DistributionName, distributions};
use crate::limits::Limits;
use crate::parameter::{Kind, Parameter, Row, TABLE};
use crate::trial::TargetModule;

/// One value of each parameter, which the other places refer to.
pub(super) fn values() -> Value {
    TABLE.iter().map(|row| (row.name, value(row))).collect()
}

/// The parameters that `train` may fix.
pub(super) fn fixed() -> Map<String, Value> {
    let rows = TABLE.iter().filter(|row| keys::fixed_in_train(row.name).is_some());
    rows.map(|row| (row.name.to_owned(), explained(row, one(row.parameter)))).collect()
}

/// The section `parameters`.
pub(super) fn section() -> Value {
    let properties: Map<String, Value> =
        TABLE.iter().map(|row| (row.name.to_owned(), explained(row, axis(row)))).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn explained(row: &Row, mut value: Value) -> Value {
    value["description"] = json!(format!("{}.", row.about));
    if row.has_default() {
        value["default"] = json!(row.default);
    }
    value
}

fn one(parameter: Parameter) -> Value {
    json!({"$ref": format!("#/$defs/{parameter}")})
}

/// What one value may be.
fn value(row: &Row) -> Value {
    match &row.kind {
        Kind::Whole(_) => number(row.limits.within_u32()),
        Kind::Seed(_) | Kind::Real(_) | Kind::Rate(_) => number(row.limits),
        Kind::PerRank(_) => {
            json!({"anyOf": [number(row.limits), {"type": "string", "pattern": PER_RANK}]})
        }
        Kind::Flag(_) => json!({"type": "boolean"}),
        Kind::Choice(choice) => json!({"enum": choice.words}),
        Kind::Modules(_) => {
            let names: Vec<&str> = TargetModule::every().map(TargetModule::name).collect();
            let words = MODULE_WORDS.iter().map(|(word, _)| *word).chain(names.iter().copied());
            let words: Vec<&str> = words.collect();
            json!({"anyOf": [{"enum": words}, once(&json!({"enum": names}))]})
        }
    }
}

/// A positive multiple of the rank.
const PER_RANK: &str = r"^(\+?(?=[^eE]*[1-9])(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)?r$";

/// A list of different values.
fn once(items: &Value) -> Value {
    json!({
        "type": "array",
        "items": items,
        "minItems": 1,
        "maxItems": MOST_LISTED,
        "uniqueItems": true,
    })
}

/// What may stand under `parameters` for it.
fn axis(row: &Row) -> Value {
    let one = one(row.parameter);
    let of = |which: DistributionName| {
        let mut words: Vec<Value> =
            distributions(|name, _| name == which).into_iter().map(Value::from).collect();
        words.push(Value::Null);
        json!({"enum": words})
    };
    let share = number(Limits::above(0.0).to(1.0));
    let mut forms = vec![
        one.clone(),
        once(&one),
        form(&["value"], &json!({"value": one, "distribution": of(DistributionName::Constant)})),
        form(
            &["values"],
            &json!({
                "values": once(&one),
                "distribution": of(DistributionName::Listed),
                "probabilities": or_empty(json!({"type": "array", "items": share})),
            }),
        ),
    ];
    if row.kind.is_number() {
        forms.extend(ranges(row));
        forms.push(bare_range(row));
    }
    json!({"anyOf": forms})
}

fn form(required: &[&str], properties: &Value) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// One form for all distributions with the same keys and limits.
fn ranges(row: &Row) -> Vec<Value> {
    let mut kinds: Vec<(Option<Limits>, bool, Vec<&str>)> = Vec::new();
    for (word, (name, rounded)) in DISTRIBUTIONS {
        let ends = match name {
            DistributionName::Constant
            | DistributionName::Listed
            | DistributionName::NotAvailable => continue,
            // Other ends come within the limits by rounding, or are exponents.
            DistributionName::IntUniform => name.ends().map(|ends| ends.and(row.limits)),
            DistributionName::Uniform | DistributionName::LogUniformValues
                if !rounded && !row.limits.whole =>
            {
                name.ends().map(|ends| ends.and(row.limits))
            }
            name => name.ends(),
        };
        match kinds.iter_mut().find(|(e, r, _)| (e, r) == (&ends, rounded)) {
            Some((.., words)) => words.push(word),
            None => kinds.push((ends, *rounded, vec![word])),
        }
    }
    let range = |(ends, rounded, words): (Option<Limits>, bool, Vec<&str>)| {
        let mut properties = json!({"distribution": {"enum": words}});
        let mut required = vec!["distribution"];
        if let Some(ends) = ends {
            properties["min"] = number(ends);
            properties["max"] = number(ends);
            required.extend(["min", "max"]);
        } else {
            properties["mu"] = or_empty(number(Limits::ANY));
            properties["sigma"] = or_empty(number(Limits::above(0.0)));
        }
        if rounded {
            let limits = if row.limits.whole { Limits::whole(1) } else { Limits::above(0.0) };
            properties["q"] = or_empty(number(limits));
        }
        form(&required, &properties)
    };
    kinds.into_iter().map(range).collect()
}

/// `min` and `max` alone: the reader infers the distribution.
fn bare_range(row: &Row) -> Value {
    let ends = match row.kind {
        Kind::Rate(_) => Limits::above(0.0).and(row.limits),
        // Ends that are not whole come within the limits by rounding.
        _ if row.limits.whole => Limits::ANY,
        _ => row.limits,
    };
    let properties =
        json!({"min": number(ends), "max": number(ends), "distribution": {"type": "null"}});
    form(&["min", "max"], &properties)
}
