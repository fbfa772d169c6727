//! Single fields of a row or a turn: their names, and texts that they hold.

use super::json::{Json, Object};
use super::skip::SkipReason;

/// A field of a row that changes its meaning and that no schema here carries.
pub(super) const UNSUPPORTED_IN_ROW: &str = "functions";
/// Pictures, sound and film, of a row or of a turn.
pub(super) const MEDIA: [&str; 6] = ["image", "images", "video", "videos", "audio", "audios"];
/// Names under which a message's thought is handed to templates, as in transformers: what has the
/// first of them is the thought.
pub(super) const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

pub(super) fn wrong_type(
    field: impl Into<String>,
    expected: &'static str,
    found: &Json,
) -> SkipReason {
    SkipReason::WrongType { field: field.into(), expected, found: found.type_name() }
}

pub(super) fn string_at(value: &Json, field: impl Into<String>) -> Result<String, SkipReason> {
    value.as_str().map(str::to_owned).ok_or_else(|| SkipReason::WrongType {
        field: field.into(),
        expected: "a string",
        found: value.type_name(),
    })
}

/// A string that may be absent, null or empty.
pub(super) fn optional_string(object: &Object, field: &str) -> Result<String, SkipReason> {
    match object.get(field) {
        None | Some(Json::Null) => Ok(String::new()),
        Some(value) => string_at(value, field),
    }
}

/// A string that must say something.
pub(super) fn said_string(object: &Object, field: &str) -> Result<String, SkipReason> {
    let text = string_at(object.get(field).unwrap_or(&Json::Null), field)?;
    said(text, || field.to_owned())
}

pub(super) fn said(text: String, field: impl FnOnce() -> String) -> Result<String, SkipReason> {
    if text.trim().is_empty() { Err(SkipReason::Empty { field: field() }) } else { Ok(text) }
}
