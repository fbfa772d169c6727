//! `DoRA`; letters and algebra as in the CPU backend's `dora`.

use candle_core::{D, DType, Tensor};

use super::columns::with_columns;
use crate::backend::{LoraPath, Site};
use crate::error::Result;

type Path<'a> = LoraPath<'a, Tensor>;

/// What the backward pass of one path needs.
#[derive(Debug)]
pub struct Saved {
    /// v, `[n, O]`.
    directions: Tensor,
    /// `|W + s B A|` of each output, `[1, O]`.
    norms: Tensor,
}

fn magnitudes(path: &Path<'_>, outputs: usize) -> Result<Tensor> {
    Ok(path.params.narrow(1, path.magnitude.unwrap_or_default(), outputs)?)
}

/// The Euclidean norms of the rows of `W + s B A`, `[1, O]`, for the weight `[O, I]` of the path.
pub fn norms(weight: &Tensor, path: &Path<'_>, wide: DType) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let part = |at: usize, rows: usize, cols: usize| -> Result<Tensor> {
        Ok(path.params.narrow(1, at, rows * cols)?.reshape((rows, cols))?.to_dtype(wide)?)
    };
    let (a, b) = (part(path.a, path.rank, inputs)?, part(path.b, outputs, path.rank)?);
    let sum = (weight.to_dtype(wide)? + (b.matmul(&a)? * path.scale)?)?;
    Ok(sum.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.t()?.contiguous()?)
}

/// The rows of a matrix that belong to paths with magnitudes, changed by `change`, and the others as
/// they are.
fn with_rows(
    x: &Tensor,
    paths: &[Path<'_>],
    mut change: impl FnMut(&Path<'_>, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut pieces = Vec::with_capacity(2 * paths.len() + 1);
    let mut done = 0;
    for path in paths.iter().filter(|path| path.magnitude.is_some()) {
        if path.rows.start > done {
            pieces.push(x.narrow(0, done, path.rows.start - done)?);
        }
        pieces.push(change(path, &x.narrow(0, path.rows.start, path.rows.len())?)?);
        done = path.rows.end;
    }
    if done < x.dim(0)? {
        pieces.push(x.narrow(0, done, x.dim(0)? - done)?);
    }
    Ok(Tensor::cat(&pieces, 0)?)
}

/// From `v + b` in the paths' rows of `y[:, cols]` to `g ∘ v + b`. `weight` and `bias` are those of
/// the columns.
pub fn forward(
    y: &mut Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    site: &Site<'_, Tensor>,
    wide: DType,
) -> Result<Vec<Saved>> {
    let (mut saved, cols) = (Vec::new(), &site.columns);
    let columns = y.narrow(1, cols.start, cols.len())?;
    let columns = with_rows(&columns, &site.paths, |path, rows| {
        let norms = norms(weight, path, wide)?;
        let mut v = rows.to_dtype(wide)?;
        let bias = bias.map(|bias| bias.to_dtype(wide)).transpose()?;
        if let Some(bias) = &bias {
            v = v.broadcast_sub(bias)?;
        }
        let g = (magnitudes(path, cols.len())? / &norms)?;
        let mut scaled = v.broadcast_mul(&g)?;
        if let Some(bias) = &bias {
            scaled = scaled.broadcast_add(bias)?;
        }
        saved.push(Saved { directions: v, norms });
        Ok(scaled.to_dtype(rows.dtype())?)
    })?;
    *y = with_columns(y, cols, columns)?;
    Ok(saved)
}

/// `dm += sum over rows of dy ∘ v / |W + s B A|`, and from dy to the gradient of v, `g ∘ dy`.
pub fn backward(
    dy: &mut Tensor,
    saved: &[Saved],
    site: &Site<'_, Tensor>,
    grads: &mut [&mut Tensor],
) -> Result<()> {
    let (mut saved, cols) = (saved.iter(), &site.columns);
    let columns = dy.narrow(1, cols.start, cols.len())?;
    let columns = with_rows(&columns, &site.paths, |path, rows| {
        // The forward pass went through the same paths.
        let Some(Saved { directions, norms }) = saved.next() else { return Ok(rows.clone()) };
        let d = rows.to_dtype(directions.dtype())?;
        let dm = ((&d * directions)?.sum_keepdim(0)? / norms)?;
        let (grad, at) = (&mut grads[path.adapter], path.magnitude.unwrap_or_default());
        let sum = (grad.narrow(1, at, cols.len())? + dm.to_dtype(grad.dtype())?)?;
        grad.slice_set(&sum.contiguous()?, 1, at)?;
        let g = (magnitudes(path, cols.len())? / norms)?;
        Ok(d.broadcast_mul(&g)?.to_dtype(rows.dtype())?)
    })?;
    *dy = with_columns(dy, cols, columns)?;
    Ok(())
}
