//! Where a text has what the assistant says, for templates that do not mark it themselves.
//!
//! Marks in what everybody says give the places. A turn's targets begin where the text leaves the
//! generation prompt that the turn answers to, and end where the template ends the turn when
//! nothing follows it. What lies between two marks of different turns is the template's own text, so
//! a comparison there cannot mistake a message's words for it.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Turns;
use super::marks::{Found, Marks, Part, Way};
use crate::said::Message;
use crate::skip::SkipReason;
use crate::unwritten::Kind;

/// A conversation with marks in it, and its text.
pub(super) struct Marked<'a> {
    turns: &'a Turns<'a>,
    marks: Marks,
    messages: Vec<Message>,
    found: Found,
}

impl<'a> Marked<'a> {
    /// Marks the conversation whose text is `text`, each message in the way with the most marks
    /// that leaves the text as it is.
    pub fn new(turns: &'a Turns<'a>, text: &str) -> Result<Self, SkipReason> {
        for way in &Way::ALL[..Way::FOR_ALL] {
            let ways = vec![Some(*way); turns.conversation.messages.len()];
            if let Some(marked) = Self::in_ways(turns, &ways, text)? {
                return Ok(marked);
            }
        }
        let mut ways = Vec::new();
        for index in 0..turns.conversation.messages.len() {
            ways.push(Some(Self::way_of(turns, index, text)?));
        }
        Self::in_ways(turns, &ways, text)?.ok_or_else(|| turns.rewrites(0))
    }

    fn way_of(turns: &'a Turns<'a>, index: usize, text: &str) -> Result<Way, SkipReason> {
        let mut ways = vec![None; turns.conversation.messages.len()];
        for way in Way::ALL {
            ways[index] = Some(way);
            if Self::in_ways(turns, &ways, text)?.is_some() {
                return Ok(way);
            }
        }
        Err(turns.rewrites(index))
    }

    /// `None` where the marks change what the template writes.
    fn in_ways(
        turns: &'a Turns<'a>,
        ways: &[Option<Way>],
        text: &str,
    ) -> Result<Option<Self>, SkipReason> {
        let mut marks = Marks::new(turns.texts().iter().map(String::as_str));
        let mut messages = Vec::with_capacity(ways.len());
        for (index, (message, way)) in turns.conversation.messages.iter().zip(ways).enumerate() {
            let marked = match way {
                Some(way) => marks.put_into(index, message, *way),
                None => Some(message.clone()),
            };
            let Some(marked) = marked else { return Ok(None) };
            messages.push(marked);
        }
        let Some(written) = turns.attempt(&messages, false)? else { return Ok(None) };
        let found = marks.find(&written, turns.block_marks());
        let is_same = found.text == text;
        Ok(is_same.then_some(Self { turns, marks, messages, found }))
    }

    /// The places of all marks in the text, with their turns.
    pub fn places(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let turn = |mark| self.marks.place(mark).map_or(usize::MAX, |(turn, _)| turn);
        self.found.marks.iter().map(move |(at, mark)| (*at, turn(*mark)))
    }

    /// The parts of a turn that the text has not.
    pub fn unwritten(&self, turn: usize, message: &Message) -> Vec<Kind> {
        let mut parts = self.marks.parts(turn);
        parts.remove(&Part::Edge);
        let marks = self.found.marks.iter().filter_map(|(_, mark)| self.marks.place(*mark));
        let written: BTreeSet<Part> =
            marks.filter(|(of, _)| *of == turn).map(|(_, part)| part).collect();
        let kinds = parts.difference(&written).map(|part| match part {
            Part::Content | Part::Edge => Kind::Content { role: message.role.clone() },
            Part::Thought => Kind::Thoughts,
            Part::Reasoning => Kind::Reasoning,
            Part::Plan => Kind::ToolPlan,
            Part::Calls => Kind::ToolCalls,
        });
        kinds.collect()
    }

    /// Those of a template's own blocks that belong to turns that are to be learnt. A block in which
    /// nobody says anything belongs to the turn before it.
    pub fn of_targets(&self, blocks: Vec<Range<usize>>) -> Result<Vec<Range<usize>>, SkipReason> {
        let messages = &self.turns.conversation.messages;
        let count = blocks.len();
        let mut speaker = None;
        let mut kept = Vec::new();
        for block in blocks {
            let inside = self.places().filter(|(at, _)| block.start <= *at && *at <= block.end);
            let mut speakers = inside
                .map(|(_, turn)| turn)
                .filter(|turn| messages.get(*turn).is_some_and(Message::is_assistant))
                .collect::<BTreeSet<usize>>();
            speaker = speakers.pop_first().or(speaker);
            let (Some(turn), true) = (speaker, speakers.is_empty()) else {
                let turns = messages.iter().filter(|turn| turn.is_assistant()).count();
                return Err(SkipReason::UnknownTurn { blocks: count, turns });
            };
            if messages[turn].is_target {
                kept.push(block);
            }
        }
        Ok(kept)
    }

    /// The byte ranges of what is to be learnt.
    pub fn spans(&self) -> Result<Vec<Range<usize>>, SkipReason> {
        self.check_others()?;
        let mut spans: Vec<Range<usize>> = Vec::new();
        let conversation = self.turns.conversation;
        for (index, turn) in conversation.messages.iter().enumerate() {
            if !turn.is_target {
                continue;
            }
            for mut span in self.spans_of(index)? {
                let before = spans.last().map_or(0, |span| span.end);
                span.start = span.start.max(before);
                let is_inside =
                    |(at, of): (usize, usize)| of != index && span.start < at && at < span.end;
                if span.start > span.end || self.places().any(is_inside) {
                    return Err(self.turns.rewrites(index));
                }
                if !span.is_empty() {
                    spans.push(span);
                }
            }
        }
        Ok(spans)
    }

    /// That of the others' messages the text has each wholly or not at all.
    fn check_others(&self) -> Result<(), SkipReason> {
        let messages = &self.turns.conversation.messages;
        let mut marks = Marks::new(self.turns.texts().iter().map(String::as_str));
        let mut dense = self.turns.conversation.messages.clone();
        let mut is_any = false;
        for (index, message) in messages.iter().enumerate() {
            let says = message.content.as_ref().is_some_and(|text| !text.trim().is_empty());
            let is_written = self.places().any(|(_, turn)| turn == index);
            if !message.is_target && says && !is_written {
                dense[index] = marks.put_densely(index, message);
                is_any = true;
            }
        }
        if !is_any {
            return Ok(());
        }
        let Some(written) = self.turns.attempt(&dense, false)? else { return Ok(()) };
        let found = marks.find(&written, &[]);
        let partly = found.marks.iter().find_map(|(_, mark)| marks.place(*mark));
        partly.map_or(Ok(()), |(turn, _)| Err(self.turns.rewrites(turn)))
    }

    /// Of one turn: one for each stretch of its marks, since some templates write the results of
    /// its calls before its last words; none where the text has nothing that is said in it.
    fn spans_of(&self, index: usize) -> Result<Vec<Range<usize>>, SkipReason> {
        let marks = &self.found.marks;
        let is_own = |mark: char| self.marks.place(mark).is_some_and(|(turn, _)| turn == index);
        let is_last = index + 1 == self.messages.len();
        let until = if is_last { Some(self.found.clone()) } else { self.write(index + 1, false)? };
        let (prompt, bare) = (self.write(index, true)?, self.write(index, false)?);
        let turn = Turn { index, until, prompt, bare };
        // A tool's name may be written again in front of its result.
        let mut seen = BTreeSet::new();
        let own = marks.iter().enumerate().filter(|(_, (_, mark))| is_own(*mark));
        let own: Vec<usize> =
            own.filter(|(_, (_, mark))| seen.insert(*mark)).map(|(at, _)| at).collect();
        let is_one = |a: &usize, b: &usize| marks[*a..*b].iter().all(|(_, mark)| is_own(*mark));
        let mut spans = Vec::new();
        for stretch in own.chunk_by(is_one) {
            let (from, to) = (stretch[0], stretch[stretch.len() - 1]);
            let start = if spans.is_empty() { self.start(from, &turn)? } else { marks[from].0 };
            let end = self.end(to, own.last() == Some(&to), &turn)?;
            spans.push(start..end.max(start));
        }
        if own.is_empty() && self.marks.parts(index).is_empty() {
            spans.extend(self.blank_turn(&turn));
        }
        Ok(spans)
    }

    /// A turn in which nothing is said but blanks, where the text begins with the conversation up to it.
    fn blank_turn(&self, turn: &Turn) -> Option<Range<usize>> {
        let [prompt, until] = [&turn.prompt, &turn.until].map(Option::as_ref);
        let (prompt, until) = (&prompt?.text, &until?.text);
        let text = &self.found.text;
        let is_beginning = until.starts_with(prompt.as_str()) && text.starts_with(until.as_str());
        let span = prompt.len()..until.len();
        let is_free = self.places().all(|(at, _)| at <= span.start || span.end <= at);
        (is_beginning && is_free).then_some(span)
    }

    /// The first messages as text; `None` where the template refuses them.
    fn write(
        &self,
        count: usize,
        add_generation_prompt: bool,
    ) -> Result<Option<Found>, SkipReason> {
        let written = self.turns.attempt(&self.messages[..count], add_generation_prompt)?;
        Ok(written.map(|text| self.marks.find(&text, self.turns.block_marks())))
    }

    /// Where the turn whose first mark is `first` leaves the generation prompt.
    fn start(&self, first: usize, turn: &Turn) -> Result<usize, SkipReason> {
        let Found { text, marks } = &self.found;
        let first_at = marks[first].0;
        let previous = first.checked_sub(1).map(|before| marks[before]);
        let from = previous.map_or(0, |(at, _)| at);
        let prompt = turn.prompt.as_ref();
        let tail = prompt.and_then(|prompt| after_last(prompt, previous.map(|(_, mark)| mark)));
        let shared = tail
            .filter(|tail| !tail.is_empty() || previous.is_some())
            .filter(|tail| text[from..].starts_with(tail))
            .map(|tail| from + tail.len());
        if let (Some(shared), Some(_)) = (shared, turn.generation_prompt()) {
            return Ok(shared);
        }
        // The template asks for nothing here, or writes the turn's header differently.
        let gap = &text[shared.unwrap_or(from).min(first_at)..first_at];
        let header = match turn.generation_prompt() {
            Some(generation) => header_end(gap, generation),
            None => self
                .usual_generation_prompt()?
                .filter(|usual| shared.is_none() || gap.contains(usual))
                .and_then(|usual| header_end(gap, &usual)),
        };
        Ok(header.map_or(shared.unwrap_or(first_at), |end| first_at - gap.len() + end))
    }

    /// The generation prompt at the end of the conversation, or before its first answer.
    fn usual_generation_prompt(&self) -> Result<Option<String>, SkipReason> {
        let all = self.messages.len();
        let first = self.messages.iter().position(Message::is_assistant).unwrap_or(0);
        for count in [all, first] {
            let (prompt, bare) = (self.write(count, true)?, self.write(count, false)?);
            if let Some(found) = generation_prompt(prompt.as_ref(), bare.as_ref()) {
                return Ok(Some(found.to_owned()));
            }
        }
        Ok(None)
    }

    /// Where the template ends what has the mark `anchor`: the turn, where `is_last`, or a part of it.
    fn end(&self, anchor: usize, is_last: bool, turn: &Turn) -> Result<usize, SkipReason> {
        let Found { text, marks } = &self.found;
        let is_own = |mark: char| self.marks.place(mark).is_some_and(|(of, _)| of == turn.index);
        let (at, mark) = marks[anchor];
        let next = marks[anchor..].iter().find(|(_, mark)| !is_own(*mark));
        let rest = &text[at..next.map_or(text.len(), |(at, _)| *at)];
        let mut tails: Vec<String> = Vec::new();
        if let Some(tail) = turn.until.as_ref().and_then(|until| after_last(until, Some(mark))) {
            tails.push(tail.to_owned());
        }
        let is_whole = |tail: &String| !tail.is_empty() && rest.starts_with(tail.as_str());
        if is_last && !tails.iter().any(is_whole) {
            // Some templates end the very last turn in another way.
            let going_on = self.write(turn.index + 1, true)?;
            if let Some(tail) = going_on.as_ref().and_then(|found| after_last(found, Some(mark)))
                && let Some(generation) = turn.generation_prompt()
                && let Some(tail) = tail.strip_suffix(generation)
            {
                tails.push(tail.to_owned());
            }
            if let (Some(message), Some((at, _))) = (self.messages.last(), marks.last())
                && message.is_assistant()
            {
                tails.push(text[*at..].to_owned());
            }
        }
        let lengths = tails.iter().map(|tail| common(rest, tail).len());
        Ok(at + lengths.max().unwrap_or(0))
    }
}

/// How a template writes a conversation around one turn; `None` where it refuses to.
struct Turn {
    index: usize,
    /// Up to the turn and with it.
    until: Option<Found>,
    /// Up to the turn, with the generation prompt.
    prompt: Option<Found>,
    /// The same without it.
    bare: Option<Found>,
}

impl Turn {
    fn generation_prompt(&self) -> Option<&str> {
        generation_prompt(self.prompt.as_ref(), self.bare.as_ref())
    }
}

/// What follows the last of such a mark, which must be the last of all; without a mark, all.
fn after_last(found: &Found, mark: Option<char>) -> Option<&str> {
    let Some(mark) = mark else {
        return found.marks.is_empty().then_some(&found.text);
    };
    let at = found.marks.iter().rev().find(|(_, other)| *other == mark)?.0;
    Some(&found.text[at..])
}

/// What a template adds to ask for the assistant's next turn.
fn generation_prompt<'a>(prompt: Option<&'a Found>, bare: Option<&Found>) -> Option<&'a str> {
    let (prompt, bare) = (&prompt?.text, &bare?.text);
    let added = &prompt[common(prompt, bare).len()..];
    (!added.is_empty()).then_some(added)
}

/// Where, in template text before a turn, the last and longest beginning of the generation prompt
/// ends.
fn header_end(gap: &str, generation: &str) -> Option<usize> {
    let mut best = None;
    for (at, _) in gap.char_indices() {
        let length = common(&gap[at..], generation).len();
        if length > 0 && best.is_none_or(|(most, _)| length >= most) {
            best = Some((length, at + length));
        }
    }
    best.map(|(_, end)| end)
}

/// What both texts begin with, without a tag or word that they only begin alike.
fn common<'a>(a: &'a str, b: &str) -> &'a str {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    let shared = &a[..same.map(|(char, _)| char.len_utf8()).sum()];
    if shared.len() == a.len() || shared.len() == b.len() {
        return shared;
    }
    match shared.rfind(['<', '[']) {
        Some(open) if !shared[open..].contains(['>', ']', ' ', '\n']) => &shared[..open],
        _ => shared,
    }
}
