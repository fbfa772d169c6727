//! Single values: numbers within limits, words from a list, texts, truth values.

use std::fmt::Display;

use super::findings::Findings;
use super::keys;
use super::yaml::{Node, Value};
use crate::limits::Limits;
use crate::mistake::{Mistake, most_similar};

/// The mistake of a value that is not `expected`.
pub(crate) fn wrong_type(what: &str, expected: &dyn Display, node: &Node) -> Mistake {
    Mistake::WrongType {
        what: what.to_owned(),
        expected: expected.to_string(),
        found: node.describe(),
        help: None,
    }
}

/// A number within limits.
pub(crate) fn number(
    what: &str,
    node: &Node,
    limits: Limits,
    findings: &mut Findings,
) -> Option<f64> {
    let value = match node.value {
        Value::Int(value) => value as f64,
        Value::Float(value) => value,
        _ => {
            let mut mistake = wrong_type(what, &limits, node);
            if let (Mistake::WrongType { help, .. }, Value::Text(text)) =
                (&mut mistake, &node.value)
                && text.parse::<f64>().is_ok_and(f64::is_finite)
            {
                *help = Some("write it without quotes");
            }
            return findings.mistake(node.place, mistake);
        }
    };
    if limits.contains(value) {
        return Some(value);
    }
    let found = node.raw.clone();
    let required = limits.to_string();
    findings.mistake(node.place, Mistake::OutOfRange { what: what.to_owned(), required, found })
}

/// A whole number within limits that fit `u32`.
pub(crate) fn whole(
    what: &str,
    node: &Node,
    limits: Limits,
    findings: &mut Findings,
) -> Option<u32> {
    number(what, node, limits.within_u32(), findings).map(|value| value as u32)
}

/// A seed: a whole number from 0 on that is exact as a double.
pub(crate) fn seed(what: &str, node: &Node, findings: &mut Findings) -> Option<u64> {
    number(what, node, Limits::SEED, findings).map(|value| value as u64)
}

/// `true` or `false`.
pub(crate) fn truth(what: &str, node: &Node, findings: &mut Findings) -> Option<bool> {
    match node.value {
        Value::Bool(value) => Some(value),
        _ => findings.mistake(node.place, wrong_type(what, &"true or false", node)),
    }
}

/// A text. Numbers and truth values count as the text they are written with: a sweep may be named
/// `2024`.
pub(crate) fn text(
    what: &str,
    expected: &str,
    node: &Node,
    findings: &mut Findings,
) -> Option<String> {
    match &node.value {
        Value::Text(value) => Some(value.clone()),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => Some(node.raw.clone()),
        Value::Null | Value::List(_) | Value::Map(_) => {
            findings.mistake(node.place, wrong_type(what, &expected, node))
        }
    }
}

/// A word from a list of `(word, meaning)`; `kind` says in words what kind of name it is.
pub(crate) fn word<T: Copy>(
    what: &str,
    kind: &'static str,
    words: &[(&'static str, T)],
    node: &Node,
    findings: &mut Findings,
) -> Option<T> {
    let found = text(what, &format!("a {kind}"), node, findings)?;
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == found) {
        return Some(*meaning);
    }
    let known: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
    let similar = keys::alias(&found, &known).or_else(|| most_similar(&found, &known));
    findings.mistake(node.place, Mistake::UnknownName { what: kind, found, similar, known })
}
