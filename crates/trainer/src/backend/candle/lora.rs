//! The low-rank paths of all slots at one linear layer; letters as in the CPU backend's `lora`.
//!
//! Slots whose matrices have the same shape are one batched product ([`super::groups`]): a layer
//! costs a handful of launches a group, however many slots share it. One dense product over all
//! slots' stacked matrices with a mask would be a launch less, but multiplies every slot's rows
//! with every slot's matrices, and there `0 x inf` carries what diverged in one slot into the
//! gradients of the others.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::CandleBackend;
use super::groups::{Group, Grouping, GroupingKey};
use crate::backend::LoraPath;
use crate::error::Result;

type Path<'a> = LoraPath<'a, Tensor>;

/// What a layer's paths share: how they are grouped, and their matrices.
struct Layer<'a> {
    grouping: &'a Grouping,
    paths: &'a [Path<'a>],
    /// Columns of the input and of the output.
    inputs: usize,
    outputs: usize,
}

/// A `[G, R, in]` and B `[G, out, R]` of a group in the format of the activations, and its slots'
/// factors `s`.
struct Matrices {
    a: Tensor,
    b: Tensor,
    scale: Scale,
}

/// `s` of all slots of a group, or `[G, 1, 1]` where they differ.
enum Scale {
    Same(f64),
    Each(Tensor),
}

impl Scale {
    fn of(x: &Tensor, group: &Group, paths: &[Path<'_>]) -> Result<Self> {
        let scales: Vec<f64> = group.members.iter().map(|i| paths[*i].scale).collect();
        if scales.iter().all(|s| s.to_bits() == scales[0].to_bits()) {
            return Ok(Self::Same(scales[0]));
        }
        let each = Tensor::from_vec(scales, (group.members.len(), 1, 1), &Device::Cpu)?;
        Ok(Self::Each(each.to_dtype(x.dtype())?.to_device(x.device())?))
    }

    fn times(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Same(scale) => (x * *scale)?,
            Self::Each(scales) => x.broadcast_mul(scales)?,
        })
    }
}

impl Layer<'_> {
    /// The group's matrices, out of its slots' vectors stacked as `[G, P]`.
    fn matrices(&self, backend: &CandleBackend, group: &Group, x: &Tensor) -> Result<Matrices> {
        let path = &self.paths[group.members[0]];
        let (slots, rank) = (group.members.len(), path.rank);
        let params: Vec<&Tensor> = group.members.iter().map(|i| self.paths[*i].params).collect();
        let stacked = backend.step.stacked(&params, x.dtype())?;
        let part = |at: usize, rows: usize, cols: usize| -> Result<Tensor> {
            Ok(stacked.narrow(1, at, rows * cols)?.contiguous()?.reshape((slots, rows, cols))?)
        };
        Ok(Matrices {
            a: part(path.a, rank, self.inputs)?,
            b: part(path.b, self.outputs, rank)?,
            scale: Scale::of(x, group, self.paths)?,
        })
    }

    /// The group's dropout factors `[G, n, in]`, where a slot of it has dropout.
    fn factors(&self, group: &Group, like: &Tensor) -> Result<Option<Tensor>> {
        if group.members.iter().all(|i| self.paths[*i].dropout.is_none()) {
            return Ok(None);
        }
        let mut values = Vec::with_capacity(group.members.len() * group.rows * self.inputs);
        for path in group.members.iter().map(|i| &self.paths[*i]) {
            let end = values.len() + group.rows * self.inputs;
            if let Some(dropout) = &path.dropout {
                values.extend(dropout.factors(path.rows.len(), self.inputs));
            }
            values.resize(end, 1.0);
        }
        let shape = (group.members.len(), group.rows, self.inputs);
        let factors = Tensor::from_vec(values, shape, like.device())?;
        Ok(Some(factors.to_dtype(like.dtype())?))
    }
}

fn dropped(rows: Tensor, factors: Option<&Tensor>) -> Result<Tensor> {
    Ok(match factors {
        Some(factors) => (rows * factors)?,
        None => rows,
    })
}

fn grouping(backend: &CandleBackend, paths: &[Path<'_>], rows: usize) -> Result<Arc<Grouping>> {
    backend.step.grouping(GroupingKey::of_paths(paths, rows), backend.wide(), &backend.device)
}

/// `u = dropout(x) A^T`, `y[:, cols] += s u B^T`. Returns u of each group, `[G, n, R]`.
pub fn forward(
    backend: &CandleBackend,
    y: &mut Tensor,
    cols: Range<usize>,
    x: &Tensor,
    paths: &[Path<'_>],
) -> Result<Vec<Tensor>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let grouping = grouping(backend, paths, y.dim(0)?)?;
    let layer = Layer { grouping: &grouping, paths, inputs: x.dim(1)?, outputs: cols.len() };
    let (mut low_rank, mut deltas) = (Vec::new(), Vec::new());
    for group in &layer.grouping.groups {
        let Matrices { a, b, scale } = layer.matrices(backend, group, x)?;
        let factors = layer.factors(group, x)?;
        let u = dropped(group.gather(x)?, factors.as_ref())?.matmul(&a.transpose(1, 2)?)?;
        deltas.push(scale.times(&u)?.matmul(&b.transpose(1, 2)?)?);
        low_rank.push(u);
    }
    let delta = grouping.scatter(&deltas)?;
    let columns = (y.narrow(1, cols.start, cols.len())? + delta)?;
    *y = CandleBackend::with_columns(y, &cols, columns)?;
    Ok(low_rank)
}

/// The arguments of [`backward`] that a forward pass has as well.
pub struct Saved<'a> {
    pub cols: Range<usize>,
    pub x: &'a Tensor,
    /// u of each group.
    pub low_rank: &'a [Tensor],
    pub paths: &'a [Path<'a>],
}

/// `du = s dy B`, `dx += dropout'(du A)`, `dA += du^T dropout(x)`, `dB += s dy^T u`.
pub fn backward(
    backend: &CandleBackend,
    dx: Option<&mut Tensor>,
    dy: &Tensor,
    saved: &Saved<'_>,
    grads: &mut [&mut Tensor],
) -> Result<()> {
    let Saved { cols, x, low_rank, paths } = saved;
    if paths.is_empty() {
        return Ok(());
    }
    let dy = dy.narrow(1, cols.start, cols.len())?.to_dtype(x.dtype())?.contiguous()?;
    let grouping = grouping(backend, paths, x.dim(0)?)?;
    let layer = Layer { grouping: &grouping, paths, inputs: x.dim(1)?, outputs: cols.len() };
    let mut through = Vec::new();
    for (group, u) in layer.grouping.groups.iter().zip(*low_rank) {
        let Matrices { a, b, scale } = layer.matrices(backend, group, x)?;
        let dy = scale.times(&group.gather_real(&dy)?)?;
        let du = dy.matmul(&b)?;
        let factors = layer.factors(group, x)?;
        let input = dropped(group.gather(x)?, factors.as_ref())?;
        let da = du.transpose(1, 2)?.contiguous()?.matmul(&input)?;
        let db = dy.transpose(1, 2)?.contiguous()?.matmul(u)?;
        add_gradients(group, &[da, db], paths, grads)?;
        if dx.is_some() {
            through.push(dropped(du.matmul(&a)?, factors.as_ref())?);
        }
    }
    if let Some(dx) = dx {
        let through = grouping.scatter(&through)?;
        *dx = (&*dx + through.to_dtype(dx.dtype())?)?;
    }
    Ok(())
}

/// Adds the gradients of A and B, which stand one after the other in a slot's vector, to their
/// places.
fn add_gradients(
    group: &Group,
    of_matrices: &[Tensor; 2],
    paths: &[Path<'_>],
    grads: &mut [&mut Tensor],
) -> Result<()> {
    let wide = grads[group.members[0]].dtype();
    let [da, db] = of_matrices.each_ref().map(|d| d.flatten_from(1));
    let both = Tensor::cat(&[da?, db?], 1)?.to_dtype(wide)?;
    let len = both.dim(1)?;
    for (at, member) in group.members.iter().enumerate() {
        let (grad, begin) = (&mut grads[*member], paths[*member].a);
        let sum = (grad.narrow(1, begin, len)? + both.narrow(0, at, 1)?)?;
        grad.slice_set(&sum.contiguous()?, 1, begin)?;
    }
    Ok(())
}
