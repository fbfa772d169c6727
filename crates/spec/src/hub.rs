//! A model's name on a hub.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A model of the Hugging Face hub, written as `organisation/name` or `organisation/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubModel {
    /// `organisation/name`.
    pub repo: String,
    /// A branch, tag or commit; the main branch where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

impl HubModel {
    /// Reads a name; `None` for what can only be a path.
    pub fn parse(text: &str) -> Option<Self> {
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (text, None),
        };
        let (organisation, name) = repo.split_once('/')?;
        let is_word = |word: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && word.chars().all(allowed)
                && word.len() <= 96
                && !word.contains("..")
        };
        // A revision may be a branch such as `refs/pr/1`.
        let is_revision = revision.is_none_or(|text| text.split('/').all(is_word));
        (is_word(organisation) && is_word(name) && is_revision)
            .then(|| Self { repo: repo.to_owned(), revision: revision.map(str::to_owned) })
    }
}

impl fmt::Display for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_two_parts_and_perhaps_a_revision() {
        for text in ["Qwen/Qwen2.5-0.5B", "a/b@main", "a/b@refs/pr/1", "_x/b.c-d"] {
            let name = HubModel::parse(text).unwrap_or_else(|| panic!("{text} is a name"));
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn paths_are_not_names() {
        let paths = [
            "base", "./base/x", "../base", "/base/x", "a/b/c", "a/..", "a/b..c", "a/", "/a",
            "a b/c", "a/b@", "a/b@../c", "-a/b",
        ];
        for text in paths {
            assert_eq!(HubModel::parse(text), None, "{text}");
        }
    }
}
