//! The low-rank paths of all slots at one linear layer; the algebra is in `kernels/lora.cu`.

use std::ops::Range;

use super::driver::{Arg, Fields, View};
use super::tensor::Tensor;
use super::{Cuda, TILE, TILE_THREADS};
use crate::backend::{LoraPath, Site};
use crate::error::Result;

type Path<'a> = LoraPath<'a, Tensor>;

/// Segments that one launch takes, as in `lora.cu`.
const MOST_SEGMENTS: usize = 96;
/// Bytes of a segment, and before the first one.
const SEGMENT: usize = 104;
const BEFORE: usize = 16;

/// What all paths of a call share.
struct Call {
    inputs: usize,
    width: usize,
    cols: Range<usize>,
}

const fn tiles(n: usize) -> usize {
    n.div_ceil(TILE)
}

/// The segments of some paths, of which the first has its low-rank values from `u` on.
fn segments<'a>(
    call: &Call,
    paths: &'a [Path<'_>],
    grads: Option<&'a [&mut Tensor]>,
    mut u: usize,
) -> Arg<'a> {
    let mut fields = Fields::default()
        .u32(paths.len() as u32)
        .u32(call.inputs as u32)
        .u32(call.width as u32)
        .u32(0);
    for path in paths {
        let mut segment = Fields::default().address(path.params.buffer());
        segment = match grads {
            Some(grads) => segment.address(grads[path.adapter].buffer()),
            None => segment.u64(0),
        };
        let (key, row) = path.dropout.map_or((0, 0), |d| (d.key, d.first_row));
        let (threshold, keep) =
            path.dropout.map_or((0, 1.0), |d| (d.threshold().max(1), d.keep_scale()));
        let segment = segment
            .u64(path.params.len() as u64)
            .u64(path.a as u64)
            .u64(path.b as u64)
            .u64(u as u64)
            .u64(key)
            .u64(row)
            .u32(path.rows.start as u32)
            .u32(path.rows.len() as u32)
            .u32(path.rank as u32)
            .u32(call.cols.start as u32)
            .u32(call.cols.len() as u32)
            .u32(threshold)
            .f32(keep as f32)
            .f32(path.scale as f32)
            .u32(0)
            .u32(0);
        fields = fields.then(&segment);
        u += path.rows.len() * path.rank;
    }
    fields.filled_to(BEFORE + MOST_SEGMENTS * SEGMENT).arg()
}

/// Low-rank values of some paths.
fn low_rank(paths: &[Path<'_>]) -> usize {
    paths.iter().map(|path| path.rows.len() * path.rank).sum()
}

/// `u = dropout(x) A^T` `[n, R]`, `y[:, cols] += s u B^T`. Returns all u, path after path.
pub fn forward(be: &Cuda, y: &mut Tensor, x: &Tensor, site: &Site<'_, Tensor>) -> Result<Tensor> {
    let (cols, paths) = (site.columns.clone(), &site.paths[..]);
    let call = Call { inputs: x.cols(), width: y.cols(), cols };
    let u = Tensor::stale(be.gpu(), 1, low_rank(paths), false)?;
    let mut first = 0;
    for paths in paths.chunks(MOST_SEGMENTS) {
        let table = segments(&call, paths, None, first);
        let down: usize = paths.iter().map(|p| tiles(p.rows.len()) * tiles(p.rank)).sum();
        let args = [u.arg(), x.arg(), table.clone()];
        be.gpu().launch("lora_u", (down, 1), TILE_THREADS, 0, &args)?;
        let up: usize = paths.iter().map(|p| tiles(p.rows.len()) * tiles(call.cols.len())).sum();
        be.gpu().launch("lora_y", (up, 1), TILE_THREADS, 0, &[y.arg(), u.arg(), table])?;
        first += low_rank(paths);
    }
    Ok(u)
}

/// What the backward pass reads.
pub struct Saved<'a> {
    pub dy: &'a Tensor,
    pub x: &'a Tensor,
    pub u: &'a Tensor,
}

/// `du = s dy B`, `dx += dropout'(du A)`, `dA += du^T dropout(x)`, `dB += s dy^T u`.
pub fn backward(
    be: &Cuda,
    dx: Option<&mut Tensor>,
    saved: &Saved<'_>,
    site: &Site<'_, Tensor>,
    grads: &[&mut Tensor],
) -> Result<()> {
    let Saved { dy, x, u, .. } = saved;
    let call = Call { inputs: x.cols(), width: dy.cols(), cols: site.columns.clone() };
    let (inputs, outputs) = (tiles(call.inputs), tiles(call.cols.len()));
    let du = Tensor::stale(be.gpu(), 1, u.len(), false)?;
    let dx = dx.map_or_else(View::none, |dx| dx.view());
    let mut first = 0;
    for paths in site.paths.chunks(MOST_SEGMENTS) {
        let table = segments(&call, paths, Some(grads), first);
        let down: usize = paths.iter().map(|p| tiles(p.rows.len()) * tiles(p.rank)).sum();
        let args = [du.arg(), dy.arg(), table.clone()];
        be.gpu().launch("lora_du", (down, 1), TILE_THREADS, 0, &args)?;
        let of_path = |p: &Path<'_>| {
            let of_dx = if dx.len == 0 { 0 } else { tiles(p.rows.len()) * inputs };
            of_dx + tiles(p.rank) * (inputs + outputs)
        };
        let all = paths.iter().map(of_path).sum();
        let args = [dx.arg(), dy.arg(), x.arg(), u.arg(), du.arg(), table];
        be.gpu().launch("lora_gradients", (all, 1), TILE_THREADS, 0, &args)?;
        first += low_rank(paths);
    }
    Ok(())
}
