//! Marks in what a conversation says, to find it again in the text that a template makes of it.
//!
//! A mark is one private-use character that neither the conversation nor the template has. Marks
//! stand inside what is said, at its edges, so that a template still strips the same blanks and
//! takes the same branches; `<think>` and other tags keep standing next to what templates look for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::field::REASONING;
use crate::json::Json;
use crate::said::Message;

/// The first of those characters.
pub(super) const FIRST: char = '\u{F0000}';
/// The characters of Unicode's private planes.
const PRIVATE: [std::ops::RangeInclusive<u32>; 2] = [0xF_0000..=0xF_FFFD, 0x10_0000..=0x10_FFFD];
/// Stretches between tags of one text that have marks of their own.
const MOST_STRETCHES: usize = 64;
/// Bytes of a character beyond 16 bits in JSON of ASCII.
const ESCAPED: usize = 12;
/// Characters of the longest tag.
const MOST_TAG: usize = 48;
/// What an assistant says of its plan before it calls tools, in Cohere's templates.
const PLAN: &str = "tool_plan";

/// What a mark stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The content, without the thoughts in it.
    Content,
    /// A thought between tags in the content.
    Thought,
    /// The thought in a field of its own.
    Reasoning,
    Plan,
    Calls,
    /// An outer edge of a content that begins or ends with a tag.
    Edge,
}

/// How a message is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// Also outside of tags with which a text begins or ends.
    edges: bool,
    /// The names of called tools.
    names: bool,
    /// The texts in their arguments.
    arguments: bool,
    /// The keys of those.
    keys: bool,
}

impl Way {
    /// All ways, the one with the most marks first.
    pub const ALL: [Self; 8] = {
        const MOST: Way = Way { edges: true, names: true, arguments: true, keys: true };
        const NO_KEYS: Way = Way { keys: false, ..MOST };
        const NO_NAMES: Way = Way { names: false, ..NO_KEYS };
        const NO_CALLS: Way = Way { arguments: false, ..NO_NAMES };
        [
            MOST,
            Way { edges: false, ..MOST },
            NO_KEYS,
            Way { edges: false, ..NO_KEYS },
            NO_NAMES,
            Way { edges: false, ..NO_NAMES },
            NO_CALLS,
            Way { edges: false, ..NO_CALLS },
        ]
    };
    /// Of these, how many are tried on all messages at once before each is tried alone.
    pub const FOR_ALL: usize = 4;
}

/// The marks of one conversation.
#[derive(Debug)]
pub(super) struct Marks {
    used: BTreeSet<char>,
    next: u32,
    places: BTreeMap<char, (usize, Part)>,
}

/// Text without its marks, and where each was, in bytes, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub text: String,
    pub marks: Vec<(usize, char)>,
}

impl Marks {
    /// Marks that are none of the private-use characters of these texts.
    pub fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let used = texts.flat_map(|text| text.chars().filter(|char| *char >= FIRST)).collect();
        Self { used, next: *PRIVATE[0].start(), places: BTreeMap::new() }
    }

    /// Which turn and what in it the mark stands for.
    pub fn place(&self, mark: char) -> Option<(usize, Part)> {
        self.places.get(&mark).copied()
    }

    /// The parts of a turn that have marks.
    pub fn parts(&self, turn: usize) -> BTreeSet<Part> {
        self.places.values().filter(|(of, _)| *of == turn).map(|(_, part)| *part).collect()
    }

    /// A new mark; `None` where all characters are taken.
    fn mark(&mut self, turn: usize, part: Part) -> Option<char> {
        loop {
            let number = self.next;
            if number > *PRIVATE[1].end() {
                return None;
            }
            self.next += 1;
            let is_private = PRIVATE.iter().any(|plane| plane.contains(&number));
            let char = char::from_u32(number).filter(|char| !self.used.contains(char));
            if let Some(char) = char.filter(|_| is_private) {
                self.places.insert(char, (turn, part));
                return Some(char);
            }
        }
    }

    /// The message with marks; `None` where it says something that has none.
    pub fn put_into(&mut self, index: usize, message: &Message, way: Way) -> Option<Message> {
        let mut marked = message.clone();
        let before = self.places.len();
        if let Some(content) = &mut marked.content {
            *content = self.in_content(index, content, way)?;
        }
        for (name, value) in &mut marked.fields {
            let part = match name.as_str() {
                name if REASONING.contains(&name) => Part::Reasoning,
                PLAN => Part::Plan,
                "tool_calls" => {
                    self.in_calls(index, value, way);
                    continue;
                }
                _ => continue,
            };
            if let Json::String(text) = value {
                *text = self.in_text(index, text, part)?;
            }
        }
        let says_unmarked =
            self.places.len() == before && message.fields.contains_key("tool_calls");
        (!says_unmarked).then_some(marked)
    }

    /// Marks inside the outer blanks of a text; none in a text of blanks.
    fn in_text(&mut self, turn: usize, text: &str, part: Part) -> Option<String> {
        let core = text.trim();
        if core.is_empty() {
            return Some(text.to_owned());
        }
        let start = text.len() - text.trim_start().len();
        let (before, after) = (&text[..start], &text[start + core.len()..]);
        let (begin, end) = (self.mark(turn, part)?, self.mark(turn, part)?);
        Some(format!("{before}{begin}{core}{end}{after}"))
    }

    /// The same in each stretch between tags; with `edges`, outside of outer tags as well.
    fn in_content(&mut self, turn: usize, text: &str, way: Way) -> Option<String> {
        let core = text.trim();
        if core.is_empty() {
            return Some(text.to_owned());
        }
        let tags = tags(core);
        if tags.len() > MOST_STRETCHES {
            return self.in_text(turn, text, Part::Content);
        }
        let mut marked = String::new();
        let (mut from, mut is_thought) = (0, begins_in_thought(core));
        let mut has_marks = false;
        let end = core.len()..core.len();
        for tag in tags.iter().cloned().chain(std::iter::once(end)) {
            let part = if is_thought { Part::Thought } else { Part::Content };
            let stretch = &core[from..tag.start];
            has_marks |= !stretch.trim().is_empty();
            marked += &self.in_text(turn, stretch, part)?;
            is_thought = (is_thought || opens_thought(&core[tag.clone()]))
                && !closes_thought(&core[tag.clone()]);
            marked += &core[tag.clone()];
            from = tag.end;
        }
        let start = text.len() - text.trim_start().len();
        if way.edges {
            if tags.first().is_some_and(|tag| tag.start == 0) {
                marked.insert(0, self.mark(turn, Part::Edge)?);
            }
            if tags.last().is_some_and(|tag| tag.end == core.len()) {
                marked.push(self.mark(turn, Part::Edge)?);
            }
        } else if !has_marks {
            return None;
        }
        Some(format!("{}{marked}{}", &text[..start], &text[start + core.len()..]))
    }

    /// Called tools' names and the texts in their arguments.
    fn in_calls(&mut self, turn: usize, calls: &mut Json, way: Way) {
        let Json::Array(calls) = calls else { return };
        for call in calls {
            let Json::Object(call) = call else { continue };
            // Some datasets leave the outer object out.
            let function = match call.get_mut("function") {
                Some(Json::Object(function)) => function,
                _ => call,
            };
            if way.names
                && let Some(Json::String(name)) = function.get_mut("name")
                && let Some(marked) = self.in_text(turn, name, Part::Calls)
            {
                *name = marked;
            }
            if way.arguments
                && let Some(arguments) = function.get_mut("arguments")
            {
                self.in_values(turn, arguments, way);
            }
        }
    }

    fn in_values(&mut self, turn: usize, value: &mut Json, way: Way) {
        match value {
            Json::String(text) => {
                if let Some(marked) = self.in_text(turn, text, Part::Calls) {
                    *text = marked;
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.in_values(turn, item, way)),
            Json::Object(fields) => {
                for (key, mut value) in std::mem::take(fields) {
                    let marked = way.keys.then(|| self.in_text(turn, &key, Part::Calls)).flatten();
                    self.in_values(turn, &mut value, way);
                    fields.insert(marked.unwrap_or(key), value);
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    /// The message with a mark after every character of its content, to see whether a part of it
    /// is written whose edges are not.
    pub fn put_densely(&mut self, index: usize, message: &Message) -> Message {
        let mut marked = message.clone();
        if let Some(content) = &mut marked.content {
            let chars = content.trim_end().chars();
            let dense = chars.flat_map(|char| [Some(char), self.mark(index, Part::Content)]);
            *content = dense.flatten().collect();
        }
        marked
    }

    /// Takes the marks out of a text, and `others` with them.
    pub fn find(&self, marked: &str, others: &[char]) -> Found {
        let mut found = Found { text: String::with_capacity(marked.len()), marks: Vec::new() };
        let mut rest = marked;
        while let Some(char) = rest.chars().next() {
            let (char, length) = escaped(rest)
                .filter(|char| self.places.contains_key(char))
                .map_or((char, char.len_utf8()), |char| (char, ESCAPED));
            rest = &rest[length..];
            if self.places.contains_key(&char) {
                found.marks.push((found.text.len(), char));
            } else if !others.contains(&char) {
                found.text.push(char);
            }
        }
        found
    }
}

/// The character with which a text begins, where it is written as two escapes: what JSON in ASCII makes of
/// a mark.
fn escaped(text: &str) -> Option<char> {
    let unit = |text: &str| u16::from_str_radix(text.strip_prefix("\\u")?, 16).ok();
    let units = [unit(text.get(..6)?)?, unit(text.get(6..ESCAPED)?)?];
    String::from_utf16(&units).ok()?.chars().next()
}

/// `<think>`, `</s>`, `<|im_end|>`, `[INST]`: what templates look for in a content.
fn tags(text: &str) -> Vec<Range<usize>> {
    let mut tags = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find(['<', '[']) {
        let start = from + open;
        let length = tag_len(&text[start..]);
        if let Some(length) = length {
            tags.push(start..start + length);
        }
        from = start + length.unwrap_or(1);
    }
    tags
}

fn tag_len(text: &str) -> Option<usize> {
    let is_angled = text.starts_with('<');
    let close = if is_angled { '>' } else { ']' };
    let inside = &text[1..];
    let is_part = |char: char| {
        if is_angled {
            !char.is_whitespace() && char != '<'
        } else {
            char.is_ascii_uppercase() || char == '_' || char == '/'
        }
    };
    for (count, (at, char)) in inside.char_indices().enumerate() {
        if char == close {
            return (count > 0).then_some(1 + at + 1);
        }
        if count >= MOST_TAG || !is_part(char) {
            return None;
        }
    }
    None
}

fn opens_thought(tag: &str) -> bool {
    matches!(tag, "<think>" | "<thinking>" | "<thought>" | "[THINK]")
}

fn closes_thought(tag: &str) -> bool {
    matches!(tag, "</think>" | "</thinking>" | "</thought>" | "[/THINK]")
}

/// The opening tag may have been in the prompt.
fn begins_in_thought(text: &str) -> bool {
    let mut found = tags(text).into_iter().map(|tag| &text[tag]);
    found.find(|tag| opens_thought(tag) || closes_thought(tag)).is_some_and(closes_thought)
}
