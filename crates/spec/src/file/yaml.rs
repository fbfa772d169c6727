//! YAML as a tree in which every key and every value knows its place in the file.
//!
//! The tree is what makes it possible to list all mistakes of a file at once: serde stops at the
//! first value that does not fit a type, a walk over a tree does not.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    DuplicateKeyPolicy, Location, MergeKeyPolicy, NonFiniteFloatPolicy, Spanned,
    UserMessageFormatter,
};

use super::findings::Findings;
use crate::error::Place;
use crate::mistake::Mistake;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub place: Place,
    pub value: Value,
    /// A scalar's text as written, quotes included.
    pub raw: String,
}

/// What a YAML value is, by YAML 1.2's core schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The key of a mapping with its place. Keys may repeat: the reader reports that.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub name: String,
    pub place: Place,
}

impl Node {
    /// A scalar's text without its quotes.
    pub fn word(&self) -> &str {
        if let Value::Text(text) = &self.value { text } else { &self.raw }
    }

    /// The value in words, for messages: `the text "abc"`, `the number 3`, `a list`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "empty".to_owned(),
            Value::Bool(_) => format!("the truth value {}", self.raw),
            Value::Int(_) | Value::Float(_) => format!("the number {}", self.raw),
            Value::Text(text) => format!("the text {text:?}"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a section with keys".to_owned(),
        }
    }
}

/// Where a file begins.
const START: Place = Place { line: 1, column: 1, length: 1 };

/// Reads one document.
pub(crate) fn parse(text: &str, findings: &mut Findings) -> Option<Node> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // YAML 1.2 has none: `<<` is a key like any other, and one that no section knows.
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(root) => {
            let mut root = Source::new(text).node(root);
            warn_of_octals(&root, findings);
            if root.value == Value::Null {
                root.place = START;
            }
            Some(root)
        }
        Err(error) => {
            let message = error.render_with_formatter(&UserMessageFormatter);
            let place = error.location().map_or(START, |at| Place {
                line: at.line() as usize,
                column: at.column() as usize,
                length: 1,
            });
            // The place is shown beside the line; the message need not repeat it.
            let suffix = format!(" at line {}, column {}", place.line, place.column);
            let message = message.strip_suffix(&suffix).unwrap_or(&message).to_owned();
            findings.mistake(place, Mistake::Syntax { message })
        }
    }
}

/// Warns of numbers that YAML 1.1, which `PyYAML` reads, takes for octal; YAML 1.2 writes `0o10`.
fn warn_of_octals(node: &Node, findings: &mut Findings) {
    match &node.value {
        Value::Int(value) if is_octal_in_yaml_1_1(&node.raw) => {
            let digits = node.raw.trim_start_matches(['-', '+', '0']);
            let other = i128::from_str_radix(digits, 8).unwrap_or_default();
            let sign = if node.raw.starts_with('-') { "-" } else { "" };
            findings.warning(
                node.place,
                format!(
                    "`{}` is {value} in YAML 1.2; in YAML 1.1, which PyYAML reads, it is {sign}{other}",
                    node.raw
                ),
                format!("write `{value}`"),
            );
        }
        Value::List(items) => {
            for item in items {
                warn_of_octals(item, findings);
            }
        }
        Value::Map(entries) => {
            for (_, value) in entries {
                warn_of_octals(value, findings);
            }
        }
        _ => {}
    }
}

fn is_octal_in_yaml_1_1(raw: &str) -> bool {
    let digits = raw.strip_prefix(['-', '+']).unwrap_or(raw);
    let is_octal =
        |text: &str| !text.is_empty() && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    digits.strip_prefix('0').is_some_and(is_octal)
}

/// A plain scalar of digits with zeros before them, which YAML 1.2 reads as a decimal number.
fn padded_number(raw: &str) -> Option<i128> {
    let digits = raw.strip_prefix(['-', '+']).unwrap_or(raw);
    let is_padded = digits.len() > 1 && digits.starts_with('0');
    let is_number = is_padded && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| raw.trim_start_matches('+').parse().ok()).flatten()
}

/// The tree as serde builds it, before places are turned into lines and columns.
enum Raw {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Int(i128::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Int(i128::from(value)))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Int(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(i128::try_from(value).map_or(Raw::Float(value as f64), Raw::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

/// The text, by characters, to cut scalars out as they are written.
struct Source<'a> {
    /// Lines, and whether each is ASCII: there, characters are bytes and are found without counting.
    lines: Vec<(&'a str, bool)>,
}

impl<'a> Source<'a> {
    fn new(text: &'a str) -> Self {
        Self { lines: text.lines().map(|line| (line, line.is_ascii())).collect() }
    }

    fn node(&self, spanned: Spanned<Raw>) -> Node {
        let place = place_of(spanned.referenced);
        let value = match spanned.value {
            Raw::Null => Value::Null,
            Raw::Bool(value) => Value::Bool(value),
            Raw::Int(value) => Value::Int(value),
            Raw::Float(value) => Value::Float(value),
            Raw::Text(value) => match padded_number(&self.cut(place)) {
                Some(number) => Value::Int(number),
                None => Value::Text(value),
            },
            Raw::List(items) => Value::List(items.into_iter().map(|i| self.node(i)).collect()),
            Raw::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let key = Key { place: place_of(key.referenced), name: key.value };
                        let mut node = self.node(value);
                        // Nothing of an empty value or an indented section can be marked.
                        if node.place.length == 0 {
                            node.place = key.place;
                        }
                        (key, node)
                    })
                    .collect(),
            ),
        };
        Node { place, value, raw: self.cut(place) }
    }

    fn cut(&self, place: Place) -> String {
        let line = self.lines.get(place.line.saturating_sub(1));
        let (line, is_ascii) = line.copied().unwrap_or_default();
        if is_ascii {
            let start = place.column.saturating_sub(1).min(line.len());
            let end = start.saturating_add(place.length).min(line.len());
            return line[start..end].to_owned();
        }
        line.chars().skip(place.column.saturating_sub(1)).take(place.length).collect()
    }
}

fn place_of(at: Location) -> Place {
    Place {
        line: at.line() as usize,
        column: at.column() as usize,
        length: at.span().len() as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::{Node, Value, parse};
    use crate::error::Place;
    use crate::file::Findings;

    fn tree(text: &str) -> Node {
        parse(text, &mut Findings::default()).expect("the text is YAML")
    }

    fn entry(text: &str) -> Node {
        match tree(text).value {
            Value::Map(mut entries) => entries.remove(0).1,
            other => panic!("{other:?} is not a mapping"),
        }
    }

    #[test]
    fn plain_scalars_have_the_types_of_yaml_1_2() {
        for (text, value) in [
            ("a: 1e-4", Value::Float(1e-4)),
            ("a: .5", Value::Float(0.5)),
            ("a: 16", Value::Int(16)),
            ("a: 010", Value::Int(10)),
            ("a: -007", Value::Int(-7)),
            ("a: 0o10", Value::Int(8)),
            ("a: \"010\"", Value::Text("010".to_owned())),
            ("a: -3", Value::Int(-3)),
            ("a: yes", Value::Text("yes".to_owned())),
            ("a: true", Value::Bool(true)),
            ("a: 2r", Value::Text("2r".to_owned())),
            ("a: \"1\"", Value::Text("1".to_owned())),
            ("a: ~", Value::Null),
        ] {
            assert_eq!(entry(text).value, value, "{text}");
        }
    }

    #[test]
    fn a_number_that_yaml_1_1_takes_for_octal_is_warned_of() {
        let warnings = |text: &str| {
            let mut findings = Findings::default();
            parse(text, &mut findings).expect("the text is YAML");
            findings.warnings.into_iter().map(|at| at.value.message).collect::<Vec<_>>()
        };
        let found = warnings("a: [8, 010]\nb: {c: 0}\nd: 08\ne: '010'\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("`010` is 10") && found[0].ends_with("it is 8"), "{found:?}");
    }

    #[test]
    fn places_count_characters_and_keep_the_text_as_written() {
        let node = entry("\u{1F600}é: 'it''s' # why");
        assert_eq!(node.place, Place { line: 1, column: 5, length: 7 });
        assert_eq!(node.raw, "'it''s'");
    }

    #[test]
    fn an_alias_stands_where_it_is_used() {
        let Value::Map(entries) = tree("a: &x 3\nb: *x\n").value else {
            panic!("it is a mapping");
        };
        assert_eq!(entries[1].1.value, Value::Int(3));
        assert_eq!(entries[1].1.place.line, 2);
    }
}
