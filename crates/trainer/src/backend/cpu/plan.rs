//! What the CPU backend makes of a step before its first operation.

use std::ops::{Deref, Range};
use std::sync::Arc;

use super::buffer::Buf;
use super::lora::{Block, PlannedSite, blocks};
use super::rope::{Angles, Table};
use crate::backend::Step;
use crate::real::Real;
use crate::rope::Rope;

/// Rows, and the angles by which they turn.
type RowsTurned<T> = (Range<usize>, Arc<Angles<T>>);

/// A step, how its low-rank products are cut into tasks, and the angles of its rotations.
#[derive(Debug)]
pub struct Plan<'a, T: Real> {
    step: Step<'a, Buf<T>>,
    /// Those of each site.
    blocks: Vec<Vec<Block>>,
    /// For each rope which rows turn by which angles.
    angles: Vec<Vec<RowsTurned<T>>>,
}

impl<'a, T: Real> Plan<'a, T> {
    pub(super) fn new(step: Step<'a, Buf<T>>, table: &Table<T>) -> Self {
        let blocks = step.sites.iter().map(|site| blocks(&site.paths)).collect();
        let angles = step.ropes.iter().map(|rope| of_rope(&step, rope, table)).collect();
        Self { step, blocks, angles }
    }

    pub(super) fn site(&self, site: usize) -> PlannedSite<'_, T> {
        let Self { step, blocks, .. } = self;
        let (of_site, blocks) = (&step.sites[site], &blocks[site]);
        PlannedSite { columns: &of_site.columns, paths: &of_site.paths, blocks }
    }

    pub(super) fn angles(&self, rope: usize) -> &[RowsTurned<T>] {
        &self.angles[rope]
    }
}

impl<'a, T: Real> Deref for Plan<'a, T> {
    type Target = Step<'a, Buf<T>>;

    fn deref(&self) -> &Self::Target {
        &self.step
    }
}

/// All rows turn by the same table, unless its frequencies depend on a sequence's length.
fn of_rope<T: Real>(step: &Step<'_, Buf<T>>, rope: &Rope, table: &Table<T>) -> Vec<RowsTurned<T>> {
    let angles = |rows: Range<usize>, tokens: usize| {
        (rows, table.angles(&rope.frequencies(tokens), rope.amplitude(), tokens))
    };
    let rows = &step.rows;
    if rope.depends_on_length() {
        // With those before its first row, where it is continued.
        let tokens = |s: &Range<usize>| s.end.checked_sub(1).map_or(0, |last| rows.positions[last]);
        let each = rows.sequences.iter();
        return each.map(|s| angles(s.clone(), tokens(s) as usize + 1)).collect();
    }
    let longest = rows.positions.iter().max().map_or(0, |last| *last as usize + 1);
    vec![angles(0..rows.len(), longest)]
}
