//! The JSON Schema of a sweep file, for editors and programs that write sweeps. It is made of the
//! tables that the reader uses, so that it has the same keys, words and limits.
//!
//! The schema allows everything that the reader accepts. It cannot say what takes more than one
//! value to see: files that must exist, a grid without end, `min` above `max`.

mod parameters;
mod reference;

use serde_json::{Map, Value, json};

use super::sections::{Elements, Keys, OfType, Setting, TOP_KEYS, Takes};
use crate::limits::Limits;
use reference::Reference;

/// The schema's file name beside a sweep file, whose first line names it.
pub const SCHEMA_FILE: &str = "lorasweep.schema.json";

/// The JSON Schema (draft 2020-12) of a sweep file, as text.
pub fn schema() -> String {
    let reference = Reference::read();
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lorasweep sweep file",
    });
    let section = object(&TOP_KEYS, "", &reference);
    for (key, value) in section.into_iter().chain([("$defs".to_owned(), parameters::values())]) {
        root[key] = value;
    }
    format!("{root:#}\n")
}

/// A section, named as in messages.
fn object(keys: &Keys, name: &str, reference: &Reference) -> Map<String, Value> {
    let mut properties = Map::new();
    for setting in keys.settings.iter().copied().flatten() {
        properties.insert(setting.name.to_owned(), property(setting, keys, name, reference));
    }
    if keys.has_parameters {
        properties.extend(parameters::fixed());
    }
    let mut section = Map::new();
    section.insert("type".to_owned(), json!("object"));
    section.insert("properties".to_owned(), Value::Object(properties));
    section.insert("additionalProperties".to_owned(), json!(false));
    if !keys.required.is_empty() {
        section.insert("required".to_owned(), json!(keys.required));
    }
    let apart = keys.apart.iter().map(|(a, b)| json!({"not": {"allOf": [given(a), given(b)]}}));
    let rules: Vec<Value> = apart.chain(keys.types.iter().map(of_type)).collect();
    if !rules.is_empty() {
        section.insert("allOf".to_owned(), Value::Array(rules));
    }
    section
}

/// A key's value with its explanation. An empty value is a key that is not given.
fn property(setting: &Setting, of: &Keys, section: &str, reference: &Reference) -> Value {
    let name = match section {
        "" => setting.name.to_owned(),
        section => format!("{section}.{}", setting.name),
    };
    let value = takes(&setting.takes, &name, reference);
    let is_needed =
        of.required.contains(&setting.name) && !matches!(setting.takes, Takes::Parameters);
    let mut property = if is_needed { value } else { or_empty(value) };
    if let Some(words) = reference.of(&name) {
        property["description"] = json!(words);
    }
    property
}

/// The same, or nothing. Where that is possible it is said in the type, so that what is wrong within
/// is reported where it is.
fn or_empty(mut value: Value) -> Value {
    match value["type"].take() {
        Value::String(one) => value["type"] = json!([one, "null"]),
        Value::Array(mut several) => {
            several.push(json!("null"));
            value["type"] = Value::Array(several);
        }
        _ => {
            value.as_object_mut().map(|value| value.remove("type"));
            return json!({"anyOf": [value, {"type": "null"}]});
        }
    }
    value
}

/// A key that is there and not empty.
fn given(key: &str) -> Value {
    json!({"type": "object", "required": [key], "properties": {key: {"not": {"type": "null"}}}})
}

/// What `type` allows and asks for.
fn of_type(of: &OfType) -> Value {
    let mut words = json!({
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": of.words}},
    });
    if of.is_default {
        words = json!({"anyOf": [words, {"not": given("type")}]});
    }
    let keys: Vec<&str> = ["type"].into_iter().chain((of.keys)()).collect();
    let mut then = json!({"propertyNames": {"enum": keys}});
    let required =
        |keys: &&[&str]| json!({"allOf": keys.iter().map(|k| given(k)).collect::<Vec<_>>()});
    if !of.required.is_empty() {
        then["anyOf"] = of.required.iter().map(required).collect();
    }
    json!({"if": words, "then": then})
}

fn takes(what: &Takes, name: &str, reference: &Reference) -> Value {
    match what {
        Takes::Whole(limits) => number(limits.within_u32()),
        Takes::Number(limits) => number(*limits),
        Takes::Truth => json!({"type": "boolean"}),
        Takes::Only(value) => json!({"const": value}),
        Takes::Text => json!({"type": TEXT}),
        Takes::Path => json!({"type": TEXT, "minLength": 1}),
        Takes::TextPath => json!({"type": ["string", "boolean"], "minLength": 1}),
        Takes::Pattern(pattern) => json!({"type": "string", "pattern": pattern}),
        Takes::TextPattern(pattern) => json!({"type": TEXT, "pattern": pattern}),
        Takes::Word(words) => json!({"enum": words()}),
        Takes::Section(keys) => Value::Object(object(keys, name, reference)),
        Takes::List(item, elements) => list(&takes(item, name, reference), *elements),
        Takes::Map(names, value) => json!({
            "type": "object",
            "propertyNames": {"pattern": names()},
            "additionalProperties": takes(value, name, reference),
        }),
        Takes::AnyOf(several) => {
            let several: Vec<Value> = several.iter().map(|t| takes(t, name, reference)).collect();
            json!({"anyOf": several})
        }
        Takes::Parameters => parameters::section(),
        Takes::Empty => json!({"type": "null"}),
    }
}

/// A text may be written without quotes, as YAML reads a number or a truth value.
const TEXT: [&str; 3] = ["string", "number", "boolean"];

fn list(items: &Value, elements: Elements) -> Value {
    let mut list = json!({"type": "array", "items": items});
    if elements != Elements::Any {
        list["minItems"] = json!(1);
    }
    if elements == Elements::SomeOnce {
        list["uniqueItems"] = json!(true);
    }
    list
}

fn number(limits: Limits) -> Value {
    let mut number = json!({"type": if limits.whole { "integer" } else { "number" }});
    for (keyword, end) in limits.ends() {
        // A whole number without a point where it fits one.
        let is_whole = end.fract() == 0.0 && end.abs() <= Limits::SEED.highest();
        number[keyword] = if is_whole { json!(end as i64) } else { json!(end) };
    }
    number
}

#[cfg(test)]
mod tests;
