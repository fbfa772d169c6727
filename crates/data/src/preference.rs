//! Preferences: what was chosen is learnt after its prompt, what was rejected is not.

use super::field::{optional_string, said, said_string};
use super::instruction::{instruction_prompt, instruction_text};
use super::json::{Json, Object};
use super::messages::{asked, conversation, exchange};
use super::said::{Message, Row};
use super::schema::keys;
use super::skip::SkipReason;
use super::turn::{read_context, read_turns, refuse_learnt, turn, untaught};

/// Names that datasets have for a prompt and that are not read as one.
const OTHER_PROMPTS: [&str; 5] = ["question", "query", "input", "user", "human"];

/// What comes before the chosen answer.
enum Prompt {
    None,
    /// The text as it is, and as what a user says.
    Text {
        raw: String,
        user: String,
    },
    Turns(Vec<Message>),
}

/// What was chosen, after its prompt: `prompt`, or `instruction` with its `input`. Where there is
/// neither, it is what the chosen and the rejected side begin with.
pub(super) fn read_chosen(object: &Object) -> Result<Row, SkipReason> {
    let prompt = read_prompt(object)?;
    let rejected = object.get("rejected").unwrap_or(&Json::Null);
    refuse_tie(object)?;
    if let Some(history) = object.get("history").filter(|history| is_of_turns(history)) {
        refuse_learnt(history, "history", usize::MAX)?;
    }
    match (&object["chosen"], prompt) {
        (chosen @ (Json::Array(_) | Json::Object(_)), prompt) => {
            let messages = chosen_turns(object, chosen, rejected, prompt)?;
            conversation(object, messages)
        }
        (_, Prompt::Text { raw, user }) => {
            let answer = said_string(object, "chosen")?;
            refuse_later_turns(&raw, &answer)?;
            let row = exchange(object, raw, user, answer)?;
            Ok(only_the_last_is_learnt(row))
        }
        (_, Prompt::Turns(mut messages)) => {
            messages.push(turn("assistant", said_string(object, "chosen")?));
            conversation(object, messages)
        }
        (_, Prompt::None) => {
            let chosen = said_string(object, "chosen")?;
            if rejected.is_void() {
                // Nothing in it separates the prompt from the answer.
                let (present, missing) = ("chosen", "prompt");
                return Err(SkipReason::MissingField { present, missing, keys: keys(object) });
            }
            let shared = shared_text(&chosen, rejected.as_str().unwrap_or_default());
            if shared == 0 {
                check_other_prompts(object)?;
            }
            let (prompt, completion) = chosen.split_at(shared);
            refuse_later_turns(prompt, completion)?;
            let completion = said(completion.to_owned(), || "chosen".to_owned())?;
            exchange(object, prompt.to_owned(), prompt.to_owned(), completion)
        }
    }
}

fn read_prompt(object: &Object) -> Result<Prompt, SkipReason> {
    if let Some(prompt) = object.get("prompt").filter(|prompt| !prompt.is_void()) {
        if prompt.as_array().is_some() {
            return Ok(Prompt::Turns(read_context(prompt, "prompt")?));
        }
        let raw = optional_string(object, "prompt")?;
        return Ok(Prompt::Text { user: raw.clone(), raw });
    }
    if object.get("instruction").is_none_or(Json::is_void) {
        return Ok(Prompt::None);
    }
    let instruction = said_string(object, "instruction")?;
    let input = optional_string(object, "input")?;
    let raw = instruction_prompt(&instruction, &input);
    Ok(Prompt::Text { raw, user: instruction_text(&instruction, &input) })
}

/// The turns of a chosen side that is made of turns, with its prompt in front.
fn chosen_turns(
    object: &Object,
    chosen: &Json,
    rejected: &Json,
    prompt: Prompt,
) -> Result<Vec<Message>, SkipReason> {
    let (given, chosen) = (chosen, side(chosen, "chosen")?);
    let shared = match rejected {
        Json::Array(_) if !rejected.is_void() => {
            shared_turns(&chosen, &side(rejected, "rejected")?)
        }
        _ => chosen.len() - 1,
    };
    refuse_learnt(given, "chosen", shared)?;
    let (context, answer) = chosen.split_at(shared);
    let mut messages = match prompt {
        Prompt::Turns(turns) => turns,
        Prompt::Text { user, .. } if context.is_empty() => untaught(asked(object, user)?),
        Prompt::Text { user, .. } if is_said_in(&user, context) => {
            untaught(asked(object, String::new())?)
        }
        Prompt::Text { .. } => return Err(SkipReason::OtherPrompt),
        Prompt::None => {
            if context.is_empty() {
                check_other_prompts(object)?;
            }
            untaught(asked(object, String::new())?)
        }
    };
    // Many datasets repeat the prompt in front of both sides.
    if messages.len() <= context.len() && begins_with(context, &messages) {
        messages.clear();
    }
    messages.extend(untaught(context.to_vec()));
    messages.extend_from_slice(answer);
    Ok(messages)
}

/// Turns with the answer that `chosen` gives to them (LLaMA-Factory's format), or that they end in
/// already (as where a dataset has both forms).
pub(super) fn answered(
    object: &Object,
    field: &'static str,
    messages: Vec<Message>,
) -> Result<Vec<Message>, SkipReason> {
    refuse_tie(object)?;
    let chosen = match &object["chosen"] {
        Json::String(text) => vec![turn("assistant", text.clone())],
        chosen => side(chosen, "chosen")?,
    };
    let is_same = |a: &[Message], b: &[Message]| a.len() == b.len() && begins_with(a, b);
    let ends_in_it = messages.len() >= chosen.len()
        && is_same(&messages[messages.len() - chosen.len()..], &chosen);
    if ends_in_it {
        return Ok(messages);
    }
    if messages.last().is_some_and(Message::is_assistant) {
        return Err(SkipReason::OtherAnswer { field });
    }
    let repeated = if begins_with(&chosen, &messages) { messages.len() } else { 0 };
    refuse_learnt(&object[field], field, messages.len())?;
    refuse_learnt(&object["chosen"], "chosen", repeated)?;
    let answer = &chosen[repeated..];
    let mut messages = untaught(messages);
    messages.extend_from_slice(answer);
    Ok(messages)
}

/// The turns of one side: a list of them, or a single one.
fn side(value: &Json, field: &'static str) -> Result<Vec<Message>, SkipReason> {
    match value {
        Json::Object(_) => read_turns(&Json::Array(vec![value.clone()]), field),
        _ => read_turns(value, field),
    }
}

/// Whether a list has turns, and not pairs of texts.
fn is_of_turns(list: &Json) -> bool {
    list.as_array().is_some_and(|list| list.iter().all(|item| item.as_object().is_some()))
}

/// Whether turns begin with the contents of others.
fn begins_with(turns: &[Message], others: &[Message]) -> bool {
    turns.len() >= others.len() && turns.iter().zip(others).all(|(a, b)| a.content == b.content)
}

/// Whether the turns that both sides begin with say what the prompt says, or it what they say.
fn is_said_in(prompt: &str, context: &[Message]) -> bool {
    let prompt = prompt.trim();
    let says = |turn: &Message| {
        let content = turn.content.as_deref().unwrap_or_default().trim();
        content.contains(prompt) || (!content.is_empty() && prompt.contains(content))
    };
    context.iter().any(says)
}

fn only_the_last_is_learnt(row: Row) -> Row {
    match row {
        Row::Messages(mut conversation) => {
            if let Some(answer) = conversation.messages.pop() {
                conversation.messages = untaught(conversation.messages);
                conversation.messages.push(answer);
            }
            Row::Messages(conversation)
        }
        other => other,
    }
}

/// Refuses an answer that is not preferred to the other one.
fn refuse_tie(object: &Object) -> Result<(), SkipReason> {
    let is_same = match (object.get("chosen"), object.get("rejected")) {
        (Some(Json::String(chosen)), Some(Json::String(rejected))) => {
            chosen.trim() == rejected.trim()
        }
        (chosen, rejected) => chosen == rejected,
    };
    let is_said = object.get("chosen").is_some_and(|chosen| !chosen.is_void());
    if is_same && is_said { Err(SkipReason::NoPreference) } else { Ok(()) }
}

/// Refuses an answer with text of the user in it, where prompt and answer are a transcript as in
/// Anthropic's data ("Human: ... Assistant: ...", turns apart by a blank line).
fn refuse_later_turns(prompt: &str, answer: &str) -> Result<(), SkipReason> {
    const USER: &str = "\n\nHuman:";
    const ASSISTANT: &str = "\n\nAssistant:";
    // A transcript may begin with its first speaker's name.
    let all = format!("\n\n{}{answer}", prompt.trim_start());
    if !all.starts_with(USER) {
        return Ok(());
    }
    let before = &all[..all.len() - answer.len()];
    let user_speaks = before.rfind(USER) > before.rfind(ASSISTANT);
    // Where the difference begins with the answer's own mark, the user's turn is over.
    let begins_anew = answer.trim_start().starts_with(ASSISTANT.trim_start());
    if answer.contains(USER) || (user_speaks && !begins_anew) {
        return Err(SkipReason::LaterTurns);
    }
    Ok(())
}

/// Refuses an answer that would be learnt without the prompt that stands under another name, or
/// whose prompt is missing.
fn check_other_prompts(object: &Object) -> Result<(), SkipReason> {
    if object.get("prompt") == Some(&Json::Null) {
        return Err(SkipReason::NullPrompt);
    }
    let is_there = |field: &&&str| object.get(**field).is_some_and(|value| !value.is_void());
    match OTHER_PROMPTS.iter().find(is_there) {
        Some(field) => Err(SkipReason::NoPrompt { field }),
        None => Ok(()),
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
