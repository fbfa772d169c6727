//! Sequences that begin alike compute their beginning once.
//!
//! What a causal model makes of a token depends on the tokens before it alone. The sequences of an
//! adapter that begin with the same tokens (a system prompt, an instruction) therefore share the rows
//! of these, and their gradients add up there. Only tokens without a target are shared, so that a row
//! still has one target at most.

use std::ops::Range;

use crate::backend::{Family, Rows, Target};

impl Rows {
    /// Appends some of the sequences of `from` and their families: `together`, those beside each
    /// other that begin alike share their beginning.
    pub(super) fn append(
        &mut self,
        families: &mut Vec<Family>,
        from: &Rows,
        sequences: &[Range<usize>],
        together: bool,
    ) {
        let groups = if together { groups(from, sequences) } else { each_alone(sequences) };
        for Group { shared, sequences } in groups {
            let first = sequences[0].start;
            let beginning = self.copy(from, first..first + shared);
            let own = |s: &Range<usize>| self.copy(from, s.start + shared..s.end);
            families.push(Family { beginning, sequences: sequences.iter().map(own).collect() });
        }
    }

    fn copy(&mut self, from: &Rows, rows: Range<usize>) -> Range<usize> {
        let start = self.ids.len();
        self.ids.extend_from_slice(&from.ids[rows.clone()]);
        self.positions.extend_from_slice(&from.positions[rows.clone()]);
        let end = self.ids.len();
        if end > start {
            self.sequences.push(start..end);
        }
        let targets = &from.targets[from.targets_before(rows.start)..];
        let within = targets.iter().take_while(|target| target.row < rows.end);
        let moved = |target: &Target| Target { row: target.row - rows.start + start, ..*target };
        self.targets.extend(within.map(moved));
        start..end
    }

    fn targets_before(&self, row: usize) -> usize {
        self.targets.partition_point(|target| target.row < row)
    }

    /// Tokens of a sequence that another may share: those before its first target, never all.
    fn shareable(&self, sequence: &Range<usize>) -> usize {
        let target = self.targets.get(self.targets_before(sequence.start));
        let last = sequence.end.saturating_sub(1);
        target.map_or(last, |target| target.row.min(last)).saturating_sub(sequence.start)
    }
}

/// Sequences beside each other with the same first tokens.
#[derive(Debug, PartialEq)]
struct Group<'a> {
    shared: usize,
    sequences: &'a [Range<usize>],
}

fn each_alone(sequences: &[Range<usize>]) -> Vec<Group<'_>> {
    sequences.chunks(1).map(|sequences| Group { shared: 0, sequences }).collect()
}

/// A sequence joins those before it when that leaves out as many rows as beginning anew would, or
/// more: what it has in common with them may be shorter than what they share.
fn groups<'a>(rows: &Rows, sequences: &'a [Range<usize>]) -> Vec<Group<'a>> {
    let mut groups = Vec::new();
    let mut rest = sequences;
    while let Some(first) = rest.first() {
        let (mut shared, mut count) = (rows.shareable(first), 1);
        for next in &rest[1..] {
            let most = shared.min(rows.shareable(next));
            let tokens = |s: &Range<usize>| rows.ids[s.start..s.start + most].iter();
            let common = tokens(first).zip(tokens(next)).take_while(|(a, b)| a == b).count();
            if common == 0 || common * count < shared * (count - 1) {
                break;
            }
            (shared, count) = (common, count + 1);
        }
        let (members, later) = rest.split_at(count);
        groups.push(Group { shared: if count > 1 { shared } else { 0 }, sequences: members });
        rest = later;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequences of these tokens, of which the last two are targets.
    fn rows(sequences: &[&[u32]]) -> Rows {
        let mut rows = Rows::default();
        for ids in sequences {
            let mask: Vec<bool> = (0..ids.len()).map(|i| i + 2 >= ids.len()).collect();
            rows.push(ids, &mask, 1.0);
        }
        rows
    }

    fn folded(sequences: &[&[u32]], together: bool) -> (Rows, Vec<Family>) {
        let from = rows(sequences);
        let (mut to, mut families) = (Rows::default(), Vec::new());
        to.append(&mut families, &from, &from.sequences, together);
        (to, families)
    }

    #[test]
    fn a_beginning_is_there_once_with_its_positions_and_the_targets_move_along() {
        let (rows, families) = folded(&[&[1, 2, 3, 4, 5], &[1, 2, 6, 7, 8]], true);
        assert_eq!(rows.ids, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(rows.positions, [0, 1, 2, 3, 4, 2, 3, 4]);
        assert_eq!(families, [Family { beginning: 0..2, sequences: vec![2..5, 5..8] }]);
        let targets: Vec<_> = rows.targets.iter().map(|t| (t.row, t.token)).collect();
        assert_eq!(targets, [(2, 4), (3, 5), (5, 7), (6, 8)]);
    }

    #[test]
    fn a_token_with_a_target_is_not_shared() {
        let (rows, families) = folded(&[&[1, 2, 3], &[1, 2, 3]], true);
        assert_eq!(families[0].beginning, 0..0);
        assert_eq!(rows.len(), 6);
        let (rows, families) = folded(&[&[1, 2, 3, 4], &[1, 2, 3, 4]], true);
        assert_eq!((families[0].beginning.clone(), rows.len()), (0..1, 7));
    }

    #[test]
    fn a_sequence_with_little_in_common_begins_a_family_unless_the_sum_is_less() {
        let long: [&[u32]; 2] = [&[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4, 7, 8]];
        let other: &[u32] = &[1, 9, 9, 9, 9, 9];
        // Four tokens are shared once; one by three would be two.
        let (_, families) = folded(&[long[0], long[1], other], true);
        assert_eq!(families.len(), 2);
        // Behind one sequence a single token is better than nothing.
        let (_, families) = folded(&[long[0], other], true);
        assert_eq!(families.len(), 1);
        let strange: &[u32] = &[8, 1, 2, 3, 4, 5];
        assert_eq!(folded(&[long[0], strange], true).1.len(), 2);
    }

    #[test]
    fn apart_every_sequence_has_all_its_rows() {
        let sequences: [&[u32]; 2] = [&[1, 2, 3, 4, 5], &[1, 2, 6, 7, 8]];
        let (apart, families) = folded(&sequences, false);
        assert_eq!(apart, rows(&sequences));
        assert_eq!(families, [Family::alone(0..5), Family::alone(5..10)]);
    }
}
