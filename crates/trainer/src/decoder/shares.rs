//! A step cut into shares that threads compute beside each other.
//!
//! Sequences do not depend on each other, so that a thread can take some of them through all layers
//! without waiting for another one at every operation. Within a share the operations still spread
//! over idle threads, so that shares need not be equal.

use std::ops::Range;

use super::adapters::{ActiveAdapter, SlotDropout};
use crate::backend::{Family, Rows};
use crate::model::DecoderConfig;

/// Rows from which on an adapter's sequences are cut in two.
const WORTH_CUTTING: usize = 128;
/// Values of an adapter, by its rows and the hidden size, up to which a second gradient is little
/// beside the activations of its rows.
const SMALL_GRADIENT: usize = 16;

/// Whether an adapter of `values` values over `rows` rows of several sequences is cut in two, which
/// takes a second gradient. It depends on the adapter's own rows alone, so that its sums have the
/// same order in any company and on any number of threads.
pub const fn is_cut(values: usize, rows: usize, hidden: usize) -> bool {
    rows >= WORTH_CUTTING && values <= SMALL_GRADIENT * rows * hidden
}

/// Whole sequences that stay together, all with the same adapter or all with none.
#[derive(Debug, Clone, PartialEq)]
struct Piece {
    rows: Range<usize>,
    /// Its place among the step's adapters.
    adapter: Option<usize>,
    /// Whether an earlier piece has rows of the same adapter.
    is_second: bool,
}

/// Some sequences with the adapters over them.
#[derive(Debug)]
pub struct Share<'a, T> {
    pub rows: Rows,
    pub families: Vec<Family>,
    pub adapters: Vec<ActiveAdapter<'a, T>>,
    /// What each of its adapters is of the step's.
    pub parts: Vec<Part>,
}

/// An adapter's rows of a share.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Its place among the step's adapters.
    pub adapter: usize,
    /// Whether an earlier share or part has rows of the same adapter.
    pub is_second: bool,
}

impl<'a, T> Share<'a, T> {
    /// All of a step, every sequence by itself.
    pub fn of_all(rows: &Rows, adapters: &[ActiveAdapter<'a, T>]) -> Self {
        Self {
            rows: rows.clone(),
            families: rows.families_of_one(),
            adapters: adapters.to_vec(),
            parts: (0..adapters.len()).map(|adapter| Part { adapter, is_second: false }).collect(),
        }
    }
}

/// Cuts a step into at most `lanes` shares, in order.
pub fn cut<'a, T>(
    rows: &Rows,
    adapters: &[ActiveAdapter<'a, T>],
    config: &DecoderConfig,
    lanes: usize,
) -> Vec<Share<'a, T>> {
    let pieces = pieces(rows, adapters, config.hidden_size);
    let together = config.shares_beginnings();
    let shares = share_out(&pieces, rows.len(), lanes).into_iter();
    shares.map(|pieces| share(rows, adapters, pieces, together)).collect()
}

/// The rows of each adapter, and those between them, in one piece or two.
fn pieces<T>(rows: &Rows, adapters: &[ActiveAdapter<'_, T>], hidden: usize) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(2 * adapters.len() + 1);
    let mut done = 0;
    for (place, adapter) in adapters.iter().enumerate() {
        cut_piece(rows, done..adapter.rows.start, None, true, &mut pieces);
        let is_cut = is_cut(adapter.layout.len, adapter.rows.len(), hidden);
        cut_piece(rows, adapter.rows.clone(), Some(place), is_cut, &mut pieces);
        done = adapter.rows.end;
    }
    cut_piece(rows, done..rows.len(), None, true, &mut pieces);
    pieces
}

/// Cuts `range` where a sequence begins nearest to its middle.
fn cut_piece(
    rows: &Rows,
    range: Range<usize>,
    adapter: Option<usize>,
    in_two: bool,
    pieces: &mut Vec<Piece>,
) {
    let middle = usize::midpoint(range.start, range.end);
    let begins = rows.sequences.iter().map(|sequence| sequence.start);
    let inside = begins.filter(|begin| in_two && range.start < *begin && *begin < range.end);
    let at = inside.min_by_key(|begin| begin.abs_diff(middle)).unwrap_or(range.end);
    for (rows, is_second) in [(range.start..at, false), (at..range.end, true)] {
        if !rows.is_empty() {
            pieces.push(Piece { rows, adapter, is_second });
        }
    }
}

/// About equal runs of pieces, at most `lanes` of them.
fn share_out(pieces: &[Piece], rows: usize, lanes: usize) -> Vec<&[Piece]> {
    let mut shares = Vec::with_capacity(lanes);
    let mut rest = pieces;
    while let Some(piece) = rest.first() {
        let left = lanes - shares.len();
        let fair = piece.rows.start + (rows - piece.rows.start) / left.max(1);
        let ends = rest.iter().map(|piece| piece.rows.end.abs_diff(fair)).enumerate();
        let nearest = ends.min_by_key(|(_, distance)| *distance).map_or(0, |(place, _)| place);
        let count = if left <= 1 { rest.len() } else { nearest + 1 };
        let (share, later) = rest.split_at(count);
        shares.push(share);
        rest = later;
    }
    shares
}

/// The rows of `pieces`, which are neighbours, with their adapters. Where sequences may come
/// `together`, those of a piece that begin alike share their beginning, unless dropout makes them
/// differ.
fn share<'a, T>(
    rows: &Rows,
    adapters: &[ActiveAdapter<'a, T>],
    pieces: &[Piece],
    together: bool,
) -> Share<'a, T> {
    let mut share = Share {
        rows: Rows::default(),
        families: Vec::new(),
        adapters: Vec::with_capacity(pieces.len()),
        parts: Vec::with_capacity(pieces.len()),
    };
    for piece in pieces {
        let whole = piece.adapter.map(|place| (place, &adapters[place]));
        let before = |row: usize| rows.sequences.partition_point(|s| s.start < row);
        let sequences = &rows.sequences[before(piece.rows.start)..before(piece.rows.end)];
        let together = together && whole.is_none_or(|(_, adapter)| adapter.dropout.is_none());
        let start = share.rows.len();
        share.rows.append(&mut share.families, rows, sequences, together);
        let Some((adapter, whole)) = whole else { continue };
        share.parts.push(Part { adapter, is_second: piece.is_second });
        let before = whole.rows.start..piece.rows.start;
        let targets = rows.targets.iter().filter(|t| before.contains(&t.row)).count();
        share.adapters.push(ActiveAdapter {
            layout: whole.layout,
            params: whole.params,
            rows: start..share.rows.len(),
            dropout: whole.dropout.map(|drop| SlotDropout {
                first_row: drop.first_row + before.len() as u64,
                first_target: drop.first_target + targets as u64,
                ..drop
            }),
        });
    }
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lengths: &[usize]) -> Rows {
        let mut rows = Rows::default();
        for &length in lengths {
            rows.push(&vec![1; length], &vec![true; length], 1.0);
        }
        rows
    }

    fn cut_at(lengths: &[usize], in_two: bool) -> Vec<usize> {
        let rows = rows(lengths);
        let mut pieces = Vec::new();
        cut_piece(&rows, 0..rows.len(), Some(0), in_two, &mut pieces);
        pieces.into_iter().map(|piece| piece.rows.end).collect()
    }

    #[test]
    fn a_cut_lies_between_the_sequences_nearest_to_the_middle() {
        assert_eq!(cut_at(&[30, 30, 100, 20], true), [60, 180]);
        assert_eq!(cut_at(&[180], true), [180]);
        assert_eq!(cut_at(&[90, 90], false), [180]);
    }

    #[test]
    fn shares_cover_all_pieces_once_and_are_about_equal() {
        let piece =
            |i: usize| Piece { rows: 10 * i..10 * (i + 1), adapter: Some(i), is_second: false };
        let pieces: Vec<Piece> = (0..7).map(piece).collect();
        for lanes in 1..12 {
            let shares = share_out(&pieces, 70, lanes);
            assert_eq!(shares.concat(), pieces);
            assert_eq!(shares.len(), lanes.min(7));
            let sizes = shares.iter().map(|share| share.len());
            assert!(sizes.clone().max() <= sizes.min().map(|least| least + 1));
        }
    }

    #[test]
    fn a_share_has_its_sequences_targets_and_dropout_rows_as_its_own() {
        let rows = rows(&[4, 3, 5]);
        let piece = Piece { rows: 4..12, adapter: None, is_second: false };
        let share: Share<'_, ()> = share(&rows, &[], &[piece], true);
        assert_eq!(share.rows.sequences, [0..3, 3..8]);
        assert_eq!(share.rows.positions, [0, 1, 2, 0, 1, 2, 3, 4]);
        assert_eq!(
            share.rows.targets.iter().map(|t| t.row).collect::<Vec<_>>(),
            [0, 1, 3, 4, 5, 6]
        );
    }

    #[test]
    fn an_adapter_as_large_as_many_layers_of_activations_is_not_cut() {
        assert!(is_cut(16 * 512 * 64, 512, 64));
        assert!(!is_cut(16 * 512 * 64 + 1, 512, 64));
        assert!(!is_cut(1, 127, 64));
    }
}
