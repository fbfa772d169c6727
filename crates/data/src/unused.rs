//! Columns that hold text and are not read: a person who wrote them may think that they are.

use std::collections::BTreeSet;

use super::flags::words;
use super::json::{Json, Object};
use super::said::Row;
use super::schema::{Schema, is_read_beside};

/// Columns that are remembered of a file.
const MOST_COLUMNS: usize = 64;
/// A value under the name of a fact about the row is one while it is no longer than this, in bytes,
/// and one line.
const LONGEST_FACT: usize = 200;
/// Words in the names of columns that say where a row is from, how it is found or how good it is.
const FACTS: [&str; 54] = [
    "id",
    "ids",
    "idx",
    "index",
    "uuid",
    "guid",
    "key",
    "hash",
    "sha",
    "md5",
    "no",
    "num",
    "number",
    "source",
    "sources",
    "src",
    "origin",
    "split",
    "subset",
    "config",
    "dataset",
    "url",
    "urls",
    "uri",
    "link",
    "date",
    "time",
    "timestamp",
    "created",
    "updated",
    "lang",
    "language",
    "locale",
    "model",
    "generator",
    "license",
    "licence",
    "version",
    "file",
    "filename",
    "path",
    "score",
    "scores",
    "rating",
    "ratings",
    "quality",
    "count",
    "length",
    "tokens",
    "meta",
    "metadata",
    "info",
    "type",
    "format",
];

/// Adds the columns of a used row that hold text and are not read, once each.
pub(super) fn note(object: &Object, schema: Schema, row: &Row, unused: &mut BTreeSet<String>) {
    let has_prompt = object.get("prompt").is_some_and(|prompt| !prompt.is_void());
    for (name, value) in object {
        let is_read = match (schema, name.as_str()) {
            (Schema::Preference, "instruction" | "input") => !has_prompt,
            (Schema::Text, "tools" | "history") => false,
            (_, name) => schema.fields().contains(&name) || is_read_beside(name),
        };
        if is_read || unused.len() >= MOST_COLUMNS || unused.contains(name) {
            continue;
        }
        let is_repeated = value.as_str().is_some_and(|text| row.contains(text.trim()));
        if holds_text(name, value) && !is_repeated {
            unused.insert(name.clone());
        }
    }
}

/// Whether a value says something, other than a short fact in a column that is named for facts.
pub(super) fn holds_text(name: &str, value: &Json) -> bool {
    let is_fact_name = words(name).iter().any(|word| FACTS.contains(&word.as_str()));
    any_text(value, &|text: &str| {
        let is_short = text.len() <= LONGEST_FACT && !text.trim().contains('\n');
        text.contains(char::is_alphabetic) && !(is_fact_name && is_short)
    })
}

fn any_text(value: &Json, says: &impl Fn(&str) -> bool) -> bool {
    match value {
        Json::String(text) => says(text),
        Json::Array(items) => items.iter().any(|item| any_text(item, says)),
        Json::Object(fields) => fields.values().any(|field| any_text(field, says)),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(json: &str) -> Vec<String> {
        let value = Json::from_text(json).expect("well-formed JSON");
        let object = value.as_object().expect("an object");
        let (schema, row) = Row::from_object(object).expect("a usable row");
        let mut unused = BTreeSet::new();
        note(object, schema, &row, &mut unused);
        unused.into_iter().collect()
    }

    #[test]
    fn columns_with_text_that_no_row_reads_are_noted() {
        let row = r#"{"prompt": "p", "completion": "c", "notes": "see below", "category": "maths",
            "tags": ["hard"], "input": "more"}"#;
        assert_eq!(noted(row), ["category", "input", "notes", "tags"]);
    }

    #[test]
    fn facts_about_a_row_and_what_says_nothing_are_not_noted() {
        let row = r#"{"prompt": "p", "completion": "c", "id": "a1", "prompt_id": "b2", "rowId": "c3", "Source": "web",
            "split": "train", "uuid": "x-y", "score": 0.5, "index": 7, "kept": true, "when": "2024-05-06",
            "empty": "", "metadata": {"model": "m", "tags": ["x"]}, "rejected": null}"#;
        assert_eq!(noted(row), [] as [&str; 0]);
    }

    #[test]
    fn a_long_text_is_noted_whatever_its_name() {
        let long = "words ".repeat(40);
        let row = format!(r#"{{"text": "t", "source": "{long}", "url": "two\nlines"}}"#);
        assert_eq!(noted(&row), ["source", "url"]);
    }

    #[test]
    fn a_text_that_the_row_says_already_is_not_noted() {
        let row = r#"{"prompt": "a question", "messages": [{"role": "user", "content": "a question"},
            {"role": "assistant", "content": "b"}]}"#;
        assert_eq!(noted(row), [] as [&str; 0]);
    }
}
