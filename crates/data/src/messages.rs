//! Conversations as datasets have them: `messages`, ShareGPT's turns, tool calls, prompts and
//! completions made of turns, and the chosen side of preferences.

use super::chat::REASONING;
use super::json::{Json, Object};
use super::row::{Conversation, Message, Row, optional_string, said, said_string, string_at};
use super::skip::SkipReason;

/// A field of a message that changes its meaning and that templates do not know.
const UNSUPPORTED: &str = "function_call";

/// Reads a list of turns and what belongs to it: `system`, `tools`, `chat_template_kwargs`.
pub(super) fn read_conversation(
    object: &Object,
    field: &'static str,
) -> Result<Conversation, SkipReason> {
    let messages = read_turns(&object[field], field)?;
    conversation(object, messages)
}

fn conversation(object: &Object, mut messages: Vec<Message>) -> Result<Conversation, SkipReason> {
    let system = optional_string(object, "system")?;
    let has_system = messages.first().is_some_and(|turn| turn.role == "system");
    if !system.trim().is_empty() && !has_system {
        messages.insert(0, turn("system", system));
    }
    if !messages.iter().any(|turn| turn.is_assistant() && turn.is_target) {
        return Err(SkipReason::NoAssistantTurn);
    }
    let tools = object.get("tools").filter(|tools| !tools.is_void()).map(read_tools).transpose()?;
    let kwargs = match object.get("chat_template_kwargs") {
        None | Some(Json::Null) => Object::new(),
        Some(Json::Object(kwargs)) => kwargs.clone(),
        Some(other) => return Err(wrong_type("chat_template_kwargs", "an object", other)),
    };
    Ok(Conversation { messages, tools, kwargs })
}

/// `prompt` and `completion`, both texts or both turns.
pub(super) fn read_prompt_and_completion(object: &Object) -> Result<Row, SkipReason> {
    match (object.get("prompt"), &object["completion"]) {
        (Some(prompt @ Json::Array(_)), completion @ Json::Array(_)) => {
            let mut messages = untaught(read_turns(prompt, "prompt")?);
            messages.extend(read_turns(completion, "completion")?);
            conversation(object, messages).map(Row::Messages)
        }
        _ => Ok(Row::Completion {
            prompt: optional_string(object, "prompt")?,
            completion: said_string(object, "completion")?,
        }),
    }
}

/// What was chosen, after its prompt. Where there is no `prompt`, it is what the chosen and the
/// rejected side begin with.
pub(super) fn read_chosen(object: &Object) -> Result<Row, SkipReason> {
    let prompt = object.get("prompt").filter(|prompt| !prompt.is_void());
    let rejected = object.get("rejected").unwrap_or(&Json::Null);
    match (&object["chosen"], prompt) {
        (chosen @ Json::Array(_), _) => {
            let chosen = read_turns(chosen, "chosen")?;
            let shared = match rejected {
                Json::Array(_) if !rejected.is_void() => {
                    shared_turns(&chosen, &read_turns(rejected, "rejected")?)
                }
                _ => chosen.len() - 1,
            };
            let (context, answer) = chosen.split_at(shared);
            let mut messages = match prompt {
                Some(prompt @ Json::Array(_)) => untaught(read_turns(prompt, "prompt")?),
                Some(Json::String(prompt)) if context.is_empty() => {
                    vec![turn("user", prompt.clone())]
                }
                _ => Vec::new(),
            };
            // Many datasets repeat the prompt in front of both sides.
            let is_repeated = messages.len() <= context.len()
                && messages.iter().zip(context).all(|(a, b)| a.content == b.content);
            if is_repeated {
                messages.clear();
            }
            messages.extend(untaught(context.to_vec()));
            messages.extend_from_slice(answer);
            conversation(object, messages).map(Row::Messages)
        }
        (Json::String(chosen), None) => {
            let shared = shared_text(chosen, rejected.as_str().unwrap_or_default());
            let (prompt, completion) = chosen.split_at(shared);
            let completion = said(completion.to_owned(), || "chosen".to_owned())?;
            Ok(Row::Completion { prompt: prompt.to_owned(), completion })
        }
        _ => Ok(Row::Completion {
            prompt: optional_string(object, "prompt")?,
            completion: said_string(object, "chosen")?,
        }),
    }
}

/// How many turns both sides begin with, so that at least the last one of `chosen` is its own.
fn shared_turns(chosen: &[Message], rejected: &[Message]) -> usize {
    let shared = chosen.iter().zip(rejected).take_while(|(a, b)| a == b).count();
    shared.min(chosen.len().saturating_sub(1))
}

/// Bytes that both texts begin with, up to the last blank among them: words are not torn.
fn shared_text(chosen: &str, rejected: &str) -> usize {
    let pairs = chosen.char_indices().zip(rejected.chars());
    let same = pairs.take_while(|((_, a), b)| a == b).last();
    let end = same.map_or(0, |((at, c), _)| at + c.len_utf8());
    chosen[..end].rfind(char::is_whitespace).unwrap_or(0)
}

/// Turns that are context and not to be learnt.
fn untaught(mut messages: Vec<Message>) -> Vec<Message> {
    for turn in &mut messages {
        turn.is_target = false;
    }
    messages
}

fn turn(role: &str, content: String) -> Message {
    let (role, fields) = (role.to_owned(), Object::new());
    let is_target = role == "assistant";
    Message { role, content: Some(content), fields, is_target }
}

fn wrong_type(field: impl Into<String>, expected: &'static str, found: &Json) -> SkipReason {
    SkipReason::WrongType { field: field.into(), expected, found: found.type_name() }
}

/// Tools are a list, or, in tables, that list as JSON text.
fn read_tools(tools: &Json) -> Result<Json, SkipReason> {
    let parsed = match tools {
        Json::String(text) => Json::from_text(text).unwrap_or(Json::Null),
        other => other.clone(),
    };
    if parsed.as_array().is_some() {
        Ok(parsed)
    } else {
        Err(wrong_type("tools", "a list of tools", tools))
    }
}

fn read_turns(value: &Json, field: &'static str) -> Result<Vec<Message>, SkipReason> {
    let list = value.as_array().ok_or_else(|| wrong_type(field, "a list", value))?;
    if list.is_empty() {
        return Err(SkipReason::Empty { field: field.to_owned() });
    }
    let turns = list.iter().enumerate();
    turns.map(|(index, value)| Turn::open(field, index, value)?.read()).collect()
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
        let is_share_gpt = !self.fields.contains_key("role") && self.fields.contains_key("from");
        let mut message = if is_share_gpt { self.share_gpt()? } else { self.message()? };
        message.is_target = message.is_assistant() && self.weight()?;
        let is_silent = message.content.as_ref().is_none_or(|text| text.trim().is_empty())
            && !message.fields.contains_key("tool_calls")
            && !has_thought(&message.fields);
        if message.is_assistant() && is_silent {
            let said = if is_share_gpt { "value" } else { "content" };
            return Err(SkipReason::Empty { field: self.path(said) });
        }
        Ok(message)
    }

    fn message(&self) -> Result<Message, SkipReason> {
        if self.fields.get(UNSUPPORTED).is_some_and(|value| !value.is_void()) {
            return Err(SkipReason::Unsupported { field: self.path(UNSUPPORTED) });
        }
        let role = string_at(self.field("role")?, self.path("role"))?;
        let role = said(role, || self.path("role"))?;
        let mut fields = Object::new();
        for (name, value) in self.fields {
            let is_absent = *value == Json::Null || (name == "tool_calls" && value.is_void());
            if !matches!(name.as_str(), "role" | "content" | "weight") && !is_absent {
                fields.insert(name.clone(), value.clone());
            }
        }
        if let Some(calls) = fields.get_mut("tool_calls") {
            parse_arguments(calls);
        }
        let content = match self.fields.get("content") {
            None | Some(Json::Null) if fields.contains_key("tool_calls") => None,
            // A turn may be no more than a thought.
            None | Some(Json::Null) if has_thought(&fields) => Some(String::new()),
            _ => Some(self.content(self.field("content")?)?),
        };
        Ok(Message { role, content, fields, is_target: false })
    }

    /// A text, or a list of parts that are all text.
    fn content(&self, value: &Json) -> Result<String, SkipReason> {
        let Json::Array(parts) = value else {
            return string_at(value, self.path("content"));
        };
        let unsupported = || SkipReason::Unsupported { field: self.path("content") };
        parts.iter().map(|part| text_of(part).ok_or_else(unsupported)).collect()
    }

    fn share_gpt(&self) -> Result<Message, SkipReason> {
        let from = string_at(self.field("from")?, self.path("from"))?;
        let value = string_at(self.field("value")?, self.path("value"))?;
        let role = match from.as_str() {
            "human" | "user" => "user",
            "gpt" | "chatgpt" | "bing" | "bard" | "assistant" | "model" => "assistant",
            "system" => "system",
            "tool" | "observation" | "function_response" => "tool",
            "function_call" => return self.share_gpt_call(&value),
            _ => return Err(SkipReason::UnknownSpeaker { field: self.path("from"), found: from }),
        };
        Ok(turn(role, value))
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
        let fields = [("tool_calls".to_owned(), calls)].into_iter().collect();
        Ok(Message { role: "assistant".to_owned(), content: None, fields, is_target: true })
    }

    /// `weight: 0` makes an assistant's turn context, as in OpenAI's format.
    fn weight(&self) -> Result<bool, SkipReason> {
        match self.fields.get("weight") {
            None | Some(Json::Null) => Ok(true),
            Some(Json::Number(weight)) if weight.as_f64() == Some(0.0) => Ok(false),
            Some(Json::Number(weight)) if weight.as_f64() == Some(1.0) => Ok(true),
            Some(other) => Err(wrong_type(self.path("weight"), "0 or 1", other)),
        }
    }
}

/// Whether a message says a thought, under any of the names that transformers knows.
fn has_thought(fields: &Object) -> bool {
    REASONING.iter().any(|name| fields.get(*name).is_some_and(|thought| !thought.is_void()))
}

/// What a part of a message's content says, if it is text.
fn text_of(part: &Json) -> Option<&str> {
    let fields = part.as_object()?;
    let is_text = fields.get("type")?.as_str() == Some("text");
    if is_text { fields.get("text")?.as_str() } else { None }
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
    use crate::schema::Schema;

    fn parsed(json: &str) -> Result<(Schema, Row), SkipReason> {
        let value = Json::from_text(json).expect("well-formed JSON");
        Row::from_object(value.as_object().expect("an object"))
    }

    /// The turns as `role: content`, learnt ones with a star, and what else they say.
    fn turns(json: &str) -> Vec<String> {
        let Row::Messages(conversation) = parsed(json).expect("a usable row").1 else {
            panic!("no conversation");
        };
        let shown = |turn: &Message| {
            let star = if turn.is_target { "*" } else { "" };
            let content = turn.content.as_deref().unwrap_or("(none)");
            let fields = turn.fields.iter().map(|(name, value)| format!(" {name}={value}"));
            format!("{star}{}: {content}{}", turn.role, fields.collect::<Vec<_>>().concat())
        };
        conversation.messages.iter().map(shown).collect()
    }

    fn refused(json: &str) -> String {
        parsed(json).expect_err("a row to be refused").to_string()
    }

    #[test]
    fn share_gpt_turns_become_messages() {
        let json = r#"{"system": "S", "conversations": [{"from": "human", "value": "a"},
            {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": \"{\\\"x\\\": 1}\"}"},
            {"from": "observation", "value": "b"}, {"from": "gpt", "value": "c"}]}"#;
        let call =
            r#"tool_calls=[{"type":"function","function":{"name":"f","arguments":{"x":1}}}]"#;
        assert_eq!(
            turns(json),
            [
                "system: S",
                "user: a",
                &format!("*assistant: (none) {call}"),
                "tool: b",
                "*assistant: c"
            ]
        );
        assert_eq!(parsed(json).map(|(schema, _)| schema), Ok(Schema::ShareGpt));
        let unknown = r#"{"conversations": [{"from": "alien", "value": "a"}]}"#;
        assert!(refused(unknown).contains(r#"`conversations[0].from` is "alien""#));
    }

    #[test]
    fn an_open_ai_dataset_is_read_as_it_is() {
        let json = r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"},
            {"type": "text", "text": "b"}], "name": null},
            {"role": "assistant", "content": "c", "weight": 0},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function",
            "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": 2}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "d"},
            {"role": "assistant", "content": "e", "weight": 1, "tool_calls": []}]}"#;
        let call =
            r#"[{"id":"1","type":"function","function":{"name":"f","arguments":{"b":1,"a":2}}}]"#;
        assert_eq!(
            turns(json),
            [
                "user: ab",
                "assistant: c",
                &format!("*assistant: (none) tool_calls={call}"),
                "tool: d tool_call_id=\"1\"",
                "*assistant: e"
            ]
        );
        let image = r#"{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#;
        assert!(refused(image).contains("`messages[0].content` is not supported"));
        let half = r#"{"messages": [{"role": "assistant", "content": "a", "weight": 0.5}]}"#;
        assert!(refused(half).contains("`messages[0].weight` must be 0 or 1"));
    }

    #[test]
    fn of_a_prompt_made_of_turns_only_the_completion_is_learnt() {
        let json = r#"{"prompt": [{"role": "user", "content": "a"}, {"role": "assistant",
            "content": "b"}, {"role": "user", "content": "c"}],
            "completion": [{"role": "assistant", "content": "d"}]}"#;
        assert_eq!(turns(json), ["user: a", "assistant: b", "user: c", "*assistant: d"]);
    }

    #[test]
    fn the_chosen_side_of_a_preference_is_learnt_and_what_both_sides_share_is_its_prompt() {
        let turn =
            |role: &str, content: &str| format!(r#"{{"role": "{role}", "content": "{content}"}}"#);
        let shared = [turn("user", "a"), turn("assistant", "b"), turn("user", "c")].join(",");
        let (good, bad) = (turn("assistant", "good"), turn("assistant", "bad"));
        let expected = ["user: a", "assistant: b", "user: c", "*assistant: good"];
        let implicit = format!(r#"{{"chosen": [{shared},{good}], "rejected": [{shared},{bad}]}}"#);
        assert_eq!(turns(&implicit), expected);
        let explicit =
            format!(r#"{{"prompt": [{shared}], "chosen": [{good}], "rejected": [{bad}]}}"#);
        assert_eq!(turns(&explicit), expected);
        let repeated = format!(
            r#"{{"prompt": "a", "chosen": [{},{good}], "rejected": []}}"#,
            turn("user", "a")
        );
        assert_eq!(turns(&repeated), ["user: a", "*assistant: good"]);
        let alone = format!(r#"{{"prompt": "a", "chosen": [{good}]}}"#);
        assert_eq!(turns(&alone), ["user: a", "*assistant: good"]);
    }

    #[test]
    fn preferences_that_are_texts_are_split_between_words() {
        let text = r#"{"chosen": "\n\nHuman: hi\n\nAssistant: gladly", "rejected": "\n\nHuman: hi\n\nAssistant: go away"}"#;
        let completion = |json: &str| match parsed(json).expect("a usable row").1 {
            Row::Completion { prompt, completion } => (prompt, completion),
            _ => panic!("no completion"),
        };
        assert_eq!(
            completion(text),
            ("\n\nHuman: hi\n\nAssistant:".to_owned(), " gladly".to_owned())
        );
        let with = r#"{"prompt": "p", "chosen": "c", "rejected": "d"}"#;
        assert_eq!(completion(with), ("p".to_owned(), "c".to_owned()));
    }

    #[test]
    fn an_answer_that_was_judged_bad_is_not_learnt() {
        let judged = |label| format!(r#"{{"prompt": "p", "completion": "c", "label": {label}}}"#);
        assert!(refused(&judged("false")).contains("to be avoided"));
        assert!(parsed(&judged("true")).is_ok() && parsed(&judged("0")).is_ok());
    }

    #[test]
    fn tools_are_a_list_or_its_text() {
        let of = |tools: &str| {
            parsed(&format!(
                r#"{{"messages": [{{"role": "assistant", "content": "a"}}], "tools": {tools}}}"#
            ))
        };
        let with = of(r#"[{"name": "f"}]"#).expect("a usable row").1;
        assert_eq!(of(r#""[{\"name\": \"f\"}]""#).map(|(_, row)| row), Ok(with.clone()));
        let without = of("[]").expect("a usable row").1;
        assert_ne!(with.content_hash(), without.content_hash());
        assert_eq!(of("null").map(|(_, row)| row), Ok(without));
        assert!(of("5").is_err());
    }
}
