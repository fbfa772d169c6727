//! Which tokens of a text are targets, by the places of the text that are learnt.

use std::ops::Range;

/// Marks the tokens of what is learnt as transformers does for a template's `{% generation %}`
/// blocks: from the token that has a span's first character to the one that has its last. Both
/// ascend, in bytes.
pub(super) fn mask_of_spans(offsets: &[(usize, usize)], spans: &[Range<usize>]) -> Vec<bool> {
    let mut spans = spans.iter().peekable();
    offsets
        .iter()
        .map(|&(start, end)| {
            while spans.next_if(|span| span.end <= start).is_some() {}
            spans.peek().is_some_and(|span| span.start < end)
        })
        .collect()
}

/// Whether a token has the end of what stands before a span and the span's first character.
pub(super) fn is_shared(offsets: &[(usize, usize)], spans: &[Range<usize>]) -> bool {
    let first = |span: &Range<usize>| offsets.iter().find(|(_, end)| *end > span.start);
    spans.iter().any(|span| first(span).is_some_and(|(start, _)| *start < span.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_the_tokens_of_its_first_and_last_characters() {
        let offsets = [(0, 2), (2, 5), (5, 6), (6, 9), (9, 12)];
        assert_eq!(mask_of_spans(&offsets, &[3..6, 9..10]), [false, true, true, false, true]);
    }

    #[test]
    fn a_token_that_begins_before_its_span_is_noticed() {
        let offsets = [(0, 2), (2, 5), (5, 6)];
        assert!(is_shared(&offsets, &[0..2, 3..6]));
        assert!(!is_shared(&offsets, &[0..2, 2..6]));
        assert!(!is_shared(&offsets, &[]));
    }
}
