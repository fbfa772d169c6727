//! The low-rank paths of all slots at one linear layer; letters as in the CPU backend's `lora`.
//!
//! Slots whose matrices have the same shape are one batched product ([`super::groups`]): a layer
//! costs a handful of launches a group, however many slots share it. One dense product over all
//! slots' stacked matrices with a mask would be a launch less, but multiplies every slot's rows
//! with every slot's matrices, and there `0 x inf` carries what diverged in one slot into the
//! gradients of the others.

use candle_core::Tensor;

use super::columns::with_columns;
use super::groups::Group;
use super::plan::{GroupValues, PlannedSite};
use crate::backend::LoraPath;
use crate::error::Result;

type Path<'a> = LoraPath<'a, Tensor>;

/// A `[G, R, in]` and B `[G, out, R]` of a group in the format of the activations.
struct Matrices {
    a: Tensor,
    b: Tensor,
}

impl Matrices {
    /// Out of the slots' vectors stacked as `[G, P]`, where the group's matrices lie as `path` says.
    fn of(stacked: &Tensor, path: &Path<'_>, inputs: usize, outputs: usize) -> Result<Self> {
        let slots = stacked.dim(0)?;
        let part = |at: usize, rows: usize, cols: usize| -> Result<Tensor> {
            Ok(stacked.narrow(1, at, rows * cols)?.contiguous()?.reshape((slots, rows, cols))?)
        };
        Ok(Self { a: part(path.a, path.rank, inputs)?, b: part(path.b, outputs, path.rank)? })
    }
}

/// A group's dropout factors `[G, n, in]`, where a slot of it has dropout.
fn factors(paths: &[Path<'_>], group: &Group, like: &Tensor) -> Result<Option<Tensor>> {
    if group.members.iter().all(|i| paths[*i].dropout.is_none()) {
        return Ok(None);
    }
    let inputs = like.dim(1)?;
    let mut values = Vec::with_capacity(group.members.len() * group.rows * inputs);
    for path in group.members.iter().map(|i| &paths[*i]) {
        let end = values.len() + group.rows * inputs;
        if let Some(dropout) = &path.dropout {
            values.extend(dropout.factors(path.rows.len(), inputs));
        }
        values.resize(end, 1.0);
    }
    let shape = (group.members.len(), group.rows, inputs);
    let factors = Tensor::from_vec(values, shape, like.device())?;
    Ok(Some(factors.to_dtype(like.dtype())?))
}

fn dropped(rows: Tensor, factors: Option<&Tensor>) -> Result<Tensor> {
    Ok(match factors {
        Some(factors) => (rows * factors)?,
        None => rows,
    })
}

/// `u = dropout(x) A^T`, `y[:, columns] += s u B^T`. Returns u of each group, `[G, n, R]`.
pub fn forward(y: &mut Tensor, x: &Tensor, site: &PlannedSite<'_>) -> Result<Vec<Tensor>> {
    let PlannedSite { columns, paths, groups: Some(groups) } = *site else {
        return Ok(Vec::new());
    };
    let (inputs, outputs) = (x.dim(1)?, columns.len());
    let (mut low_rank, mut deltas) = (Vec::new(), Vec::new());
    for (group, GroupValues { stacked, scale }) in groups.grouping.groups.iter().zip(&groups.values)
    {
        let Matrices { a, b } = Matrices::of(stacked, &paths[group.members[0]], inputs, outputs)?;
        let factors = factors(paths, group, x)?;
        let u = dropped(group.gather(x)?, factors.as_ref())?.matmul(&a.transpose(1, 2)?)?;
        deltas.push(scale.times(&u)?.matmul(&b.transpose(1, 2)?)?);
        low_rank.push(u);
    }
    let delta = groups.grouping.scatter(&deltas)?;
    let sum = (y.narrow(1, columns.start, outputs)? + delta)?;
    *y = with_columns(y, columns, sum)?;
    Ok(low_rank)
}

/// `du = s dy B`, `dx += dropout'(du A)`, `dA += du^T dropout(x)`, `dB += s dy^T u`.
pub fn backward(
    dx: Option<&mut Tensor>,
    dy: &Tensor,
    x: &Tensor,
    low_rank: &[Tensor],
    site: &PlannedSite<'_>,
    grads: &mut [&mut Tensor],
) -> Result<()> {
    let PlannedSite { columns, paths, groups: Some(groups) } = *site else { return Ok(()) };
    let (inputs, outputs) = (x.dim(1)?, columns.len());
    let dy = dy.narrow(1, columns.start, outputs)?.to_dtype(x.dtype())?.contiguous()?;
    let mut through = Vec::new();
    let work = groups.grouping.groups.iter().zip(&groups.values).zip(low_rank);
    for ((group, GroupValues { stacked, scale }), u) in work {
        let Matrices { a, b } = Matrices::of(stacked, &paths[group.members[0]], inputs, outputs)?;
        let dy = scale.times(&group.gather_real(&dy)?)?;
        let du = dy.matmul(&b)?;
        let factors = factors(paths, group, x)?;
        let input = dropped(group.gather(x)?, factors.as_ref())?;
        let da = du.transpose(1, 2)?.contiguous()?.matmul(&input)?;
        let db = dy.transpose(1, 2)?.contiguous()?.matmul(u)?;
        add_gradients(group, &[da, db], paths, grads)?;
        if dx.is_some() {
            through.push(dropped(du.matmul(&a)?, factors.as_ref())?);
        }
    }
    if let Some(dx) = dx {
        let through = groups.grouping.scatter(&through)?;
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
    let wide = grads[paths[group.members[0]].adapter].dtype();
    let [da, db] = of_matrices.each_ref().map(|d| d.flatten_from(1));
    let both = Tensor::cat(&[da?, db?], 1)?.to_dtype(wide)?;
    let len = both.dim(1)?;
    for (at, member) in group.members.iter().enumerate() {
        let path = &paths[*member];
        let (grad, begin) = (&mut grads[path.adapter], path.a);
        let sum = (grad.narrow(1, begin, len)? + both.narrow(0, at, 1)?)?;
        grad.slice_set(&sum.contiguous()?, 1, begin)?;
    }
    Ok(())
}
