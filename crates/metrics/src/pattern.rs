//! What a regular expression captures of an answer.

use regex::Regex;

use crate::metric::MetricError;
use crate::normalise::Normalise;

/// A regular expression; its first group, or all of it where it has none, is what is compared.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles it. The syntax is that of the crate `regex`: no lookaround, no backreferences.
    pub fn new(pattern: &str) -> Result<Self, MetricError> {
        let refused = |error: regex::Error| MetricError::Pattern {
            pattern: pattern.to_owned(),
            message: error.to_string(),
        };
        Regex::new(pattern).map(Self).map_err(refused)
    }

    /// What it captures at its last match.
    pub fn capture<'t>(&self, text: &'t str) -> Option<&'t str> {
        let last = self.0.captures_iter(text).last()?;
        last.get(1).or_else(|| last.get(0)).map(|found| found.as_str())
    }

    /// 1 where what it captures of the output equals what it captures of the reference, or the
    /// reference itself where it captures nothing there.
    pub fn score(&self, output: &str, reference: &str, normalise: &Normalise) -> f64 {
        let reference = self.capture(reference).unwrap_or(reference);
        let captured = self.capture(output);
        f64::from(u8::from(captured.is_some_and(|output| normalise.equal(output, reference))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_capture_is_compared_with_that_of_the_reference_or_with_all_of_it() {
        let answer = Pattern::new(r"answer is \(?([A-D])\)?").expect("a pattern");
        let score = |output, reference| answer.score(output, reference, &Normalise::default());
        assert_eq!(score("The answer is (A). No, the answer is B", "B"), 1.0);
        assert_eq!(score("The answer is (A).", "so the answer is A"), 1.0);
        assert_eq!(score("A", "A"), 0.0);
        assert_eq!(score("The answer is (A).", "B"), 0.0);
    }

    #[test]
    fn without_a_group_the_whole_match_is_compared() {
        let year = Pattern::new(r"\d{4}").expect("a pattern");
        assert_eq!(year.score("It was 1969.", "in 1969", &Normalise::default()), 1.0);
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_with_its_place() {
        let error = Pattern::new("(").expect_err("an open group").to_string();
        assert!(error.contains("`(`") && error.contains("unclosed group"), "{error}");
    }
}
