//! One turn of a list: a message of `OpenAI`'s format or a ShareGPT turn.

use super::field::{MEDIA, REASONING, said, string_at, wrong_type};
use super::flags::{is_flag, turn_flag};
use super::json::{Json, Object};
use super::said::Message;
use super::skip::SkipReason;

/// A field of a message that changes its meaning and that templates do not know.
const UNSUPPORTED: &str = "function_call";

/// Reads a list of turns.
pub(super) fn read_turns(value: &Json, field: &'static str) -> Result<Vec<Message>, SkipReason> {
    let list = value.as_array().ok_or_else(|| wrong_type(field, "a list", value))?;
    if list.is_empty() {
        return Err(SkipReason::Empty { field: field.to_owned() });
    }
    let turns = list.iter().enumerate();
    turns.map(|(index, value)| Turn::open(field, index, value)?.read()).collect()
}

/// Reads a list of turns that come before what is learnt.
pub(super) fn read_context(value: &Json, field: &'static str) -> Result<Vec<Message>, SkipReason> {
    let messages = read_turns(value, field)?;
    refuse_learnt(value, field, messages.len())?;
    Ok(untaught(messages))
}

/// Refuses a flag that asks for one of the first turns of a list to be learnt, as many as are context.
pub(super) fn refuse_learnt(
    value: &Json,
    field: &'static str,
    context: usize,
) -> Result<(), SkipReason> {
    for (index, value) in value.as_array().into_iter().flatten().enumerate().take(context) {
        let turn = Turn::open(field, index, value)?;
        if let Some((true, flag)) = turn_flag(turn.fields, |field| turn.path(field))? {
            return Err(SkipReason::LearnsContext { field: turn.path(flag), list: field });
        }
    }
    Ok(())
}

/// A turn that says no more than its content.
pub(super) fn turn(role: &str, content: String) -> Message {
    let (role, fields) = (role.to_owned(), Object::new());
    let is_target = role == "assistant";
    Message { role, content: Some(content), fields, is_target }
}

/// Turns that are context and not to be learnt.
pub(super) fn untaught(mut messages: Vec<Message>) -> Vec<Message> {
    for turn in &mut messages {
        turn.is_target = false;
    }
    messages
}

/// One element of a list of turns, with its place for messages.
struct Turn<'a> {
    list: &'static str,
    index: usize,
    fields: &'a Object,
}

impl<'a> Turn<'a> {
    fn open(list: &'static str, index: usize, value: &'a Json) -> Result<Self, SkipReason> {
        let Json::Object(fields) = value else {
            return Err(wrong_type(format!("{list}[{index}]"), "an object", value));
        };
        Ok(Self { list, index, fields })
    }

    fn path(&self, field: &str) -> String {
        format!("{}[{}].{field}", self.list, self.index)
    }

    fn field(&self, field: &'static str) -> Result<&'a Json, SkipReason> {
        let (list, index, missing) = (self.list, self.index, field);
        self.fields.get(field).ok_or(SkipReason::MissingInMessage { list, index, missing })
    }

    fn read(&self) -> Result<Message, SkipReason> {
        for field in MEDIA {
            if self.fields.get(field).is_some_and(|value| !value.is_void()) {
                return Err(SkipReason::Media { field: self.path(field) });
            }
        }
        let is_share_gpt = !self.fields.contains_key("role") && self.fields.contains_key("from");
        let mut message = if is_share_gpt { self.share_gpt()? } else { self.message()? };
        let flag = turn_flag(self.fields, |field| self.path(field))?;
        message.is_target = match flag {
            None => message.is_assistant(),
            Some((true, flag)) if !message.is_assistant() => {
                let (field, role) = (self.path(flag), message.role);
                return Err(SkipReason::LearnsOther { field, role });
            }
            Some((is_learnt, _)) => is_learnt,
        };
        let is_silent = message.content.as_ref().is_none_or(|text| text.trim().is_empty())
            && !message.fields.contains_key("tool_calls")
            && !has_thought(&message.fields);
        if message.is_assistant() && is_silent {
            let said = if is_share_gpt { "value" } else { "content" };
            return Err(SkipReason::Empty { field: self.path(said) });
        }
        Ok(message)
    }

    /// What stands in a turn beside its role, its content and its flags, for the template.
    fn beside(&self, role: &str, content: &str) -> Object {
        let mut fields = Object::new();
        for (name, value) in self.fields {
            let is_absent = *value == Json::Null || (name == "tool_calls" && value.is_void());
            let is_read = name == role || name == content || is_flag(name);
            if !is_read && !is_absent {
                fields.insert(name.clone(), value.clone());
            }
        }
        if let Some(calls) = fields.get_mut("tool_calls") {
            parse_arguments(calls);
        }
        fields
    }

    fn message(&self) -> Result<Message, SkipReason> {
        if self.fields.get(UNSUPPORTED).is_some_and(|value| !value.is_void()) {
            return Err(SkipReason::Unsupported { field: self.path(UNSUPPORTED) });
        }
        let role = string_at(self.field("role")?, self.path("role"))?;
        let role = said(role, || self.path("role"))?;
        if let Some(meant) = meant_role(&role) {
            return Err(SkipReason::RoleSpelling { field: self.path("role"), found: role, meant });
        }
        let fields = self.beside("role", "content");
        let content = match self.fields.get("content") {
            None | Some(Json::Null) if fields.contains_key("tool_calls") => None,
            // A turn may be no more than a thought.
            None | Some(Json::Null) if has_thought(&fields) => Some(String::new()),
            _ => Some(self.content("content")?),
        };
        Ok(Message { role, content, fields, is_target: false })
    }

    /// A text, or a list of parts that are all text.
    fn content(&self, field: &'static str) -> Result<String, SkipReason> {
        let value = self.field(field)?;
        let Json::Array(parts) = value else {
            return string_at(value, self.path(field));
        };
        let parts = parts.iter().enumerate();
        parts.map(|(index, part)| text_of(part, self.path(&format!("{field}[{index}]")))).collect()
    }

    fn share_gpt(&self) -> Result<Message, SkipReason> {
        let from = string_at(self.field("from")?, self.path("from"))?;
        let value = self.content("value")?;
        let role = match from.as_str() {
            "human" | "user" => "user",
            "gpt" | "chatgpt" | "bing" | "bard" | "assistant" | "model" => "assistant",
            "system" => "system",
            "tool" | "observation" | "function_response" => "tool",
            "function_call" => return self.share_gpt_call(&value),
            _ => return Err(SkipReason::UnknownSpeaker { field: self.path("from"), found: from }),
        };
        Ok(Message { fields: self.beside("from", "value"), ..turn(role, value) })
    }

    /// A call of one or several tools, as JSON text.
    fn share_gpt_call(&self, text: &str) -> Result<Message, SkipReason> {
        let calls = match Json::from_text(text) {
            Ok(call @ Json::Object(_)) => vec![call],
            Ok(Json::Array(calls)) => calls,
            Ok(_) | Err(_) => {
                let found = Json::String(text.to_owned());
                return Err(wrong_type(self.path("value"), "a tool call as JSON", &found));
            }
        };
        let wrapped = calls.into_iter().map(|call| {
            let kind = ("type".to_owned(), Json::String("function".to_owned()));
            Json::Object([kind, ("function".to_owned(), call)].into_iter().collect())
        });
        let mut calls = Json::Array(wrapped.collect());
        parse_arguments(&mut calls);
        let mut fields = self.beside("from", "value");
        fields.insert("tool_calls".to_owned(), calls);
        Ok(Message { role: "assistant".to_owned(), content: None, fields, is_target: true })
    }
}

/// The role that another spelling, a typing error or another tool's name means: written as it is, an answer
/// would silently be context.
fn meant_role(role: &str) -> Option<&'static str> {
    const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];
    let is_typo = |known: &&str, other: &str| {
        strsim::damerau_levenshtein(known, other) <= known.len().div_ceil(6)
    };
    let plain = role.trim().to_lowercase();
    let meant = match plain.as_str() {
        "model" | "gpt" | "chatgpt" | "bot" | "ai" => "assistant",
        "human" => "user",
        other => ROLES.into_iter().find(|known| is_typo(known, other))?,
    };
    (meant != role).then_some(meant)
}

/// Whether a message says a thought, under any of the names that transformers knows.
fn has_thought(fields: &Object) -> bool {
    REASONING.iter().any(|name| fields.get(*name).is_some_and(|thought| !thought.is_void()))
}

/// What a part of a message's content says, `path` being its place: a text, of which the Responses
/// API knows two kinds.
fn text_of(part: &Json, path: String) -> Result<&str, SkipReason> {
    let Json::Object(fields) = part else {
        return Err(wrong_type(path, "an object", part));
    };
    let Some(kind) = fields.get("type").and_then(Json::as_str) else {
        return Err(SkipReason::PartWithoutType { path });
    };
    match kind {
        "text" | "input_text" | "output_text" => match fields.get("text") {
            Some(Json::String(text)) => Ok(text),
            Some(other) => Err(wrong_type(format!("{path}.text"), "a string", other)),
            None => {
                let keys = fields.keys().cloned().collect();
                Err(SkipReason::PartWithoutText { path, kind: kind.to_owned(), keys })
            }
        },
        _ => Err(match film_or_sound(kind) {
            Some(what) => SkipReason::MediaPart { path, what, kind: kind.to_owned() },
            None => SkipReason::UnknownPart { path, kind: kind.to_owned() },
        }),
    }
}

/// What a part of this type shows or plays, if it does.
fn film_or_sound(kind: &str) -> Option<&'static str> {
    let has = |word: &str| kind.split(['_', '-']).any(|found| found == word);
    let kinds = [
        ("image", "an image"),
        ("audio", "sound"),
        ("video", "a video"),
        ("file", "a file"),
        ("document", "a file"),
    ];
    kinds.iter().find(|(word, _)| has(word)).map(|(_, what)| *what)
}

/// OpenAI writes a call's arguments as JSON text, templates want the object.
fn parse_arguments(calls: &mut Json) {
    let Json::Array(calls) = calls else { return };
    for call in calls {
        let Json::Object(call) = call else { continue };
        let Some(Json::Object(function)) = call.get_mut("function") else { continue };
        if let Some(arguments) = function.get_mut("arguments")
            && let Some(text) = arguments.as_str()
            && let Ok(parsed @ Json::Object(_)) = Json::from_text(text)
        {
            *arguments = parsed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<Message>, String> {
        let value = Json::from_text(json).expect("well-formed JSON");
        read_turns(&value, "messages").map_err(|reason| reason.to_string())
    }

    fn refused(json: &str) -> String {
        read(json).expect_err("turns to be refused")
    }

    #[test]
    fn flags_are_read_in_both_kinds_of_turns_and_kept_from_the_template() {
        let ours = r#"[{"role": "assistant", "content": "a", "train": false, "name": "n"}]"#;
        let share_gpt = r#"[{"from": "gpt", "value": "a", "train": false, "name": "n"}]"#;
        for json in [ours, share_gpt] {
            let turns = read(json).expect("a usable turn");
            assert!(!turns[0].is_target);
            assert_eq!(turns[0].fields.keys().collect::<Vec<_>>(), ["name"]);
        }
    }

    #[test]
    fn a_role_with_a_typing_error_is_no_role_of_its_own() {
        for (typed, meant) in [
            ("asistant", "assistant"),
            ("asisstant", "assistant"),
            ("users", "user"),
            ("sytem", "system"),
        ] {
            let told = refused(&format!(r#"[{{"role": "{typed}", "content": "a"}}]"#));
            assert!(told.contains(&format!("write \"{meant}\"")), "{told}");
        }
        for own in ["developer", "function", "observation", "ipython", "critic", "tool_response"] {
            let turn = format!(r#"[{{"role": "{own}", "content": "a"}}]"#);
            assert_eq!(read(&turn).expect("a role that a template may know")[0].role, own);
        }
    }

    #[test]
    fn a_turn_of_somebody_else_is_never_learnt() {
        for role in ["user", "system", "tool"] {
            let turn = |flag: &str| format!(r#"[{{"role": "{role}", "content": "a", {flag}}}]"#);
            let told = refused(&turn(r#""train": true"#));
            assert!(told.contains("`messages[0].train`") && told.contains(role), "{told}");
            assert!(refused(&turn(r#""masked": false"#)).contains("`messages[0].masked`"));
            let turns = read(&turn(r#""weight": 0, "masked": true"#)).expect("a usable turn");
            assert!(!turns[0].is_target);
        }
    }

    #[test]
    fn parts_that_are_text_are_joined_and_others_are_refused_by_place() {
        let of = |part: &str| {
            format!(r#"[{{"role": "user", "content": [{{"type": "text", "text": "x"}}, {part}]}}]"#)
        };
        for kind in ["text", "input_text", "output_text"] {
            let turns = read(&of(&format!(r#"{{"type": "{kind}", "text": "y"}}"#)));
            assert_eq!(turns.expect("a usable turn")[0].content.as_deref(), Some("xy"));
        }
        for (part, told) in [
            (
                r#"{"type": "text", "value": "y"}"#,
                r#"`messages[0].content[1]` is of type "text", but has no `text` (it has `type`, `value`)"#,
            ),
            (
                r#"{"type": "image_url", "image_url": {"url": "x"}}"#,
                "`messages[0].content[1]` is an image (`image_url`), which text models do not read",
            ),
            (r#"{"type": "input_audio"}"#, "`messages[0].content[1]` is sound (`input_audio`)"),
            (r#"{"type": "video"}"#, "`messages[0].content[1]` is a video"),
            (r#"{"type": "input_file"}"#, "`messages[0].content[1]` is a file"),
            (r#"{"type": "refusal", "refusal": "no"}"#, r#"content[1]` is of type "refusal", wh"#),
            (r#"{"type": "thinking", "thinking": "hm"}"#, r#"is of type "thinking", which"#),
            (r#"{"text": "y"}"#, "`messages[0].content[1]` has no `type`"),
            (r#""y""#, "`messages[0].content[1]` must be an object, found a string"),
            (r#"{"type": "text", "text": 5}"#, "`messages[0].content[1].text` must be a string"),
        ] {
            let reason = refused(&of(part));
            assert!(reason.contains(told), "{reason}");
        }
    }

    #[test]
    fn pictures_and_sound_of_a_turn_are_refused_by_name() {
        let turn = |images: &str| format!(r#"[{{"role": "user", "content": "a", {images}}}]"#);
        assert!(refused(&turn(r#""images": ["a.jpg"]"#)).contains("`messages[0].images`"));
        assert!(refused(&turn(r#""audio": {"path": "a"}"#)).contains("`messages[0].audio`"));
        assert!(read(&turn(r#""images": [], "video": null"#)).is_ok());
    }
}
