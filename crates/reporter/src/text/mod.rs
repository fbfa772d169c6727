//! Everything the report says, in every language it speaks.
//!
//! A text is a template with numbered places (`{0}`, `{1}`), so that a language may put them in
//! its own order. Names that people search for (`learning_rate`, `rank`, `eval_loss`, flags) are
//! the same in every language. A text without a translation does not compile.

mod page;
mod reasons;
mod words;

use std::borrow::Cow;

pub use words::Text;

/// A language of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Vietnamese.
    Vi,
}

impl Lang {
    /// Every language.
    pub const ALL: [Self; 2] = [Self::En, Self::Vi];

    /// Its code (BCP 47).
    pub const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Vi => "vi",
        }
    }

    /// The template of a text.
    pub const fn template(self, text: Text) -> &'static str {
        let (english, vietnamese) = text.templates();
        match self {
            Self::En => english,
            Self::Vi => vietnamese,
        }
    }

    /// The labels of the page by name, for its script.
    pub fn page_labels(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        page::LABELS.iter().map(move |(name, english, vietnamese)| match self {
            Self::En => (*name, *english),
            Self::Vi => (*name, *vietnamese),
        })
    }

    /// A number as the language writes it: Vietnamese has a decimal comma. What is not a number alone, such
    /// as a learning rate to be copied into a sweep file (`1.5e-4`) or a sentence, is unchanged.
    pub fn number(self, text: &str) -> Cow<'_, str> {
        let is_number = text.chars().any(|c| c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_digit() || "+-.±–()% kMG".contains(c));
        match self {
            Self::Vi if is_number && text.contains('.') => Cow::Owned(text.replace('.', ",")),
            _ => Cow::Borrowed(text),
        }
    }

    /// The text with `values` in its places.
    pub fn say(self, text: Text, values: &[&str]) -> String {
        self.fill(self.template(text), values)
    }

    fn fill(self, template: &str, values: &[&str]) -> String {
        let mut rest = template;
        let mut out = String::with_capacity(rest.len() + 16);
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let Some((place, after)) = after.split_once('}') else { break };
            let value = place.parse().ok().and_then(|at: usize| values.get(at));
            out.push_str(&self.number(value.unwrap_or(&"")));
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

/// `say!(lang, Text, value, ...)`: the text with its values, which are strings.
macro_rules! say {
    ($lang:expr, $text:ident $(, $value:expr)* $(,)?) => {
        $lang.say($crate::text::Text::$text, &[$(AsRef::<str>::as_ref(&$value)),*])
    };
}
pub(crate) use say;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn places(template: &str) -> BTreeSet<String> {
        let after = template.split('{').skip(1);
        after.filter_map(|rest| rest.split_once('}')).map(|(place, _)| place.to_owned()).collect()
    }

    #[test]
    fn both_languages_fill_the_same_places() {
        for text in Text::ALL {
            let [english, vietnamese] = Lang::ALL.map(|lang| lang.template(*text));
            assert_eq!(places(english), places(vietnamese), "{text:?}");
            let numbered = (0..places(english).len()).map(|n| n.to_string()).collect();
            assert_eq!(places(english), numbered, "{text:?} leaves out a number");
        }
    }

    #[test]
    fn every_text_is_translated() {
        for text in Text::ALL {
            let [english, vietnamese] = Lang::ALL.map(|lang| lang.template(*text));
            assert!(!english.is_empty() && !vietnamese.is_empty(), "{text:?}");
            assert_ne!(english, vietnamese, "{text:?}");
        }
        for (name, english, vietnamese) in page::LABELS {
            assert!(!english.is_empty() && !vietnamese.is_empty(), "{name}");
        }
    }

    #[test]
    fn vietnamese_numbers_have_a_decimal_comma_and_settings_stay_as_they_are_written() {
        assert_eq!(say!(Lang::Vi, BelowBase, "5.8876"), ", thấp hơn mô hình gốc một khoảng 5,8876");
        assert_eq!(say!(Lang::En, BelowBase, "5.8876"), ", 5.8876 below the base model");
        for (text, expected) in [
            ("1.4 %", "1,4 %"),
            ("0.4765 (3.6 %)", "0,4765 (3,6 %)"),
            ("3.4 M", "3,4 M"),
            ("1.5e-4", "1.5e-4"),
            ("rank 16, learning_rate 1.5e-4, lora_dropout 0.05", ""),
            ("8", "8"),
        ] {
            let expected = if expected.is_empty() { text } else { expected };
            assert_eq!(Lang::Vi.number(text), expected);
        }
    }

    #[test]
    fn fields_own_names_stay_english_in_vietnamese() {
        let vietnamese = Text::ALL.iter().map(|text| Lang::Vi.template(*text));
        for text in vietnamese.chain(page::LABELS.iter().map(|(_, _, text)| *text)) {
            for translated in ["mất mát", "quá khớp", "tốc độ học", "hạng ", "kỷ nguyên"]
            {
                assert!(!text.to_lowercase().contains(translated), "{text}");
            }
        }
    }

    #[test]
    fn values_stand_where_the_language_wants_them() {
        let of = |lang: Lang| say!(lang, RunsOf, "3", "24");
        assert_eq!(of(Lang::En), "3 of 24 runs");
        assert_eq!(of(Lang::Vi), "3/24 lượt");
    }
}
