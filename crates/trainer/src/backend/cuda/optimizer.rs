//! The optimizer's step of all slots; the algebra is in `kernels/adamw.cu`.

use super::driver::{Fields, View};
use super::tensor::Tensor;
use super::{Cuda, THREADS};
use crate::backend::{AdamWStep, AdamWUpdate};
use crate::error::Result;

/// Values of one block, and vectors of a launch, as in `adamw.cu`.
const SHARE: usize = 4096;
const MOST_VECTORS: usize = 256;
/// Bytes of a vector's entry, and of an update's.
const VECTOR: usize = 24;
const UPDATE: usize = 88;

const fn blocks(vector: &Tensor) -> usize {
    vector.len().div_ceil(SHARE)
}

/// The Euclidean norm of each vector.
pub fn norms(be: &Cuda, vectors: &[&Tensor]) -> Result<Vec<f64>> {
    let all: usize = vectors.iter().map(|vector| blocks(vector)).sum();
    if all == 0 {
        return Ok(vec![0.0; vectors.len()]);
    }
    let sums = Tensor::stale(be.gpu(), all, 2, false)?;
    let mut done = 0;
    for vectors in vectors.chunks(MOST_VECTORS) {
        let mut fields = Fields::default().u32(vectors.len() as u32).u32(0);
        let mut before = 0;
        for vector in vectors {
            fields = fields.view(vector.view()).u64(vector.len() as u64);
            fields = fields.u32(before as u32).u32(0);
            before += blocks(vector);
        }
        let table = fields.filled_to(8 + MOST_VECTORS * VECTOR).arg();
        let to = sums.view_of_rows(done..done + before);
        let args = [Fields::default().view(to).arg(), super::Arg::u64(before), table];
        be.gpu().launch("sums_of_squares", (before, 1), THREADS, 0, &args)?;
        done += before;
    }
    let mut values = vec![0.0_f64; all];
    be.gpu().download(sums.buffer(), bytemuck::cast_slice_mut(&mut values))?;
    let mut values = &values[..];
    let mut norm = |vector: &&Tensor| {
        let (mine, rest) = values.split_at(blocks(vector));
        values = rest;
        mine.iter().sum::<f64>().sqrt()
    };
    Ok(vectors.iter().map(&mut norm).collect())
}

/// One step of each.
pub fn adamw(be: &Cuda, updates: &mut [AdamWUpdate<'_, Tensor>]) -> Result<()> {
    for updates in updates.chunks(MOST_VECTORS) {
        let mut fields = Fields::default().u32(updates.len() as u32).u32(0);
        let mut before = 0;
        for update in updates {
            let AdamWUpdate { params, grad, first_moment, second_moment, .. } = update;
            let factors = update.rate_factors.map_or_else(View::none, Tensor::view);
            fields = [params, grad, first_moment, second_moment]
                .into_iter()
                .fold(fields, |fields, vector| fields.view(vector.view()))
                .view(factors)
                .u64(params.len() as u64)
                .u32(before as u32);
            fields = constants(&update.step).into_iter().fold(fields, Fields::f32);
            before += blocks(params);
        }
        let table = fields.filled_to(8 + MOST_VECTORS * UPDATE).arg();
        be.gpu().launch("adamw", (before, 1), THREADS, 0, &[table])?;
    }
    Ok(())
}

/// b1, b2, c1, c2, decay, rate, `inverse_root`, eps, scale
fn constants(s: &AdamWStep) -> [f32; 9] {
    let t = f64::from(s.step);
    [
        s.beta1,
        s.beta2,
        1.0 - s.beta1,
        1.0 - s.beta2,
        s.learning_rate * s.weight_decay,
        s.learning_rate / (1.0 - s.beta1.powf(t)),
        1.0 / (1.0 - s.beta2.powf(t)).sqrt(),
        s.epsilon,
        s.grad_scale,
    ]
    .map(|x| x as f32)
}
