//! Reads a row, whichever schema it was written in.

use super::field::{MEDIA, UNSUPPORTED_IN_ROW, optional_string, said_string};
use super::flags::{apply_mask, check_labels, check_row_flags};
use super::instruction::{instruction_prompt, instruction_text};
use super::json::{Json, Object};
use super::messages::{conversation, exchange, read_prompt_and_completion};
use super::preference::{answered, read_chosen};
use super::said::Row;
use super::schema::{Schema, detect_schema, keys};
use super::skip::SkipReason;
use super::turn::read_turns;

impl Row {
    /// Reads a row whose fields have our names.
    pub fn from_object(object: &Object) -> Result<(Schema, Self), SkipReason> {
        let is_said = |field: &str| object.get(field).is_some_and(|value| !value.is_void());
        let schema = match detect_schema(&keys(object))? {
            // A table has a cell for the answers of its other rows.
            Schema::PromptCompletion if !is_said("completion") && is_said("chosen") => {
                Schema::Preference
            }
            Schema::Instruction if !is_said("output") && is_said("chosen") => Schema::Preference,
            schema => schema,
        };
        if is_said(UNSUPPORTED_IN_ROW) {
            return Err(SkipReason::Unsupported { field: UNSUPPORTED_IN_ROW.to_owned() });
        }
        if let Some(field) = MEDIA.iter().find(|field| is_said(field)) {
            return Err(SkipReason::Media { field: (*field).to_owned() });
        }
        // Half of a dataset of single judged answers (KTO) is there to be avoided.
        check_labels(object, schema == Schema::Text)?;
        check_row_flags(object, matches!(schema, Schema::Messages | Schema::ShareGpt))?;
        let row = match schema {
            Schema::Messages => read_conversation(object, "messages")?,
            Schema::ShareGpt => read_conversation(object, "conversations")?,
            Schema::Preference => read_chosen(object)?,
            Schema::PromptCompletion => read_prompt_and_completion(object)?,
            Schema::Instruction => read_instruction(object)?,
            Schema::Text | Schema::PlainText => read_text(object)?,
        };
        Ok((schema, row))
    }
}

/// Reads a list of turns and what belongs to it: `system`, `tools`, `chat_template_kwargs`, and
/// the answer to it where that stands in `chosen`.
fn read_conversation(object: &Object, field: &'static str) -> Result<Row, SkipReason> {
    if object.get("history").is_some_and(|value| value.as_array().is_some() && !value.is_void()) {
        return Err(SkipReason::Unsupported { field: "history".to_owned() });
    }
    let mut messages = read_turns(&object[field], field)?;
    apply_mask(object, &mut messages)?;
    if object.get("chosen").is_some_and(|chosen| !chosen.is_void()) {
        messages = answered(object, field, messages)?;
    }
    conversation(object, messages)
}

fn read_instruction(object: &Object) -> Result<Row, SkipReason> {
    let instruction = said_string(object, "instruction")?;
    let input = optional_string(object, "input")?;
    let prompt = instruction_prompt(&instruction, &input);
    let user = instruction_text(&instruction, &input);
    exchange(object, prompt, user, said_string(object, "output")?)
}

/// A text says all that belongs to it: what should be said before it has no place.
fn read_text(object: &Object) -> Result<Row, SkipReason> {
    let text = said_string(object, "text")?;
    let system = object.get("system").and_then(Json::as_str).unwrap_or_default();
    if text.contains(system.trim()) {
        return Ok(Row::Text(text));
    }
    Err(SkipReason::Unsupported { field: "system".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::said::ContentHash;

    fn parsed(json: &str) -> Result<(Schema, Row), SkipReason> {
        let value = Json::from_text(json).expect("well-formed JSON");
        Row::from_object(value.as_object().expect("an object"))
    }

    fn hash(json: &str) -> ContentHash {
        parsed(json).expect("a usable row").1.content_hash()
    }

    #[test]
    fn an_instruction_is_rendered_into_the_alpaca_prompt() {
        let json = r#"{"instruction": "Add.", "input": "1 1", "output": "2"}"#;
        let (schema, row) = parsed(json).expect("a usable row");
        assert_eq!(schema, Schema::Instruction);
        let Row::Completion { prompt, completion } = row else { panic!("not a completion") };
        assert!(
            prompt.ends_with("\n\n### Instruction:\nAdd.\n\n### Input:\n1 1\n\n### Response:\n")
        );
        assert_eq!(completion, "2");
    }

    #[test]
    fn an_absent_a_null_and_an_empty_input_are_the_same() {
        let absent = hash(r#"{"instruction": "a", "output": "b"}"#);
        assert_eq!(absent, hash(r#"{"instruction": "a", "input": null, "output": "b"}"#));
        assert_eq!(absent, hash(r#"{"instruction": "a", "input": "", "output": "b"}"#));
    }

    #[test]
    fn a_schema_that_says_more_goes_before_text() {
        let both = r#"{"instruction": "a", "output": "b", "text": "a b"}"#;
        assert_eq!(parsed(both).map(|(schema, _)| schema), Ok(Schema::Instruction));
    }

    #[test]
    fn the_hash_is_of_the_content_and_not_of_the_line() {
        let row = hash(r#"{"prompt": "a\nb", "completion": "c"}"#);
        assert_eq!(row, hash(r#"{"id": 7, "completion": " c\n", "prompt": "a\r\nb"}"#));
        assert_ne!(row, hash(r#"{"prompt": "a\nbc", "completion": "c"}"#));
    }

    #[test]
    fn text_moved_across_a_field_makes_another_row() {
        let row = hash(r#"{"prompt": "ab", "completion": "c"}"#);
        assert_ne!(row, hash(r#"{"prompt": "a", "completion": "bc"}"#));
        assert_ne!(hash(r#"{"text": "a"}"#), hash(r#"{"prompt": "", "completion": "a"}"#));
    }

    /// A change here would move rows between the sides of everybody's splits.
    #[test]
    fn the_hash_of_a_row_never_changes() {
        let place = hash(r#"{"prompt": "one plus one", "completion": "two"}"#).unit_interval();
        assert!((place - 0.054_540_397).abs() < 1e-6, "{place}");
    }

    #[test]
    fn the_prompt_of_a_conversation_is_all_before_its_last_answer() {
        let prompt = |json: &str| parsed(json).expect("a usable row").1.prompt_hash();
        let one = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
        let other = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]}"#;
        assert!(prompt(one).is_some());
        assert_eq!(prompt(one), prompt(other));
        assert_eq!(prompt(r#"{"text": "a"}"#), None);
        assert_eq!(prompt(r#"{"prompt": " ", "completion": "a"}"#), None);
    }
}
