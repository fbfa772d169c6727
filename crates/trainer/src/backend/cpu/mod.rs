//! The CPU backend: slices, recycled buffers, fused loops, one thread pool.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::{Activation, AdamWUpdate, Attention, Backend, Head, Linear, LoraPath, Step};
use crate::error::Result;
use crate::format::Stored;

mod adamw;
mod attention;
mod buffer;
mod dora;
mod gemm;
mod glu;
mod lora;
mod loss;
mod norm;
mod past;
mod plan;
mod rope;
mod weight;

pub use buffer::Buf;
pub use plan::Plan;
pub use weight::{Weight, decoded_values, keeps_format};

use crate::real::{Real, rows_per_task, simd};
use buffer::Pool;

/// Computes with `T` (`f32`; `f64` to check gradients) on the threads of the current rayon pool.
/// Clones share one pool of memory.
#[derive(Debug, Clone)]
pub struct Cpu<T: Real> {
    pool: Arc<Pool<T>>,
    rope: Arc<rope::Table<T>>,
    /// Values from which on a frozen matrix keeps the format of its file.
    keep_from: usize,
}

/// Values of 1 MiB in f32: smaller matrices stay in a core's cache.
pub const KEEP_FROM: usize = 256 * 1024;

impl<T: Real> Default for Cpu<T> {
    fn default() -> Self {
        Self::with_limit(usize::MAX)
    }
}

impl<T: Real> Cpu<T> {
    /// A backend that takes as much memory as the system gives.
    pub fn new() -> Self {
        Self::default()
    }

    /// A backend whose matrices, those of the base model included, take at most `bytes` together.
    pub fn with_limit(bytes: usize) -> Self {
        let pool = Arc::new(Pool::new(bytes));
        Self { pool, rope: Arc::default(), keep_from: KEEP_FROM }
    }

    /// The same, but frozen matrices keep the format of their file from this many values on.
    #[must_use]
    pub fn keeping_formats_from(self, values: usize) -> Self {
        Self { keep_from: values, ..self }
    }

    /// The most bytes that its matrices have taken together.
    pub fn peak_bytes(&self) -> usize {
        self.pool.peak_bytes()
    }
}

impl<T: Real> Backend for Cpu<T> {
    type Tensor = Buf<T>;
    type Frozen = Weight<T>;
    type LowRank = Buf<T>;
    type Dora = Vec<dora::Saved<T>>;
    type Plan<'a> = Plan<'a, T>;

    fn plan<'a>(&self, step: Step<'a, Buf<T>>) -> Result<Plan<'a, T>> {
        Ok(Plan::new(step, &self.rope))
    }

    fn device(&self) -> String {
        "cpu".to_owned()
    }

    fn trim(&self) {
        self.pool.trim();
    }

    fn lanes(&self) -> Option<usize> {
        Some(rayon::current_num_threads())
    }

    fn tensor(&self, values: &[f32], rows: usize, cols: usize) -> Result<Buf<T>> {
        let mut buf = self.pool.stale(rows, cols)?;
        for (to, from) in buf.as_mut_slice().iter_mut().zip(values) {
            *to = T::from_f64(f64::from(*from));
        }
        Ok(buf)
    }

    fn zeros(&self, rows: usize, cols: usize) -> Result<Buf<T>> {
        self.pool.zeros(rows, cols)
    }

    fn clear(&self, tensor: &mut Buf<T>) -> Result<()> {
        tensor.as_mut_slice().fill(T::default());
        Ok(())
    }

    fn values(&self, tensor: &Buf<T>) -> Result<Vec<f32>> {
        Ok(tensor.as_slice().iter().map(|x| x.to_f64() as f32).collect())
    }

    fn copy_values(&self, tensor: &Buf<T>, to: &mut Vec<f32>) -> Result<()> {
        to.clear();
        to.extend(tensor.as_slice().iter().map(|x| x.to_f64() as f32));
        Ok(())
    }

    fn freeze(&self, parts: &[Stored]) -> Result<Weight<T>> {
        Weight::new(&self.pool, parts, self.keep_from)
    }

    fn freeze_bias(&self, parts: &[Stored]) -> Result<Buf<T>> {
        let mut joined = self.pool.stale(1, parts.iter().map(Stored::cols).sum())?;
        let mut to = joined.as_mut_slice();
        for part in parts {
            let (mine, rest) = to.split_at_mut(part.cols());
            part.decode(0..1, 0..part.cols(), mine);
            to = rest;
        }
        Ok(joined)
    }

    fn freeze_norm(&self, weight: &Stored, offset: f64) -> Result<Buf<T>> {
        let mut frozen = self.freeze_bias(std::slice::from_ref(weight))?;
        for w in frozen.as_mut_slice() {
            *w += T::from_f64(offset);
        }
        Ok(frozen)
    }

    fn embed(&self, table: &Weight<T>, scale: f64, plan: &Plan<'_, T>) -> Result<Buf<T>> {
        let ids = &plan.rows.ids;
        let mut x = self.pool.stale(ids.len(), table.cols())?;
        for (row, id) in x.as_mut_slice().chunks_exact_mut(table.cols()).zip(ids) {
            table.row(*id as usize, row);
        }
        if scale != 1.0 {
            let scale = T::from_f64(scale);
            x.as_mut_slice().iter_mut().for_each(|x| *x *= scale);
        }
        Ok(x)
    }

    fn pick_rows(&self, x: &Buf<T>, plan: &Plan<'_, T>) -> Result<Buf<T>> {
        let mut picked = self.pool.stale(plan.rows_read(), x.cols())?;
        for (to, row) in picked.as_mut_slice().chunks_exact_mut(x.cols()).zip(plan.read_rows()) {
            to.copy_from_slice(x.row(row));
        }
        Ok(picked)
    }

    fn place_rows(&self, y: &Buf<T>, plan: &Plan<'_, T>) -> Result<Buf<T>> {
        let mut placed = self.pool.zeros(plan.rows.len(), y.cols())?;
        for (from, row) in y.as_slice().chunks_exact(y.cols()).zip(plan.read_rows()) {
            placed.row_mut(row).copy_from_slice(from);
        }
        Ok(placed)
    }

    fn add_assign(&self, x: &mut Buf<T>, y: &Buf<T>) -> Result<()> {
        let chunk = rows_per_task(x.as_slice().len(), 1);
        let tasks = x.as_mut_slice().par_chunks_mut(chunk).zip(y.as_slice().par_chunks(chunk));
        tasks.for_each(|(x, y)| {
            simd(
                #[inline(always)]
                || {
                    for (x, y) in x.iter_mut().zip(y) {
                        *x += *y;
                    }
                },
            );
        });
        Ok(())
    }

    fn linear(&self, x: &Buf<T>, layer: &Linear<Weight<T>, Buf<T>>) -> Result<Buf<T>> {
        let mut y = self.pool.stale(x.rows(), layer.weight.rows())?;
        let parts = gemm::parts(x.rows() * x.cols() * layer.weight.rows());
        layer.weight.forward(&self.pool, y.mat_mut(), x.mat(), parts)?;
        if let Some(bias) = &layer.bias {
            for row in y.as_mut_slice().chunks_exact_mut(bias.cols()) {
                for (y, b) in row.iter_mut().zip(bias.as_slice()) {
                    *y += *b;
                }
            }
        }
        Ok(y)
    }

    fn linear_backward(&self, dy: &Buf<T>, layer: &Linear<Weight<T>, Buf<T>>) -> Result<Buf<T>> {
        let mut dx = self.pool.stale(dy.rows(), layer.weight.cols())?;
        let parts = gemm::parts(dy.rows() * dy.cols() * layer.weight.cols());
        layer.weight.backward(&self.pool, dx.mat_mut(), dy.mat(), parts)?;
        Ok(dx)
    }

    fn lora(&self, y: &mut Buf<T>, x: &Buf<T>, plan: &Plan<'_, T>, site: usize) -> Result<Buf<T>> {
        lora::forward(&self.pool, y, x, &plan.site(site))
    }

    fn lora_backward(
        &self,
        dx: Option<&mut Buf<T>>,
        dy: &Buf<T>,
        x: &Buf<T>,
        low_rank: &Buf<T>,
        plan: &Plan<'_, T>,
        site: usize,
        grads: &mut [&mut Buf<T>],
    ) -> Result<()> {
        lora::backward(&self.pool, dx, dy, x, low_rank, &plan.site(site), grads)
    }

    fn row_norms(
        &self,
        columns: Range<usize>,
        layer: &Linear<Weight<T>, Buf<T>>,
        path: &LoraPath<'_, Buf<T>>,
    ) -> Result<Vec<f32>> {
        self.values(&dora::norms(&self.pool, &layer.weight, &columns, path)?)
    }

    fn dora(
        &self,
        y: &mut Buf<T>,
        layer: &Linear<Weight<T>, Buf<T>>,
        plan: &Plan<'_, T>,
        site: usize,
    ) -> Result<Self::Dora> {
        dora::forward(&self.pool, y, layer, &plan.sites[site])
    }

    fn dora_backward(
        &self,
        dy: &mut Buf<T>,
        saved: &Self::Dora,
        plan: &Plan<'_, T>,
        site: usize,
        grads: &mut [&mut Buf<T>],
    ) -> Result<()> {
        dora::backward(dy, saved, &plan.sites[site], grads);
        Ok(())
    }

    fn rms_norm(&self, x: &Buf<T>, weight: &Buf<T>, eps: f64) -> Result<(Buf<T>, Buf<T>)> {
        let mut y = self.pool.stale(x.rows(), x.cols())?;
        let mut inv = self.pool.stale(x.rows(), 1)?;
        let (to, factors) = (y.as_mut_slice(), inv.as_mut_slice());
        norm::forward(to, factors, x.as_slice(), weight.as_slice(), T::from_f64(eps));
        Ok((y, inv))
    }

    fn rms_norm_backward(
        &self,
        dx: &mut Buf<T>,
        dy: &Buf<T>,
        x: &Buf<T>,
        inverse_rms: &Buf<T>,
        weight: &Buf<T>,
    ) -> Result<()> {
        let (dy, x, inv) = (dy.as_slice(), x.as_slice(), inverse_rms.as_slice());
        norm::backward(dx.as_mut_slice(), dy, x, inv, weight.as_slice());
        Ok(())
    }

    fn head_norm(
        &self,
        x: &mut Buf<T>,
        cols: Range<usize>,
        weight: &Buf<T>,
        eps: f64,
    ) -> Result<Buf<T>> {
        let all = x.cols();
        let mut saved = self.pool.stale(x.rows(), cols.len())?;
        let rows = x.as_mut_slice().par_chunks_exact_mut(all);
        rows.zip(saved.as_mut_slice().par_chunks_exact_mut(cols.len())).for_each(|(row, saved)| {
            let row = &mut row[cols.clone()];
            saved.copy_from_slice(row);
            simd(
                #[inline(always)]
                || norm::heads_forward(row, weight.as_slice(), T::from_f64(eps)),
            );
        });
        Ok(saved)
    }

    fn head_norm_backward(
        &self,
        dx: &mut Buf<T>,
        cols: Range<usize>,
        saved: &Buf<T>,
        weight: &Buf<T>,
        eps: f64,
    ) -> Result<()> {
        let all = dx.cols();
        let rows = dx.as_mut_slice().par_chunks_exact_mut(all);
        rows.zip(saved.as_slice().par_chunks_exact(cols.len())).for_each(|(row, x)| {
            let row = &mut row[cols.clone()];
            simd(
                #[inline(always)]
                || norm::heads_backward(row, x, weight.as_slice(), T::from_f64(eps)),
            );
        });
        Ok(())
    }

    fn rope(&self, qkv: &mut Buf<T>, rope: usize, inverse: bool, plan: &Plan<'_, T>) -> Result<()> {
        let cols = qkv.cols();
        for (rows, angles) in plan.angles(rope) {
            let positions = &plan.rows.positions[rows.clone()];
            let qkv = &mut qkv.as_mut_slice()[rows.start * cols..rows.end * cols];
            rope::rotate(qkv, plan.attention, positions, angles, inverse);
        }
        Ok(())
    }

    fn attention(
        &self,
        qkv: &Buf<T>,
        attention: &Attention,
        plan: &Plan<'_, T>,
    ) -> Result<(Buf<T>, Buf<T>)> {
        let mut out = self.pool.stale(qkv.rows(), attention.shape.q_columns())?;
        let mut lse = self.pool.stale(qkv.rows(), attention.shape.heads)?;
        attention::forward(out.mat_mut(), lse.mat_mut(), qkv.mat(), attention, &plan.families);
        Ok((out, lse))
    }

    fn attention_with_past(
        &self,
        qkv: &Buf<T>,
        attention: &Attention,
        past: &mut [&mut Buf<T>],
        plan: &Plan<'_, T>,
    ) -> Result<(Buf<T>, Buf<T>)> {
        past::forward(&self.pool, qkv, attention, past, plan)
    }

    fn attention_backward(
        &self,
        dout: &Buf<T>,
        qkv: &Buf<T>,
        out: &Buf<T>,
        log_denominators: &Buf<T>,
        attention: &Attention,
        plan: &Plan<'_, T>,
    ) -> Result<Buf<T>> {
        let mut dqkv = self.pool.stale(qkv.rows(), qkv.cols())?;
        let (out, lse) = (out.mat(), log_denominators.mat());
        let (dout, qkv) = (dout.mat(), qkv.mat());
        attention::backward(dqkv.mat_mut(), dout, qkv, out, lse, attention, &plan.families);
        Ok(dqkv)
    }

    fn glu(&self, gate_up: &Buf<T>, f: Activation) -> Result<Buf<T>> {
        let ffn = gate_up.cols() / 2;
        let mut y = self.pool.stale(gate_up.rows(), ffn)?;
        glu::forward(y.as_mut_slice(), gate_up.as_slice(), ffn, f);
        Ok(y)
    }

    fn glu_with_slopes(&self, gate_up: &mut Buf<T>, f: Activation) -> Result<Buf<T>> {
        let ffn = gate_up.cols() / 2;
        let mut y = self.pool.stale(gate_up.rows(), ffn)?;
        glu::forward_with_slopes(y.as_mut_slice(), gate_up.as_mut_slice(), ffn, f);
        Ok(y)
    }

    fn glu_backward(&self, slopes: &mut Buf<T>, dy: &Buf<T>) -> Result<()> {
        glu::backward(slopes.as_mut_slice(), dy.as_slice(), dy.cols());
        Ok(())
    }

    fn logits(&self, h: &Buf<T>, head: Head<'_, Weight<T>>) -> Result<Vec<f32>> {
        let weight = head.weight;
        let mut logits = self.pool.stale(h.rows(), weight.rows())?;
        let parts = gemm::parts(h.rows() * h.cols() * weight.rows());
        weight.forward(&self.pool, logits.mat_mut(), h.mat(), parts)?;
        if let Some(cap) = head.softcap {
            attention::soft_cap(logits.as_mut_slice(), cap);
        }
        self.values(&logits)
    }

    fn cross_entropy(
        &self,
        h: Buf<T>,
        head: Head<'_, Weight<T>>,
        with_gradient: bool,
        plan: &Plan<'_, T>,
    ) -> Result<(Vec<f32>, Option<Buf<T>>)> {
        loss::cross_entropy(&self.pool, h, head, &plan.rows.targets, with_gradient)
    }

    fn norms(&self, vectors: &[&Buf<T>]) -> Result<Vec<f64>> {
        Ok(vectors.iter().map(|vector| adamw::norm(vector.as_slice())).collect())
    }

    fn adamw(&self, updates: &mut [AdamWUpdate<'_, Buf<T>>]) -> Result<()> {
        for update in updates {
            let values = adamw::Values {
                params: update.params.as_mut_slice(),
                grad: update.grad.as_mut_slice(),
                first: update.first_moment.as_mut_slice(),
                second: update.second_moment.as_mut_slice(),
            };
            adamw::step(values, update.rate_factors.map(Buf::as_slice), &update.step);
        }
        Ok(())
    }
}
