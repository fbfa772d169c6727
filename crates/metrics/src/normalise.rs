//! What two texts may differ in and still count as equal.

use std::sync::LazyLock;

use regex::Regex;

/// What is taken out of a text before it is compared. Blanks at both ends are always ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Normalise {
    /// Upper and lower case count as equal.
    pub case: bool,
    /// A run of blanks and line ends counts as one blank.
    pub blanks: bool,
    /// ASCII punctuation is removed.
    pub punctuation: bool,
    /// The words `a`, `an` and `the` are removed.
    pub articles: bool,
}

static ARTICLES: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\b(a|an|the)\b").ok());

impl Normalise {
    /// As `SQuAD`'s evaluation script does it (Rajpurkar et al. 2016, arXiv:1606.05250).
    pub const SQUAD: Self = Self { case: true, blanks: true, punctuation: true, articles: true };

    /// The text without what is ignored, in the order of `SQuAD`'s script.
    pub fn apply(&self, text: &str) -> String {
        let mut text = if self.case { text.to_lowercase() } else { text.to_owned() };
        if self.punctuation {
            text.retain(|c| !c.is_ascii_punctuation());
        }
        if self.articles
            && let Some(articles) = ARTICLES.as_ref()
        {
            text = articles.replace_all(&text, " ").into_owned();
        }
        if self.blanks {
            return words(&text).collect::<Vec<_>>().join(" ");
        }
        text.trim_matches(is_blank).to_owned()
    }

    /// Whether both are equal in what is compared.
    pub fn equal(&self, a: &str, b: &str) -> bool {
        self.apply(a) == self.apply(b)
    }
}

/// What Python's `str.isspace` says.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// What Python's `str.split` gives.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_blank).filter(|word| !word.is_empty())
}
