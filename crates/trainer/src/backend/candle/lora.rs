//! The low-rank paths of all slots at one linear layer; letters as in the CPU backend's `lora`.

use std::ops::Range;

use candle_core::Tensor;

use super::CandleBackend;
use crate::backend::LoraPath;
use crate::error::Result;

type Path<'a> = LoraPath<'a, Tensor>;

/// A matrix of the path's flat vector, in the format of the activations.
fn matrix(path: &Path<'_>, at: usize, rows: usize, cols: usize, like: &Tensor) -> Result<Tensor> {
    let flat = path.params.narrow(1, at, rows * cols)?;
    Ok(flat.reshape((rows, cols))?.to_dtype(like.dtype())?)
}

/// The path's dropout factors for `[n, cols]`, where it has dropout.
fn factors(path: &Path<'_>, cols: usize, like: &Tensor) -> Result<Option<Tensor>> {
    let Some(dropout) = &path.dropout else { return Ok(None) };
    let values = dropout.factors(path.rows.len(), cols);
    let factors = Tensor::from_vec(values, (path.rows.len(), cols), like.device())?;
    Ok(Some(factors.to_dtype(like.dtype())?))
}

/// The path's rows of x, with its dropout.
fn input(x: &Tensor, path: &Path<'_>) -> Result<Tensor> {
    let rows = x.narrow(0, path.rows.start, path.rows.len())?;
    Ok(match factors(path, x.dim(1)?, x)? {
        Some(factors) => (rows * factors)?,
        None => rows,
    })
}

/// Puts the paths' rows together, with zeros where no path is.
fn assemble(parts: Vec<Tensor>, paths: &[Path<'_>], rows: usize) -> Result<Option<Tensor>> {
    let Some(first) = parts.first() else { return Ok(None) };
    let (cols, dtype, device) = (first.dim(1)?, first.dtype(), first.device().clone());
    let zeros = |n: usize| Tensor::zeros((n, cols), dtype, &device);
    let mut pieces = Vec::with_capacity(2 * parts.len() + 1);
    let mut done = 0;
    for (part, path) in parts.into_iter().zip(paths) {
        if path.rows.start > done {
            pieces.push(zeros(path.rows.start - done)?);
        }
        pieces.push(part);
        done = path.rows.end;
    }
    if done < rows {
        pieces.push(zeros(rows - done)?);
    }
    Ok(Some(Tensor::cat(&pieces, 0)?))
}

/// `u = dropout(x) A^T`, `y[:, cols] += s u B^T`.
pub fn forward(
    y: &mut Tensor,
    cols: Range<usize>,
    x: &Tensor,
    paths: &[Path<'_>],
) -> Result<Vec<Tensor>> {
    let mut low_rank = Vec::with_capacity(paths.len());
    let mut deltas = Vec::with_capacity(paths.len());
    for path in paths {
        let a = matrix(path, path.a, path.rank, x.dim(1)?, x)?;
        let b = matrix(path, path.b, cols.len(), path.rank, x)?;
        let u = input(x, path)?.matmul(&a.t()?)?;
        deltas.push((u.matmul(&b.t()?)? * path.scale)?);
        low_rank.push(u);
    }
    if let Some(delta) = assemble(deltas, paths, y.dim(0)?)? {
        let columns = (y.narrow(1, cols.start, cols.len())? + delta)?;
        *y = CandleBackend::with_columns(y, &cols, columns)?;
    }
    Ok(low_rank)
}

/// `du = s dy B`, `dx += dropout'(du A)`, `dA += du^T dropout(x)`, `dB += s dy^T u`.
pub fn backward(
    dx: Option<&mut Tensor>,
    dy: &Tensor,
    cols: Range<usize>,
    x: &Tensor,
    low_rank: &[Tensor],
    paths: &[Path<'_>],
    grads: &mut [&mut Tensor],
) -> Result<()> {
    let dy = dy.narrow(1, cols.start, cols.len())?.to_dtype(x.dtype())?;
    let mut through = Vec::with_capacity(paths.len());
    for ((path, u), grad) in paths.iter().zip(low_rank).zip(grads) {
        let a = matrix(path, path.a, path.rank, x.dim(1)?, x)?;
        let b = matrix(path, path.b, cols.len(), path.rank, x)?;
        let dy = dy.narrow(0, path.rows.start, path.rows.len())?.contiguous()?;
        let du = (dy.matmul(&b)? * path.scale)?;
        let da = du.t()?.matmul(&input(x, path)?.contiguous()?)?;
        let db = (dy.t()?.matmul(u)? * path.scale)?;
        add_at(grad, path.a, &da)?;
        add_at(grad, path.b, &db)?;
        if dx.is_some() {
            let d = du.matmul(&a)?;
            through.push(match factors(path, x.dim(1)?, &d)? {
                Some(factors) => (d * factors)?,
                None => d,
            });
        }
    }
    if let Some(dx) = dx
        && let Some(through) = assemble(through, paths, dx.dim(0)?)?
    {
        *dx = (&*dx + through.to_dtype(dx.dtype())?)?;
    }
    Ok(())
}

/// Adds a matrix to its place in a flat gradient.
fn add_at(flat: &Tensor, at: usize, matrix: &Tensor) -> Result<()> {
    let add = matrix.to_dtype(flat.dtype())?.reshape((1, matrix.elem_count()))?;
    let sum = (flat.narrow(1, at, matrix.elem_count())? + add)?;
    Ok(flat.slice_set(&sum.contiguous()?, 1, at)?)
}
