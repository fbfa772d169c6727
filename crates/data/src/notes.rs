//! What is noticed of rows while they become tokens, counted for each file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Example;

/// How many rows something is noticed of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noticed {
    /// Rows.
    pub rows: usize,
    /// Line on which the first of them starts; 0 where there is none.
    pub first_line: u64,
}

impl Noticed {
    /// Counts the row on `line`.
    pub(super) fn add(&mut self, line: u64) {
        if self.rows == 0 {
            self.first_line = line;
        }
        self.rows += 1;
    }
}

/// What is noticed of the tokens of a file's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenNotes {
    /// Rows in which one token has the prompt's end and the completion's beginning.
    pub shared_tokens: Noticed,
    /// Rows that begin with the token that is put in front of every row; it is written once.
    pub repeated_bos: Noticed,
    /// Rows whose text ends in the end-of-sequence token, which is put behind every row; it is
    /// written once.
    pub repeated_eos: Noticed,
    /// Conversations that begin with two beginning tokens, or have two end tokens in a row.
    pub doubled: Noticed,
    /// Rows whose targets end in no end token, and that are not cut.
    pub endless: Noticed,
    /// Rows that are cut before their end token.
    pub cut_endless: Noticed,
    /// Rows that are no conversations and have none of the model's special tokens inside.
    pub raw: Noticed,
    /// Rows of more tokens than the model has positions.
    pub beyond_positions: Noticed,
    /// Rows by the token that ends their last target.
    pub ends: BTreeMap<u32, Noticed>,
}

/// What is noticed of one row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RowNotes {
    pub shares_token: bool,
    pub repeats_bos: bool,
    pub repeats_eos: bool,
    pub is_doubled: bool,
    /// The special token that ends the targets, blanks behind it not counted.
    pub end: Option<u32>,
    /// No special token but those that every row has.
    pub is_raw: bool,
}

impl TokenNotes {
    /// Counts a row's notes.
    pub(super) fn add(&mut self, line: u64, notes: RowNotes, is_cut: bool) {
        let counts = [
            (&mut self.shared_tokens, notes.shares_token),
            (&mut self.repeated_bos, notes.repeats_bos),
            (&mut self.repeated_eos, notes.repeats_eos),
            (&mut self.doubled, notes.is_doubled),
            (&mut self.raw, notes.is_raw),
            (&mut self.endless, notes.end.is_none() && !is_cut),
            (&mut self.cut_endless, notes.end.is_none() && is_cut),
        ];
        for (count, _) in counts.into_iter().filter(|(_, is_so)| *is_so) {
            count.add(line);
        }
        if let Some(end) = notes.end {
            self.ends.entry(end).or_default().add(line);
        }
    }
}

/// The token that ends a row's last target: a special one, behind which at most blanks are
/// targets (templates write a line end behind a turn's end token).
pub(super) fn end_token(
    example: &Example,
    is_special: impl Fn(u32) -> bool,
    is_blank: impl Fn(u32) -> bool,
) -> Option<u32> {
    let tokens = example.input_ids.iter().zip(&example.loss_mask).rev();
    let targets = tokens.skip_while(|(_, is_target)| !**is_target).take_while(|(_, t)| **t);
    let mut ends = targets.map(|(id, _)| *id).skip_while(|id| !is_special(*id) && is_blank(*id));
    ends.next().filter(|id| is_special(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(ids: &[u32], targets: &[u8]) -> Example {
        let loss_mask = targets.iter().map(|target| *target == 1).collect();
        Example { input_ids: ids.to_vec(), loss_mask }
    }

    /// 1 is special, 9 a blank.
    fn end(ids: &[u32], targets: &[u8]) -> Option<u32> {
        end_token(&example(ids, targets), |id| id == 1, |id| id == 9)
    }

    #[test]
    fn a_row_ends_in_the_special_token_behind_which_only_blanks_are_learnt() {
        assert_eq!(end(&[5, 6, 1], &[0, 1, 1]), Some(1));
        assert_eq!(end(&[5, 6, 1, 9, 9], &[0, 1, 1, 1, 1]), Some(1));
        assert_eq!(end(&[5, 6, 1, 9, 7, 7], &[0, 1, 1, 0, 0, 0]), Some(1));
    }

    #[test]
    fn a_row_whose_last_target_is_a_word_has_no_end() {
        assert_eq!(end(&[1, 5, 6], &[0, 1, 1]), None);
        assert_eq!(end(&[5, 1, 6, 9], &[0, 1, 1, 1]), None);
        assert_eq!(end(&[5, 6, 1], &[0, 1, 0]), None);
    }
}
