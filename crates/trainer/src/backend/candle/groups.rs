//! What is computed as one batched product on a GPU, and where its rows are: the low-rank paths of
//! slots whose matrices have the same shape, and the attention of sequences of about one length.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use crate::backend::LoraPath;
use crate::error::Result;

/// A slot joins a group whose longest slot has at most this many times its rows: shorter ones are
/// filled up, and that is computed in vain.
const FILL_OF_PATHS: f64 = 2.0;
/// The same of sequences, whose scores grow with the square of their length.
const FILL_OF_SEQUENCES: f64 = 1.25;
/// Scores of a group's attention: 256 MiB in f32, of which the backward pass holds a few.
const MOST_SCORES: usize = 64 << 20;

/// Ranges of rows that are computed together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Members {
    /// By their index.
    ranges: Vec<usize>,
    /// Rows of the longest.
    rows: usize,
}

/// A group on the device.
#[derive(Debug)]
pub struct Group {
    /// G paths or sequences, by index.
    pub members: Vec<usize>,
    /// n: rows of the longest. A shorter one is filled up with its own first row, never with
    /// another's, so that what is not finite in one stays in it.
    pub rows: usize,
    /// Row of the step for each of the `G n` rows.
    gather: Tensor,
    /// `[G, n, 1]`: 0 where a row was filled in, else 1; `None` when none was.
    pub real: Option<Tensor>,
}

/// The groups of a step, and the way back from their rows to the step's.
#[derive(Debug)]
pub struct Grouping {
    pub groups: Vec<Group>,
    /// For each row of the step its place among all rows of all groups; rows of no group have the
    /// place after the last.
    scatter: Tensor,
    /// Whether there are rows of no group.
    bare_rows: bool,
}

/// What a grouping depends on. It is the same for most layers of a step.
#[derive(Debug, PartialEq, Eq)]
pub struct GroupingKey {
    groups: Vec<Members>,
    ranges: Vec<Range<usize>>,
    rows: usize,
}

impl GroupingKey {
    /// Groups slots whose A and B have the same shapes at the same places of their vectors.
    pub fn of_paths(paths: &[LoraPath<'_, Tensor>], rows: usize) -> Self {
        let ranges = paths.iter().map(|p| p.rows.clone()).collect();
        let place = |i: usize| {
            let p = &paths[i];
            (p.rank, p.a, p.b, p.params.elem_count())
        };
        Self::new(ranges, rows, FILL_OF_PATHS, |group, i| place(group.ranges[0]) == place(i))
    }

    /// Groups sequences, which cover all rows, of about the same length.
    pub fn of_sequences(sequences: &[Range<usize>], heads: usize) -> Self {
        let rows = sequences.last().map_or(0, |last| last.end);
        Self::new(sequences.to_vec(), rows, FILL_OF_SEQUENCES, |group, _| {
            (group.ranges.len() + 1) * heads * group.rows * group.rows <= MOST_SCORES
        })
    }

    /// `joins` says whether a range may join a group, as far as lengths do not.
    fn new(
        ranges: Vec<Range<usize>>,
        rows: usize,
        fill: f64,
        joins: impl Fn(&Members, usize) -> bool,
    ) -> Self {
        let mut by_length: Vec<usize> = (0..ranges.len()).collect();
        by_length.sort_by_key(|i| std::cmp::Reverse(ranges[*i].len()));
        let mut groups: Vec<Members> = Vec::new();
        for i in by_length {
            let len = ranges[i].len();
            let fits =
                |group: &&mut Members| group.rows as f64 <= fill * len as f64 && joins(group, i);
            match groups.iter_mut().find(fits) {
                Some(group) => group.ranges.push(i),
                None => groups.push(Members { ranges: vec![i], rows: len }),
            }
        }
        Self { groups, ranges, rows }
    }
}

impl Grouping {
    pub fn new(key: &GroupingKey, wide: DType, device: &Device) -> Result<Self> {
        let total: usize = key.groups.iter().map(|g| g.ranges.len() * g.rows).sum();
        let mut scatter = vec![total as u32; key.rows];
        let mut begin = 0;
        let mut groups = Vec::with_capacity(key.groups.len());
        for Members { ranges, rows } in &key.groups {
            let (mut gather, mut real) = (Vec::new(), Vec::new());
            for range in ranges.iter().map(|i| &key.ranges[*i]) {
                for row in 0..*rows {
                    let is_real = row < range.len();
                    let from = range.start + if is_real { row } else { 0 };
                    if is_real {
                        scatter[from] = (begin + gather.len()) as u32;
                    }
                    gather.push(from as u32);
                    real.push(if is_real { 1.0_f32 } else { 0.0 });
                }
            }
            begin += gather.len();
            let filled = real.contains(&0.0);
            let real = Tensor::from_vec(real, (ranges.len(), *rows, 1), device)?.to_dtype(wide)?;
            groups.push(Group {
                members: ranges.clone(),
                rows: *rows,
                gather: Tensor::new(gather, device)?,
                real: filled.then_some(real),
            });
        }
        let bare_rows = scatter.contains(&(total as u32));
        Ok(Self { groups, scatter: Tensor::new(scatter, device)?, bare_rows })
    }

    /// The groups' results `[G, n, cols]` as rows of the step, with zeros in rows of no group.
    pub fn scatter(&self, of_groups: &[Tensor]) -> Result<Tensor> {
        let mut rows =
            of_groups.iter().map(|x| Ok(x.flatten_to(1)?)).collect::<Result<Vec<Tensor>>>()?;
        if self.bare_rows {
            let cols = rows[0].dim(1)?;
            rows.push(Tensor::zeros((1, cols), rows[0].dtype(), rows[0].device())?);
        }
        Ok(Tensor::cat(&rows, 0)?.index_select(&self.scatter, 0)?)
    }
}

impl Group {
    /// The members' rows of a matrix of the step: `[G, n, cols]`.
    pub fn gather(&self, x: &Tensor) -> Result<Tensor> {
        let shape = (self.members.len(), self.rows, x.dim(1)?);
        Ok(x.index_select(&self.gather, 0)?.reshape(shape)?)
    }

    /// As [`Self::gather`], with zeros in the rows that were filled in.
    pub fn gather_real(&self, x: &Tensor) -> Result<Tensor> {
        let rows = self.gather(x)?;
        Ok(match &self.real {
            Some(real) => rows.broadcast_mul(&real.to_dtype(rows.dtype())?)?,
            None => rows,
        })
    }
}
