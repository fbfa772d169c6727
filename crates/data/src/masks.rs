//! Which tokens of a text are targets, by the places of the text that are learnt.

use std::ops::Range;

/// Marks the tokens that lie wholly inside one of `spans` (ascending, in bytes, as are the
/// offsets). A token that begins before its span is partly prompt: generation could not emit it.
pub(super) fn mask_of_spans(offsets: &[(usize, usize)], spans: &[Range<usize>]) -> Vec<bool> {
    let mut spans = spans.iter().peekable();
    offsets
        .iter()
        .map(|&(start, end)| {
            while spans.next_if(|span| span.end <= start).is_some() {}
            spans.peek().is_some_and(|span| span.start <= start && end <= span.end)
        })
        .collect()
}

/// Marks tokens as transformers does for a template's `{% generation %}` blocks: from the token
/// that has a block's first character to the one that has its last. Both ascend, in bytes.
pub(super) fn mask_of_blocks(offsets: &[(usize, usize)], blocks: &[Range<usize>]) -> Vec<bool> {
    let mut blocks = blocks.iter().peekable();
    offsets
        .iter()
        .map(|&(start, end)| {
            while blocks.next_if(|block| block.end <= start).is_some() {}
            blocks.peek().is_some_and(|block| block.start < end)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_the_template_has_the_tokens_of_its_first_and_last_characters() {
        let offsets = [(0, 2), (2, 5), (5, 6), (6, 9), (9, 12)];
        assert_eq!(mask_of_blocks(&offsets, &[3..6, 9..10]), [false, true, true, false, true]);
    }

    #[test]
    fn a_token_that_straddles_the_start_of_a_span_is_no_target() {
        let offsets = [(0, 2), (2, 5), (5, 6), (6, 9), (9, 12)];
        let mask = mask_of_spans(&offsets, &[0..2, 3..9, 9..10]);
        assert_eq!(mask, [true, false, true, true, false]);
    }
}
