//! What the reference file says of each key: the comment above it.

use std::collections::BTreeMap;

use crate::example::example;
use crate::file::sections::{self, Takes};

/// The comments of the reference file, by the full names of the keys below them.
pub(super) struct Reference(BTreeMap<String, String>);

impl Reference {
    /// Reads the file that `init` writes. A key in a comment counts: it is one that is not given.
    pub fn read() -> Self {
        let mut of = BTreeMap::new();
        let (mut words, mut section) = (Vec::new(), String::new());
        for line in example().lines() {
            let indent = line.len() - line.trim_start().len();
            if indent == 0 && !line.starts_with('#') {
                section.clear();
            }
            let is_comment = line.trim_start().starts_with('#');
            let text = line.trim_start_matches([' ', '#']);
            match key(text, &section) {
                Some(key) => {
                    let is_section = opens(&key) && text.trim_end().ends_with(':');
                    of.entry(key.clone()).or_insert_with(|| std::mem::take(&mut words).join(" "));
                    words.clear();
                    if is_section {
                        section = key;
                    }
                }
                None if is_comment && !text.trim().is_empty() => words.push(text.trim().to_owned()),
                None => words.clear(),
            }
            if line.is_empty() {
                section.clear();
            }
        }
        Self(of)
    }

    /// The words on the key with this full name, if there are any.
    pub fn of(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|words| !words.is_empty())
    }

    /// The full names of all keys that the file shows.
    #[cfg(test)]
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The full name of the key that a line gives.
fn key(text: &str, section: &str) -> Option<String> {
    let (name, rest) = text.split_once(':')?;
    let is_written = rest.is_empty() || rest.starts_with(' ');
    let known = sections::find(section, name).filter(|_| is_written)?;
    Some(if section.is_empty() { known.name.to_owned() } else { format!("{section}.{name}") })
}

fn opens(key: &str) -> bool {
    let setting = sections::find("", key).map(|setting| &setting.takes);
    let is_section = |takes: &Takes| matches!(takes, Takes::Section(_) | Takes::Parameters);
    match setting {
        Some(Takes::AnyOf(several)) => several.iter().any(is_section),
        Some(takes) => is_section(takes),
        None => false,
    }
}
