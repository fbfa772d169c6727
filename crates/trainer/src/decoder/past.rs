//! Rows that continue sequences: what is kept of these, and one forward pass behind it.

use std::ops::Range;

use rayon::prelude::*;

use super::adapters::ActiveAdapter;
use super::block;
use super::pass::Decoder;
use super::shares::Share;
use crate::backend::{Backend, Rows};
use crate::error::Result;
use crate::model::DecoderConfig;

/// Rows that are worth reading the weights for: 16 rows of hidden 512 take 12 % longer in two shares than in
/// one, 128 rows take the same (`results/bench/generate.txt`).
const ROWS_OF_A_LANE: usize = 32;

/// The keys and values of one sequence at every layer (its KV cache).
#[derive(Debug)]
pub struct Past<B: Backend> {
    layers: Vec<B::Tensor>,
}

impl<B: Backend> Past<B> {
    /// Bytes that it takes for this many tokens.
    pub const fn bytes(config: &DecoderConfig, tokens: usize) -> usize {
        let values = 2 * config.attention.kv_columns() * tokens * config.num_hidden_layers;
        values * size_of::<f32>()
    }
}

impl<B: Backend> Decoder<B> {
    /// Room for the keys and values of a sequence of at most this many tokens.
    pub fn past(&self, tokens: usize) -> Result<Past<B>> {
        let shape = self.model.config.attention;
        let layer = |_| self.backend.zeros(2 * shape.kv_heads * tokens, shape.head_dim);
        Ok(Past { layers: (0..self.model.layers.len()).map(layer).collect::<Result<_>>()? })
    }

    /// Computes the next rows of sequences ([`Rows::push_behind`]), one `past` each, and returns the
    /// logits of each sequence's last row: `[sequences, V]`, row-major.
    pub fn continue_sequences(
        &self,
        rows: &Rows,
        adapters: &[ActiveAdapter<'_, B::Tensor>],
        past: &mut [&mut Past<B>],
    ) -> Result<Vec<f32>> {
        let mut rest = past;
        let mut shares = Vec::new();
        for sequences in shared_out(rows, lanes(rows.len(), self.backend.lanes().unwrap_or(1))) {
            let (mine, later) = rest.split_at_mut(sequences.len());
            shares.push((share(rows, adapters, sequences), mine));
            rest = later;
        }
        let logits = shares.into_par_iter().map(|(share, past)| self.continue_share(share, past));
        Ok(logits.collect::<Result<Vec<_>>>()?.concat())
    }

    fn continue_share(
        &self,
        share: Share<'_, B::Tensor>,
        past: &mut [&mut Past<B>],
    ) -> Result<Vec<f32>> {
        let last = share.rows.sequences.iter().map(|sequence| sequence.end - 1).collect();
        let plan = &self.plan(share, last)?;
        let mut x = self.embed(plan)?;
        for index in 0..self.model.layers.len() {
            let mut of_layer: Vec<&mut B::Tensor> =
                past.iter_mut().map(|past| &mut past.layers[index]).collect();
            x = block::forward_with_past(&self.layer(index, plan), x, &mut of_layer)?;
        }
        let eps = self.model.config.rms_norm_eps;
        let h = self.backend.rms_norm(&x, &self.model.norm, eps)?.0;
        self.backend.logits(&h, self.model.head())
    }
}

/// How many threads go through the layers by themselves with a share of so many rows. Each of them reads
/// (and packs) all weights, which takes longer than the products where rows are few: then one share is
/// computed, and the threads have a part of each product.
fn lanes(rows: usize, threads: usize) -> usize {
    (rows / ROWS_OF_A_LANE).clamp(1, threads.max(1))
}

/// Cuts the sequences into at most `lanes` runs of about as many rows.
fn shared_out(rows: &Rows, lanes: usize) -> Vec<Range<usize>> {
    let mut runs = Vec::with_capacity(lanes);
    let mut start = 0;
    for lane in 1..=lanes {
        let fair = rows.len() * lane / lanes;
        let end = rows.sequences.partition_point(|sequence| sequence.end <= fair);
        let end = if lane == lanes { rows.sequences.len() } else { end };
        if end > start {
            runs.push(start..end);
            start = end;
        }
    }
    runs
}

/// Some sequences, which are neighbours, with the adapters over them.
fn share<'a, T>(
    rows: &Rows,
    adapters: &[ActiveAdapter<'a, T>],
    sequences: Range<usize>,
) -> Share<'a, T> {
    let of = &rows.sequences[sequences];
    let (start, end) = (of.first().map_or(0, |s| s.start), of.last().map_or(0, |s| s.end));
    let moved = |range: &Range<usize>| {
        range.start.clamp(start, end) - start..range.end.clamp(start, end) - start
    };
    let mine = Rows {
        ids: rows.ids[start..end].to_vec(),
        positions: rows.positions[start..end].to_vec(),
        sequences: of.iter().map(moved).collect(),
        targets: Vec::new(),
    };
    let adapters: Vec<_> = adapters
        .iter()
        .map(|adapter| ActiveAdapter { rows: moved(&adapter.rows), ..adapter.clone() })
        .filter(|adapter| !adapter.rows.is_empty())
        .collect();
    Share::of_all(&mine, &adapters)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequences of this many rows, each behind ten tokens.
    fn rows(lengths: &[usize]) -> Rows {
        let mut rows = Rows::default();
        for (token, &length) in lengths.iter().enumerate() {
            rows.push_behind(10, &vec![token as u32; length]);
        }
        rows
    }

    #[test]
    fn shares_have_all_sequences_once_in_order_and_about_as_many_rows() {
        for lengths in [&[1, 1, 1, 1][..], &[7, 1, 1], &[1, 9], &[3], &[]] {
            let rows = rows(lengths);
            for lanes in 1..6 {
                let runs = shared_out(&rows, lanes);
                assert_eq!(runs.iter().cloned().flatten().count(), lengths.len());
                assert!(runs.iter().cloned().flatten().eq(0..lengths.len()));
                assert!(runs.len() <= lanes);
            }
        }
        assert_eq!(shared_out(&rows(&[1; 128]), 2), [0..64, 64..128]);
    }

    #[test]
    fn few_rows_are_one_share_and_many_are_one_for_each_thread() {
        for (rows, threads, expected) in
            [(1, 2, 1), (63, 2, 1), (64, 2, 2), (9000, 8, 8), (5, 0, 1)]
        {
            assert_eq!(lanes(rows, threads), expected, "{rows} rows, {threads} threads");
        }
    }

    #[test]
    fn a_share_has_its_sequences_with_their_positions() {
        let share: Share<'_, ()> = share(&rows(&[2, 1, 3]), &[], 1..3);
        assert_eq!(share.rows.ids, [1, 2, 2, 2]);
        assert_eq!(share.rows.positions, [10, 10, 11, 12]);
        assert_eq!(share.rows.sequences, [0..1, 1..4]);
    }
}
