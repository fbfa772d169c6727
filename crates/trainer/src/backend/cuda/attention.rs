//! Causal attention; the algebra is in `kernels/attention.cu`.

use std::ops::Range;

use super::Cuda;
use super::driver::{Arg, Fields};
use super::tensor::Tensor;
use crate::backend::{Attention, Family};
use crate::error::{Result, TrainerError};

/// Rows of a tile, as in `attention.cu`.
const SIDE: usize = 16;
/// The widest head that a thread's registers hold.
const WIDEST: usize = SIDE * 16;

/// What the forward pass leaves.
pub struct Saved<'a> {
    pub qkv: &'a Tensor,
    pub out: &'a Tensor,
    pub lse: &'a Tensor,
}

/// Numbers that say where a tile is.
pub const NUMBERS_OF_A_TILE: usize = 3;

/// The tiles of all sequences: see `attention.cu`.
pub fn tiles(families: &[Family]) -> impl Iterator<Item = u32> {
    let sequences = families.iter().flat_map(|family| family.sequences.iter());
    let of_sequence = |rows: &Range<usize>| {
        let (begin, end) = (rows.start as u32, rows.end as u32);
        rows.clone()
            .step_by(SIDE)
            .flat_map(move |first| -> [u32; NUMBERS_OF_A_TILE] { [begin, end, first as u32] })
    };
    sequences.flat_map(of_sequence)
}

fn shape(attention: &Attention) -> Result<Arg<'static>> {
    let shape = attention.shape;
    if shape.head_dim > WIDEST {
        return Err(TrainerError::Device(format!(
            "heads of {} values are wider than the {WIDEST} that attention on a GPU takes; use \
             `executor.device: cpu`",
            shape.head_dim
        )));
    }
    Ok(Fields::default()
        .u32(shape.heads as u32)
        .u32(shape.kv_heads as u32)
        .u32(shape.head_dim as u32)
        .u32(attention.window.unwrap_or(0) as u32)
        .f32(attention.scale as f32)
        .f32(attention.softcap.unwrap_or(0.0) as f32)
        .arg())
}

/// Shared memory of this many tiles of rows and of scores.
const fn shared(rows: usize, scores: usize, head_dim: usize) -> usize {
    4 * SIDE * (rows * (head_dim + 1) + scores * (SIDE + 1))
}

const THREADS: u32 = (SIDE * SIDE) as u32;

/// The output `[N, H E]` and the logs of the denominators `[N, H]`.
pub fn forward(
    be: &Cuda,
    qkv: &Tensor,
    attention: &Attention,
    (tiles, count): (Arg<'_>, usize),
) -> Result<(Tensor, Tensor)> {
    let of = attention.shape;
    let out = be.stale(qkv.rows(), of.q_columns())?;
    let lse = Tensor::stale(be.gpu(), qkv.rows(), of.heads, false)?;
    let args = [out.arg(), lse.arg(), qkv.arg(), tiles, shape(attention)?];
    let shared = shared(3, 1, of.head_dim);
    be.gpu().launch("attention", (count, of.heads), THREADS, shared, &args)?;
    Ok((out, lse))
}

/// The gradient of qkv.
pub fn backward(
    be: &Cuda,
    dout: &Tensor,
    saved: &Saved<'_>,
    attention: &Attention,
    (tiles, count): (Arg<'_>, usize),
) -> Result<Tensor> {
    let (of, Saved { qkv, out, lse }) = (attention.shape, saved);
    let dqkv = be.stale(qkv.rows(), qkv.cols())?;
    let along = Tensor::stale(be.gpu(), qkv.rows(), of.heads, false)?;
    let rule = shape(attention)?;
    let args = [
        dqkv.arg(),
        along.arg(),
        dout.arg(),
        qkv.arg(),
        out.arg(),
        lse.arg(),
        tiles.clone(),
        rule.clone(),
    ];
    let bytes = shared(4, 1, of.head_dim);
    be.gpu().launch("attention_backward_q", (count, of.heads), THREADS, bytes, &args)?;
    let args = [dqkv.arg(), along.arg(), dout.arg(), qkv.arg(), lse.arg(), tiles, rule];
    let bytes = shared(4, 2, of.head_dim);
    be.gpu().launch("attention_backward_kv", (count, of.kv_heads), THREADS, bytes, &args)?;
    Ok(dqkv)
}
