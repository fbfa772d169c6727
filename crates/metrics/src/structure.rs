//! Answers that are JSON.

use serde_json::{Map, Value};

/// 1 where the output is valid JSON and equals the reference, in all of it or in the named fields
/// (a path such as `user.name`; one that the reference does not have must be missing). The order of
/// keys and the form of numbers (`1`, `1.0`) do not matter. A Markdown code block around the JSON is
/// ignored.
pub fn json_match(output: &str, reference: &str, fields: &[String]) -> f64 {
    let (Some(ours), Some(theirs)) = (json(output), json(reference)) else { return 0.0 };
    let is_equal = if fields.is_empty() {
        equal(&ours, &theirs)
    } else {
        fields.iter().all(|path| match (at(&ours, path), at(&theirs, path)) {
            (Some(a), Some(b)) => equal(a, b),
            (a, b) => a.is_none() && b.is_none(),
        })
    };
    f64::from(u8::from(is_equal))
}

/// 1 where both call the same tools with the same arguments; the order of calls does not matter. A
/// call is `{name, arguments}` (or `parameters`, as Llama 3 writes it), alone, in a list, as OpenAI's
/// `{function: ...}`, or between `<tool_call>` tags, where a text may stand around it. Without a call
/// in the reference, an answer without one matches.
pub fn tool_call_match(output: &str, reference: &str) -> f64 {
    let (Some(mut ours), Some(theirs)) = (calls(output), calls(reference)) else { return 0.0 };
    if ours.len() != theirs.len() {
        return 0.0;
    }
    for call in &theirs {
        let same =
            |other: &Call| other.name == call.name && equal(&other.arguments, &call.arguments);
        match ours.iter().position(same) {
            Some(place) => drop(ours.swap_remove(place)),
            None => return 0.0,
        }
    }
    1.0
}

struct Call {
    name: String,
    arguments: Value,
}

/// The calls of a text; `None` where it has the form of one but none can be read.
fn calls(text: &str) -> Option<Vec<Call>> {
    const OPEN: &str = "<tool_call>";
    let mut calls = Vec::new();
    if let Some((_, tagged)) = text.split_once(OPEN) {
        for part in tagged.split(OPEN) {
            let call = part.split("</tool_call>").next().unwrap_or(part);
            calls.extend(calls_of(&json(call)?)?);
        }
        return Some(calls);
    }
    match json(text) {
        Some(value) => calls_of(&value),
        // Plain text calls nothing; cut JSON was to be a call.
        None => (!bare(text).starts_with(['{', '['])).then_some(calls),
    }
}

fn calls_of(value: &Value) -> Option<Vec<Call>> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        Value::Object(fields) => match fields.get("tool_calls") {
            Some(Value::Array(list)) => list.as_slice(),
            _ => std::slice::from_ref(value),
        },
        _ => return Some(Vec::new()),
    };
    list.iter().map(call).collect()
}

fn call(value: &Value) -> Option<Call> {
    let value = value.get("function").filter(|inner| inner.is_object()).unwrap_or(value);
    let name = value.get("name")?.as_str()?.to_owned();
    let arguments = value.get("arguments").or_else(|| value.get("parameters"));
    let arguments = match arguments {
        // OpenAI writes the arguments as a text of JSON.
        Some(Value::String(text)) => serde_json::from_str(text).ok()?,
        Some(Value::Null) | None => Value::Object(Map::new()),
        Some(value) => value.clone(),
    };
    Some(Call { name, arguments })
}

fn json(text: &str) -> Option<Value> {
    serde_json::from_str(bare(text)).ok()
}

/// The text without blanks and without a Markdown code block around it.
fn bare(text: &str) -> &str {
    let text = text.trim();
    let Some(inside) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else {
        return text;
    };
    let inside = inside.split_once('\n').map_or(inside, |(_, lines)| lines);
    inside.trim()
}

/// The value at a path of names and of places in lists.
fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y))
        }
        (Value::Object(x), Value::Object(y)) => {
            let same = |(key, x)| y.get(key).is_some_and(|y| equal(x, y));
            x.len() == y.len() && x.iter().all(same)
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = r#"{"name": "weather", "arguments": {"city": "Huế", "days": 2}}"#;

    #[test]
    fn named_fields_alone_are_compared() {
        let fields = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let (ours, theirs) = (r#"{"a": {"b": [1, 2]}, "c": 3}"#, r#"{"a": {"b": [1, 2]}, "c": 4}"#);
        assert_eq!(json_match(ours, theirs, &[]), 0.0);
        assert_eq!(json_match(ours, theirs, &fields(&["a.b.1", "d"])), 1.0);
        assert_eq!(json_match(ours, theirs, &fields(&["a", "c"])), 0.0);
        assert_eq!(json_match(ours, r#"{"a": 1, "d": null}"#, &fields(&["d"])), 0.0);
    }

    #[test]
    fn a_code_block_around_json_is_ignored_and_text_around_it_is_not() {
        assert_eq!(json_match("```json\n{\"a\": 1}\n```", "{\"a\": 1.0}", &[]), 1.0);
        assert_eq!(json_match("It is {\"a\": 1}", "{\"a\": 1}", &[]), 0.0);
        assert_eq!(json_match("{\"a\": 1", "{\"a\": 1}", &[]), 0.0);
    }

    #[test]
    fn a_call_is_the_same_in_every_form() {
        for form in [
            CALL.to_owned(),
            format!("[{CALL}]"),
            format!("I look it up.\n<tool_call>\n{CALL}\n</tool_call>"),
            r#"{"name": "weather", "parameters": {"days": 2.0, "city": "Huế"}}"#.to_owned(),
            r#"[{"type": "function", "function": {"name": "weather", "arguments":
                "{\"city\": \"Huế\", \"days\": 2}"}}]"#
                .to_owned(),
            format!(r#"{{"content": null, "tool_calls": [{{"function": {CALL}}}]}}"#),
        ] {
            assert_eq!(tool_call_match(&form, CALL), 1.0, "{form}");
            assert_eq!(tool_call_match(CALL, &form), 1.0, "{form}");
        }
    }

    #[test]
    fn another_name_argument_or_number_of_calls_does_not_match() {
        let other = r#"{"name": "weather", "arguments": {"city": "Huế", "days": 3}}"#;
        assert_eq!(tool_call_match(other, CALL), 0.0);
        assert_eq!(tool_call_match(&CALL.replace("weather", "time"), CALL), 0.0);
        assert_eq!(tool_call_match(&format!("[{CALL}, {CALL}]"), CALL), 0.0);
        let (one, two) = (format!("[{CALL}, {other}]"), format!("[{other}, {CALL}]"));
        assert_eq!(tool_call_match(&one, &two), 1.0);
    }

    #[test]
    fn plain_text_calls_nothing_and_cut_json_matches_nothing() {
        assert_eq!(tool_call_match("It is sunny.", "I do not know."), 1.0);
        assert_eq!(tool_call_match("It is sunny.", CALL), 0.0);
        assert_eq!(tool_call_match(&CALL[..20], "It is sunny."), 0.0);
        assert_eq!(tool_call_match("<tool_call>{</tool_call>", "It is sunny."), 0.0);
    }
}
