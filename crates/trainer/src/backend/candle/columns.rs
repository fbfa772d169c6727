//! Columns of a matrix, replaced.

use std::ops::Range;

use candle_core::Tensor;

use crate::error::Result;

/// Replaces columns of a matrix.
pub fn with_columns(x: &Tensor, cols: &Range<usize>, middle: Tensor) -> Result<Tensor> {
    let all = x.dim(1)?;
    let mut parts = Vec::with_capacity(3);
    if cols.start > 0 {
        parts.push(x.narrow(1, 0, cols.start)?);
    }
    parts.push(middle);
    if cols.end < all {
        parts.push(x.narrow(1, cols.end, all - cols.end)?);
    }
    Ok(Tensor::cat(&parts, 1)?)
}
