//! Conversations as datasets have them: `messages`, ShareGPT's turns, tool calls, prompts and
//! completions made of turns, and prompts with a `system` text or a `history` beside them.

use super::field::{optional_string, said_string, wrong_type};
use super::json::{Json, Object};
use super::said::{Conversation, Message, Row};
use super::skip::SkipReason;
use super::turn::{read_context, read_turns, turn};

/// Fields that make a conversation of the prompt that they stand beside.
const SAID_BEFORE: [&str; 3] = ["system", "history", "tools"];

/// Turns with the system text and the tools that stand beside them.
pub(super) fn conversation(object: &Object, mut messages: Vec<Message>) -> Result<Row, SkipReason> {
    let system = optional_string(object, "system")?;
    match messages.first().filter(|turn| turn.role == "system") {
        _ if system.trim().is_empty() => {}
        None => messages.insert(0, turn("system", system)),
        Some(first) if first.content.as_deref().map(str::trim) == Some(system.trim()) => {}
        Some(_) => return Err(SkipReason::TwoSystems),
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
    Ok(Row::Messages(Conversation { messages, tools, kwargs }))
}

/// `prompt` and `completion`, each a text or turns.
pub(super) fn read_prompt_and_completion(object: &Object) -> Result<Row, SkipReason> {
    let prompt = object.get("prompt").unwrap_or(&Json::Null);
    let completion = &object["completion"];
    if prompt.as_array().is_none() && completion.as_array().is_none() {
        let answer = said_string(object, "completion")?;
        if *prompt == Json::Null && object.get("history").is_none_or(Json::is_void) {
            return Err(SkipReason::NullPrompt);
        }
        let prompt = optional_string(object, "prompt")?;
        return exchange(object, prompt.clone(), prompt, answer);
    }
    let mut messages = match prompt {
        Json::Array(_) => read_context(prompt, "prompt")?,
        _ => asked(object, optional_string(object, "prompt")?)?,
    };
    match completion {
        Json::Array(_) => messages.extend(read_turns(completion, "completion")?),
        _ => messages.push(turn("assistant", said_string(object, "completion")?)),
    }
    if *prompt == Json::Null && messages.iter().all(Message::is_assistant) {
        return Err(SkipReason::NullPrompt);
    }
    conversation(object, messages)
}

/// A prompt and its answer: texts as they are, or, where something was said before them, turns of
/// which `user` is the last one's.
pub(super) fn exchange(
    object: &Object,
    prompt: String,
    user: String,
    answer: String,
) -> Result<Row, SkipReason> {
    let is_void = |field: &&str| object.get(*field).is_none_or(Json::is_void);
    if SAID_BEFORE.iter().all(is_void) {
        return Ok(Row::Completion { prompt, completion: answer });
    }
    let mut messages = asked(object, user)?;
    messages.push(turn("assistant", answer));
    conversation(object, messages)
}

/// What was said before, and the last question, if there is one.
pub(super) fn asked(object: &Object, user: String) -> Result<Vec<Message>, SkipReason> {
    let mut messages = read_history(object)?;
    if !user.trim().is_empty() {
        messages.push(turn("user", user));
    }
    Ok(messages)
}

/// `history`: pairs of a question and its answer, which is learnt as in LLaMA-Factory, or turns.
fn read_history(object: &Object) -> Result<Vec<Message>, SkipReason> {
    let Some(history) = object.get("history").filter(|history| !history.is_void()) else {
        return Ok(Vec::new());
    };
    let expected = "a list of [question, answer] pairs or of turns";
    let list = history.as_array().ok_or_else(|| wrong_type("history", expected, history))?;
    if list.iter().all(|item| item.as_object().is_some()) {
        return read_turns(history, "history");
    }
    let mut messages = Vec::new();
    for (index, pair) in list.iter().enumerate() {
        let Some([Json::String(question), Json::String(answer)]) = pair.as_array() else {
            return Err(wrong_type(format!("history[{index}]"), "a pair of texts", pair));
        };
        if answer.trim().is_empty() {
            return Err(SkipReason::Empty { field: format!("history[{index}][1]") });
        }
        messages.push(turn("user", question.clone()));
        messages.push(turn("assistant", answer.clone()));
    }
    Ok(messages)
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
        assert!(refused(image).contains("`messages[0].content[0]` is an image (`image_url`)"));
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
    fn a_flag_that_asks_for_an_earlier_answer_of_a_preference_to_be_learnt_is_refused_by_name() {
        let earlier = r#"{"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "train": true}, {"role": "user", "content": "c"}"#;
        let (good, bad) = (
            r#"{"role": "assistant", "content": "good", "train": true}"#,
            r#"{"role": "assistant", "content": "bad"}"#,
        );
        for (row, field) in [
            (
                format!(r#"{{"chosen": [{earlier},{good}], "rejected": [{earlier},{bad}]}}"#),
                "chosen",
            ),
            (format!(r#"{{"chosen": [{earlier},{good}]}}"#), "chosen"),
            (format!(r#"{{"prompt": [{earlier}], "chosen": [{good}]}}"#), "prompt"),
            (format!(r#"{{"messages": [{earlier}], "chosen": [{good}]}}"#), "messages"),
            (format!(r#"{{"prompt": "c", "history": [{earlier}], "chosen": "good"}}"#), "history"),
        ] {
            let told = refused(&row);
            assert!(told.contains(&format!("{field}[1].train")), "{row}: {told}");
        }
        let only_the_answer =
            format!(r#"{{"prompt": "a", "chosen": [{good}], "rejected": [{bad}]}}"#);
        assert_eq!(turns(&only_the_answer), ["user: a", "*assistant: good"]);
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
        assert!(refused(&judged("0")).contains("to be avoided"));
        assert!(parsed(&judged("true")).is_ok() && parsed(&judged("null")).is_ok());
    }

    #[test]
    fn turns_may_stand_beside_the_answer_that_was_chosen_for_them() {
        let row = |turns: &str, chosen: &str| {
            format!(r#"{{"messages": [{turns}], "chosen": [{chosen}], "rejected": []}}"#)
        };
        let turn =
            |role: &str, content: &str| format!(r#"{{"role": "{role}", "content": "{content}"}}"#);
        let (user, good) = (turn("user", "a"), turn("assistant", "good"));
        let expected = ["user: a", "*assistant: good"];
        let both = format!("{user},{good}");
        assert_eq!(turns(&row(&user, &good)), expected);
        // Datasets that have the conversation in both forms.
        assert_eq!(turns(&row(&user, &both)), expected);
        assert_eq!(turns(&row(&both, &both)), expected);
        assert_eq!(turns(&row(&both, &good)), expected);
        let other = row(&format!("{user},{}", turn("assistant", "other")), &good);
        assert!(refused(&other).contains("`messages` end in an answer that is not `chosen`"));
    }

    #[test]
    fn a_prompt_that_would_be_lost_is_refused() {
        let other = r#"{"prompt": "lost", "chosen": [{"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"}]}"#;
        assert!(refused(other).contains("`prompt` is not what the turns of `chosen` begin with"));
        let named = r#"{"question": "q", "chosen": "b", "rejected": "c"}"#;
        assert!(refused(named).contains("`question` is not read as one"));
        assert!(parsed(r#"{"chosen": "b", "rejected": "c"}"#).is_ok());
    }

    #[test]
    fn two_systems_are_refused_and_one_said_twice_is_one() {
        let row = |system: &str| {
            format!(
                r#"{{"system": "{system}", "messages": [{{"role": "system", "content": "S"}},
                {{"role": "assistant", "content": "a"}}]}}"#
            )
        };
        assert_eq!(turns(&row("S ")), ["system: S", "*assistant: a"]);
        assert!(refused(&row("other")).contains("say different things"));
        let text = r#"{"text": "a b", "system": "lost"}"#;
        assert!(refused(text).contains("`system` is not supported"));
        assert!(parsed(r#"{"text": "S: a b", "system": "S"}"#).is_ok());
    }

    #[test]
    fn a_prompt_may_be_turns_where_the_answer_is_a_text_and_the_other_way_round() {
        let list = r#"{"prompt": [{"role": "user", "content": "a"}], "completion": "b"}"#;
        assert_eq!(turns(list), ["user: a", "*assistant: b"]);
        let text = r#"{"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]}"#;
        assert_eq!(turns(text), ["user: a", "*assistant: b"]);
        let chosen = r#"{"prompt": [{"role": "user", "content": "a"}], "chosen": "b"}"#;
        assert_eq!(turns(chosen), ["user: a", "*assistant: b"]);
    }

    #[test]
    fn a_weight_of_a_whole_row_is_refused_by_name() {
        let row = |flag: &str| format!(r#"{{"prompt": "p", "completion": "c", {flag}}}"#);
        for flag in
            [r#""weight": 0.5"#, r#""train": false"#, r#""loss_scale": 2"#, r#""masked": 1"#]
        {
            assert!(refused(&row(flag)).contains("of a whole row is not supported"), "{flag}");
        }
        assert!(refused(&row(r#""loss": false"#)).contains("`loss` of a whole row"));
        assert!(refused(&row(r#""loss_weights": [0, 1]"#)).contains("`loss_weights` is not supp"));
        assert!(parsed(&row(r#""attention_mask": [1, 1]"#)).is_ok());
        for flag in [r#""weight": 1"#, r#""train": "true""#, r#""loss": 2.5"#, r#""masked": null"#]
        {
            assert!(parsed(&row(flag)).is_ok(), "{flag}");
        }
    }

    #[test]
    fn what_is_said_beside_share_gpt_turns_is_kept_for_the_template() {
        let json = r#"{"conversations": [{"from": "human", "value": [{"type": "text", "text": "a"}]},
            {"from": "gpt", "value": "b", "reasoning_content": "hm"}]}"#;
        assert_eq!(turns(json), ["user: a", r#"*assistant: b reasoning_content="hm""#]);
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
