//! Numbers in texts.

use std::sync::LazyLock;

use regex::Regex;

/// Digits with or without thousands commas, a decimal point, an exponent.
static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+")
        .ok()
});

/// The mark in front of GSM8K's answers.
const ANSWER: &str = "####";

/// The number that a text ends with: the first one after its last `####` (the form of GSM8K, Cobbe et
/// al. 2021, arXiv:2110.14168), else its last one.
pub fn last_number(text: &str) -> Option<f64> {
    if let Some((_, answer)) = text.rsplit_once(ANSWER)
        && let Some(number) = numbers(answer).next()
    {
        return Some(number);
    }
    numbers(text).last()
}

/// All numbers of a text. A minus right behind a letter, a digit or a closing bracket is a dash.
fn numbers(text: &str) -> impl Iterator<Item = f64> {
    let found = NUMBER.as_ref().into_iter().flat_map(move |number| number.find_iter(text));
    found.filter_map(move |found| {
        let value: f64 = found.as_str().replace(',', "").parse().ok()?;
        let before = text[..found.start()].trim_end_matches(['$', '€', '£']);
        let before = before.strip_suffix('-').or_else(|| before.strip_suffix('\u{2212}'));
        let is_negative = before.is_some_and(|before| {
            !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | ']' | '-'))
        });
        Some(if is_negative { -value } else { value })
    })
}

/// 1 where both texts end with the same number, or with two that are at most `tolerance` apart.
pub fn number_match(output: &str, reference: &str, tolerance: f64) -> f64 {
    match (last_number(output), last_number(reference)) {
        (Some(ours), Some(theirs)) => {
            // Infinities of overlong exponents equal each other.
            f64::from(u8::from(ours == theirs || (ours - theirs).abs() <= tolerance))
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_counts_unless_there_is_a_marked_answer() {
        assert_eq!(last_number("3 apples and 4 pears make 7."), Some(7.0));
        assert_eq!(last_number("3 + 4 = 7\n#### 7\nI checked it 2 times"), Some(7.0));
        assert_eq!(last_number("#### none, but 5"), Some(5.0));
        assert_eq!(last_number("no number"), None);
    }

    #[test]
    fn thousands_currency_percent_and_exponents_are_read() {
        assert_eq!(last_number("it costs $1,234,567.50"), Some(1_234_567.5));
        assert_eq!(last_number("-$20"), Some(-20.0));
        assert_eq!(last_number("grew by 12%"), Some(12.0));
        assert_eq!(last_number("about 1.5e-3"), Some(0.0015));
        assert_eq!(last_number("it is .25"), Some(0.25));
        assert_eq!(last_number("1,2"), Some(2.0));
    }

    #[test]
    fn a_dash_is_no_minus() {
        assert_eq!(last_number("pages 3-4"), Some(4.0));
        assert_eq!(last_number("x = -4"), Some(-4.0));
        assert_eq!(last_number("(\u{2212}4)"), Some(-4.0));
    }

    #[test]
    fn numbers_within_the_tolerance_match() {
        assert_eq!(number_match("about 3.14", "3.1416", 0.01), 1.0);
        assert_eq!(number_match("about 3.14", "3.1416", 0.0), 0.0);
        assert_eq!(number_match("7.00", "#### 7", 0.0), 1.0);
        assert_eq!(number_match("", "7", 0.0), 0.0);
    }
}
