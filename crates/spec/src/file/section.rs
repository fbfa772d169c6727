//! A section of the file: a mapping whose keys are checked against the known ones.

use super::findings::Findings;
use super::keys;
use super::scalar::{self, wrong_type};
use super::sections::{self, Takes};
use super::yaml::{Key, Node, Value};
use crate::error::Place;
use crate::limits::Limits;
use crate::mistake::Mistake;

/// A section with known keys only, each at most once.
pub(crate) struct Section<'a> {
    /// Keys that lead here, joined by dots; empty for the top level.
    name: String,
    /// Where a missing key is reported: the section's own key.
    pub place: Place,
    /// No key had to be left out.
    pub clean: bool,
    entries: Vec<(&'a Key, &'a Node)>,
}

impl<'a> Section<'a> {
    /// Reports unknown and repeated keys and leaves them out. An empty value is an empty section.
    pub fn open(
        name: impl Into<String>,
        node: &'a Node,
        known: &[&'static str],
        findings: &mut Findings,
    ) -> Option<Self> {
        let name = name.into();
        let all = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ if name.is_empty() => {
                let mistake = wrong_type("the file", &"a section with keys", node);
                return findings.mistake(node.place, mistake);
            }
            _ => {
                let mistake = wrong_type(&name, &"a section with keys", node);
                return findings.mistake(node.place, mistake);
            }
        };
        let mut entries: Vec<(&Key, &Node)> = Vec::with_capacity(all.len());
        for (key, value) in all {
            if let Some((first, _)) = entries.iter().find(|(k, _)| k.name == key.name) {
                let mistake =
                    Mistake::DuplicateKey { key: key.name.clone(), first_line: first.place.line };
                findings.mistake::<()>(key.place, mistake);
            } else if known.contains(&key.name.as_str()) {
                entries.push((key, value));
            } else {
                findings.mistake::<()>(key.place, keys::unknown(&key.name, &name, known));
            }
        }
        Some(Self { name, place: node.place, clean: entries.len() == all.len(), entries })
    }

    /// The value of a key that is given and not empty.
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.given(key).map(|(_, node)| node)
    }

    /// A key that is given and not empty, with its value.
    pub fn given(&self, key: &str) -> Option<(&'a Key, &'a Node)> {
        self.entry(key).filter(|(_, node)| node.value != Value::Null)
    }

    /// A key that stands here, with its value, even an empty one.
    pub fn entry(&self, key: &str) -> Option<(&'a Key, &'a Node)> {
        self.entries.iter().find(|(k, _)| k.name == key).copied()
    }

    /// The value of a key that must be given; `example` is a line to write.
    pub fn require(
        &self,
        key: &'static str,
        example: &'static str,
        findings: &mut Findings,
    ) -> Option<&'a Node> {
        if let Some(node) = self.get(key) {
            return Some(node);
        }
        let place = self.entry(key).map_or(self.place, |(key, _)| key.place);
        let section = keys::in_words(&self.name);
        findings.mistake(place, Mistake::MissingKey { key, section, example })
    }

    /// Reads an optional key with `read`, which is given the setting's full name.
    pub fn read<T>(
        &self,
        key: &str,
        findings: &mut Findings,
        read: impl FnOnce(&str, &Node, &mut Findings) -> Option<T>,
    ) -> Option<T> {
        self.get(key).and_then(|node| read(&self.full(key), node, findings))
    }

    /// An optional whole number within the limits of its row.
    pub fn whole(&self, key: &'static str, findings: &mut Findings) -> Option<u32> {
        let limits = self.limits(key);
        self.read(key, findings, |what, node, findings| scalar::whole(what, node, limits, findings))
    }

    /// An optional number within the limits of its row.
    pub fn number(&self, key: &'static str, findings: &mut Findings) -> Option<f64> {
        let limits = self.limits(key);
        self.read(key, findings, |what, node, findings| {
            scalar::number(what, node, limits, findings)
        })
    }

    fn limits(&self, key: &str) -> Limits {
        match sections::find(&self.name, key).map(|setting| &setting.takes) {
            Some(Takes::Whole(limits) | Takes::Number(limits)) => *limits,
            other => unreachable!("`{}` is read as a number, but is {other:?}", self.full(key)),
        }
    }

    /// The full name of a key of this section.
    pub fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// The keys that are given, with their values, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&'a Key, &'a Node)> {
        self.entries.iter().copied()
    }
}
