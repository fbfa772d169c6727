//! The low-rank paths of all slots at one linear layer; the algebra is in `kernels/lora.cu`.

use super::Cuda;
use super::driver::{LoraCall, LoraPart, LoraSlot, MOST_PARTS, View};
use super::tensor::Tensor;
use crate::backend::{LoraPath, Site};
use crate::error::Result;

type Path<'a> = LoraPath<'a, Tensor>;

/// Low-rank values of some paths.
fn low_rank(paths: &[Path<'_>]) -> usize {
    paths.iter().map(|path| path.rows.len() * path.rank).sum()
}

/// A path whose low-rank values are `u`.
fn part<'a>(path: &'a Path<'_>, grad: Option<&'a Tensor>, u: View<'a>) -> LoraPart<'a> {
    let (threshold, keep) =
        path.dropout.map_or((0, 1.0), |d| (d.threshold().max(1), d.keep_scale()));
    LoraPart {
        slot: LoraSlot {
            rows: path.rows.clone(),
            key_row: path.dropout.map_or(0, |d| d.first_row),
            threshold,
            keep: keep as f32,
        },
        params: path.params.view(),
        grad: grad.map(Tensor::view),
        u,
        a: path.a,
        b: path.b,
        rank: path.rank,
        scale: path.scale as f32,
        key: path.dropout.map_or(0, |d| d.key),
    }
}

/// `u = dropout(x) A^T` `[n, R]`, `y[:, cols] += s u B^T`. Returns all u, path after path.
pub fn forward(be: &Cuda, y: &mut Tensor, x: &Tensor, site: &Site<'_, Tensor>) -> Result<Tensor> {
    let u = Tensor::stale(be.gpu(), 1, low_rank(&site.paths), false)?;
    queue(be, &Saved { dy: y, x, u: &u }, None, site, None)?;
    Ok(u)
}

/// What the backward pass reads.
pub struct Saved<'a> {
    /// The gradient of y, or y.
    pub dy: &'a Tensor,
    pub x: &'a Tensor,
    pub u: &'a Tensor,
}

/// `du = s dy B`, `dx += dropout'(du A)`, `dA += du^T dropout(x)`, `dB += s dy^T u`.
pub fn backward(
    be: &Cuda,
    dx: Option<&Tensor>,
    saved: &Saved<'_>,
    site: &Site<'_, Tensor>,
    grads: &[&mut Tensor],
) -> Result<()> {
    queue(be, saved, dx, site, Some(grads))
}

fn queue(
    be: &Cuda,
    saved: &Saved<'_>,
    dx: Option<&Tensor>,
    site: &Site<'_, Tensor>,
    grads: Option<&[&mut Tensor]>,
) -> Result<()> {
    let Saved { dy, x, u } = saved;
    let mut first = 0;
    let mut parts = Vec::with_capacity(site.paths.len());
    for path in &site.paths {
        let values = path.rows.len() * path.rank;
        let grad = grads.map(|grads| &*grads[path.adapter]);
        parts.push(part(path, grad, u.view_of_values(first, values)));
        first += values;
    }
    while !parts.is_empty() {
        let rest = parts.split_off(parts.len().min(MOST_PARTS));
        be.gpu().queue_lora(&LoraCall {
            x: x.view(),
            y: dy.view(),
            dx: dx.map(Tensor::view),
            is_backward: grads.is_some(),
            inputs: x.cols(),
            width: dy.cols(),
            cols: site.columns.clone(),
            parts,
        })?;
        parts = rest;
    }
    Ok(())
}
