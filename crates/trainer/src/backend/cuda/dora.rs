//! `DoRA`; the algebra is in `kernels/dora.cu`.

use std::ops::Range;

use super::driver::{Arg, Fields, View};
use super::tensor::Tensor;
use super::weight::Weight;
use super::{Cuda, THREADS, elementwise};
use crate::backend::{Linear, LoraPath, Site};
use crate::error::Result;

type Path<'a> = LoraPath<'a, Tensor>;

/// What the backward pass of one path needs.
#[derive(Debug)]
pub struct Saved {
    /// v, `[n, O]`.
    directions: Tensor,
    /// `|W + s B A|` of each output, `[1, O]`.
    norms: Tensor,
    /// g, `[1, O]`.
    factors: Tensor,
}

fn path_arg(path: &Path<'_>, cols: &Range<usize>, width: usize, inputs: usize) -> Arg<'static> {
    Fields::default()
        .u64(path.a as u64)
        .u64(path.b as u64)
        .u64(path.magnitude.unwrap_or_default() as u64)
        .u32(path.rank as u32)
        .f32(path.scale as f32)
        .u32(path.rows.start as u32)
        .u32(path.rows.len() as u32)
        .u32(cols.start as u32)
        .u32(cols.len() as u32)
        .u32(width as u32)
        .u32(inputs as u32)
        .arg()
}

/// The Euclidean norms of the rows `cols` of `W + s B A`, `[1, O]`, and with `factors` the
/// magnitudes divided by them.
pub fn norms(
    be: &Cuda,
    weight: &Tensor,
    cols: &Range<usize>,
    path: &Path<'_>,
    factors: Option<&mut Tensor>,
) -> Result<Tensor> {
    let norms = Tensor::stale(be.gpu(), 1, cols.len(), false)?;
    let factors = factors.map_or_else(View::none, |factors| factors.view());
    let path_arg = path_arg(path, cols, weight.rows(), weight.cols());
    let args = [norms.arg(), factors.arg(), weight.arg(), path.params.arg(), path_arg];
    be.gpu().launch("dora_norms", (cols.len(), 1), THREADS, 0, &args)?;
    Ok(norms)
}

/// The paths of a site that have magnitudes.
fn scaled<'s, 'a>(site: &'s Site<'a, Tensor>) -> impl Iterator<Item = &'s Path<'a>> {
    site.paths.iter().filter(|path| path.magnitude.is_some())
}

/// From `v + b` in the paths' rows of `y[:, cols]` to `g v + b`.
pub fn forward(
    be: &Cuda,
    y: &mut Tensor,
    layer: &Linear<Weight, Tensor>,
    site: &Site<'_, Tensor>,
) -> Result<Vec<Saved>> {
    let cols = &site.columns;
    let weight = layer.weight.values(be)?;
    let bias = layer.bias.as_ref().map_or_else(View::none, Tensor::view);
    let mut saved = Vec::new();
    for path in scaled(site) {
        let mut factors = Tensor::stale(be.gpu(), 1, cols.len(), false)?;
        let norms = norms(be, &weight, cols, path, Some(&mut factors))?;
        let directions = Tensor::stale(be.gpu(), path.rows.len(), cols.len(), false)?;
        let path_arg = path_arg(path, cols, y.cols(), weight.cols());
        let args = [y.arg(), directions.arg(), factors.arg(), bias.arg(), path_arg];
        elementwise(be.gpu(), "dora_scale", directions.len(), &args)?;
        saved.push(Saved { directions, norms, factors });
    }
    Ok(saved)
}

/// `dm += sum over rows of dy v / |W + s B A|`, and from dy to the gradient of v, `g dy`.
pub fn backward(
    be: &Cuda,
    dy: &mut Tensor,
    saved: &[Saved],
    site: &Site<'_, Tensor>,
    grads: &[&mut Tensor],
) -> Result<()> {
    let cols = &site.columns;
    for (path, saved) in scaled(site).zip(saved) {
        let grad = &grads[path.adapter];
        let Saved { directions, norms, factors } = saved;
        let path_arg = path_arg(path, cols, dy.cols(), 0);
        let args = [dy.arg(), grad.arg(), directions.arg(), norms.arg(), factors.arg(), path_arg];
        elementwise(be.gpu(), "dora_backward", cols.len(), &args)?;
    }
    Ok(())
}
