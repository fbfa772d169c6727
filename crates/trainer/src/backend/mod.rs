//! The operations a decoder is made of, each with its backward pass, behind one trait.
//!
//! Letters: N rows (tokens of all sequences of all slots of a step, one after another), D hidden
//! size, F feed-forward size, H query heads, K key/value heads, E head size, R LoRA rank,
//! V vocabulary. Activations are `[N, columns]`, row-major; a linear layer computes
//! `y = x W^T + b` with `W` `[out, in]`, as in PyTorch.
//!
//! Three implementations: [`cpu::Cpu`] works on slices with recycled buffers, fused loops and one
//! thread pool; [`cuda::Cuda`] queues kernels on a GPU; [`candle::CandleBackend`] composes candle
//! operations and is the oracle of the others in tests.

use std::ops::{Deref, Range};

use crate::error::{Result, TrainerError};
use crate::format::Stored;

pub mod candle;
pub mod cpu;
pub mod cuda;
mod ops;
mod step;

pub use ops::{Activation, AdamWStep, Attention, AttentionShape, Head, Linear};
pub use step::{Family, LoraPath, Rows, Run, Site, Step, Target, gradients_of};

/// An optimizer step on a slot's values.
#[derive(Debug)]
pub struct AdamWUpdate<'a, T> {
    /// The values.
    pub params: &'a mut T,
    /// Their gradient, which is zeroed.
    pub grad: &'a mut T,
    /// The gradient's mean.
    pub first_moment: &'a mut T,
    /// The mean of its square.
    pub second_moment: &'a mut T,
    /// Where given, multiply the learning rate of each value, in the weight decay as well.
    pub rate_factors: Option<&'a T>,
    /// The constants.
    pub step: AdamWStep,
}

/// The operations. Every function takes whole steps: rows of several sequences and slots at once.
/// What they need to know of the step is in its plan, which is made once.
/// A clone computes in the same place and from the same memory.
pub trait Backend: Clone + Send + Sync + 'static {
    /// A matrix of activations, adapter values or gradients.
    type Tensor: Send + Sync + std::fmt::Debug;
    /// A frozen matrix of the base model, in whatever format the backend keeps it.
    type Frozen: Send + Sync + std::fmt::Debug;
    /// The low-rank activations `x A^T` that a LoRA forward pass keeps for its backward pass.
    type LowRank: Send + std::fmt::Debug;
    /// What `DoRA`'s forward pass keeps for its backward pass.
    type Dora: Send + std::fmt::Debug;

    /// A step with the tables that the operations need of it, where they need them: on a GPU what is
    /// copied there once. It is used for one forward pass and, in training, the backward pass after it,
    /// with the same gradients in every call.
    type Plan<'a>: Deref<Target = Step<'a, Self::Tensor>> + Send + Sync + std::fmt::Debug;

    /// Makes the tables of a step.
    fn plan<'a>(&self, step: Step<'a, Self::Tensor>) -> Result<Self::Plan<'a>>;

    /// Where it computes: `cpu`, `cuda:0`.
    fn device(&self) -> String;

    /// Gives memory that is kept for reuse back to the system.
    fn trim(&self);

    /// How many parts of a step it computes well beside each other; `None` when every operation
    /// fills it alone, as on a GPU. Where there are lanes, sequences that begin alike come as one
    /// [`Family`]; else each is alone.
    fn lanes(&self) -> Option<usize> {
        None
    }

    /// A matrix from row-major values.
    fn tensor(&self, values: &[f32], rows: usize, cols: usize) -> Result<Self::Tensor>;
    /// A matrix of zeros.
    fn zeros(&self, rows: usize, cols: usize) -> Result<Self::Tensor>;
    /// Sets all values to zero.
    fn clear(&self, tensor: &mut Self::Tensor) -> Result<()>;
    /// The values, row-major.
    fn values(&self, tensor: &Self::Tensor) -> Result<Vec<f32>>;
    /// Puts the values, row-major, in place of those of `to`, whose memory is used again where it
    /// can be.
    fn copy_values(&self, tensor: &Self::Tensor, to: &mut Vec<f32>) -> Result<()> {
        *to = self.values(tensor)?;
        Ok(())
    }
    /// A frozen matrix from matrices of the model file with the same columns, one below the other.
    fn freeze(&self, parts: &[Stored]) -> Result<Self::Frozen>;
    /// A table whose rows are looked up or multiplied with: the embedding and the output head.
    fn freeze_table(&self, table: &Stored) -> Result<Self::Frozen> {
        self.freeze(std::slice::from_ref(table))
    }
    /// A bias from vectors of the model file, one after the other, as one row.
    fn freeze_bias(&self, parts: &[Stored]) -> Result<Self::Tensor>;
    /// A norm's weight plus `offset` (1 where the model multiplies by `1 + w`), as one row in the
    /// format that norms are computed in.
    fn freeze_norm(&self, weight: &Stored, offset: f64) -> Result<Self::Tensor>;

    /// Rows of the table `[V, D]` for the step's tokens, times `scale`.
    fn embed(
        &self,
        table: &Self::Frozen,
        scale: f64,
        plan: &Self::Plan<'_>,
    ) -> Result<Self::Tensor>;
    /// The rows of x that are read ([`Step::read`]), one below the other.
    fn pick_rows(&self, x: &Self::Tensor, plan: &Self::Plan<'_>) -> Result<Self::Tensor>;
    /// The gradient through [`Backend::pick_rows`]: the rows of y at their places among all rows of the
    /// step, zeros elsewhere.
    fn place_rows(&self, y: &Self::Tensor, plan: &Self::Plan<'_>) -> Result<Self::Tensor>;
    /// `x += y`.
    fn add_assign(&self, x: &mut Self::Tensor, y: &Self::Tensor) -> Result<()>;

    /// `y = x W^T + b`.
    fn linear(
        &self,
        x: &Self::Tensor,
        layer: &Linear<Self::Frozen, Self::Tensor>,
    ) -> Result<Self::Tensor>;
    /// `dx = dy W`. There is no gradient of W: it is frozen.
    fn linear_backward(
        &self,
        dy: &Self::Tensor,
        layer: &Linear<Self::Frozen, Self::Tensor>,
    ) -> Result<Self::Tensor>;

    /// `y[rows, columns] += scale * dropout(x[rows]) A^T B^T` for each path of a site.
    fn lora(
        &self,
        y: &mut Self::Tensor,
        x: &Self::Tensor,
        plan: &Self::Plan<'_>,
        site: usize,
    ) -> Result<Self::LowRank>;
    /// Adds each path's gradients of A and B to `grads` (one an adapter, laid out as its params) and
    /// the gradient of x to `dx`, where one is wanted.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the formula")]
    fn lora_backward(
        &self,
        dx: Option<&mut Self::Tensor>,
        dy: &Self::Tensor,
        x: &Self::Tensor,
        low_rank: &Self::LowRank,
        plan: &Self::Plan<'_>,
        site: usize,
        grads: &mut [&mut Self::Tensor],
    ) -> Result<()>;

    /// The lengths of the rows `columns` of `W + scale B A`: the magnitudes that `DoRA` begins with.
    fn row_norms(
        &self,
        columns: Range<usize>,
        layer: &Linear<Self::Frozen, Self::Tensor>,
        path: &LoraPath<'_, Self::Tensor>,
    ) -> Result<Vec<f32>>;
    /// `DoRA` (Liu et al. 2024, arXiv:2402.09353, eq. 5) after the layer and its low-rank paths: in
    /// the rows of each path of a site that has magnitudes m, from `y = v + bias` to
    /// `m / |W + scale B A| v + bias`.
    fn dora(
        &self,
        y: &mut Self::Tensor,
        layer: &Linear<Self::Frozen, Self::Tensor>,
        plan: &Self::Plan<'_>,
        site: usize,
    ) -> Result<Self::Dora>;
    /// Adds the gradients of the magnitudes to `grads` (one an adapter) and makes dy the gradient of v.
    /// The norms count as constants (the same, section 4.3).
    fn dora_backward(
        &self,
        dy: &mut Self::Tensor,
        saved: &Self::Dora,
        plan: &Self::Plan<'_>,
        site: usize,
        grads: &mut [&mut Self::Tensor],
    ) -> Result<()>;

    /// `y = x / rms(x) * w` per row (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4).
    /// Returns y and the factors `1 / rms` `[N, 1]`.
    fn rms_norm(
        &self,
        x: &Self::Tensor,
        weight: &Self::Tensor,
        eps: f64,
    ) -> Result<(Self::Tensor, Self::Tensor)>;
    /// `dx += ` the gradient of x, given the factors of the forward pass.
    fn rms_norm_backward(
        &self,
        dx: &mut Self::Tensor,
        dy: &Self::Tensor,
        x: &Self::Tensor,
        inverse_rms: &Self::Tensor,
        weight: &Self::Tensor,
    ) -> Result<()>;
    /// RMS norm of every head in `cols` of `x`, in place, with one weight for all heads. A head is
    /// as wide as the weight: E values (Qwen3's q and k norm), or all columns (`OLMo` 2's). Returns
    /// what the backward pass needs.
    fn head_norm(
        &self,
        x: &mut Self::Tensor,
        cols: Range<usize>,
        weight: &Self::Tensor,
        eps: f64,
    ) -> Result<Self::Tensor>;
    /// Gradient through [`Backend::head_norm`], in place on `dx[.., cols]`; `saved` is what the
    /// forward pass returned.
    fn head_norm_backward(
        &self,
        dx: &mut Self::Tensor,
        cols: Range<usize>,
        saved: &Self::Tensor,
        weight: &Self::Tensor,
        eps: f64,
    ) -> Result<()>;

    /// Rotates the query and key heads of `qkv` in place by each row's position (Su et al. 2021,
    /// arXiv:2104.09864, in the half-split form of Llama) and multiplies what is rotated by the
    /// rope's amplitude; `inverse` rotates back with the same amplitude, which is the gradient. `rope` is
    /// its place among [`Step::ropes`].
    fn rope(
        &self,
        qkv: &mut Self::Tensor,
        rope: usize,
        inverse: bool,
        plan: &Self::Plan<'_>,
    ) -> Result<()>;
    /// Causal softmax attention within each sequence. Returns the output `[N, H E]` and the log of each
    /// softmax's denominator `[N, H]`.
    fn attention(
        &self,
        qkv: &Self::Tensor,
        attention: &Attention,
        plan: &Self::Plan<'_>,
    ) -> Result<(Self::Tensor, Self::Tensor)>;
    /// [`Backend::attention`] of rows that continue sequences: each sequence of the step attends to what
    /// `past` keeps of it as well, and its own keys and values are kept there from then on. What is kept
    /// of a sequence at one layer is `[2 K C, E]` with room for C tokens; how many there are is the
    /// position of the sequence's first row in the step. Of what is returned, the second may be unset.
    /// A backend without it cannot generate.
    fn attention_with_past(
        &self,
        qkv: &Self::Tensor,
        attention: &Attention,
        past: &mut [&mut Self::Tensor],
        plan: &Self::Plan<'_>,
    ) -> Result<(Self::Tensor, Self::Tensor)> {
        let _ = (qkv, attention, past, plan);
        Err(TrainerError::Device(
            "generation is not supported on this device: generate with `device: cpu`".to_owned(),
        ))
    }
    /// Gradient of `qkv` `[N, (H + 2K) E]`; the softmax is recomputed from the saved denominators
    /// (Dao et al. 2022, arXiv:2205.14135, section 3.1).
    fn attention_backward(
        &self,
        dout: &Self::Tensor,
        qkv: &Self::Tensor,
        out: &Self::Tensor,
        log_denominators: &Self::Tensor,
        attention: &Attention,
        plan: &Self::Plan<'_>,
    ) -> Result<Self::Tensor>;

    /// `f(gate) * up` with `gate_up` `[N, 2F]` (Shazeer 2020, arXiv:2002.05202).
    fn glu(&self, gate_up: &Self::Tensor, f: Activation) -> Result<Self::Tensor>;
    /// The same in the backward pass, which computes it again: what the gradients of gate and up
    /// are multiples of is written over them.
    fn glu_with_slopes(&self, gate_up: &mut Self::Tensor, f: Activation) -> Result<Self::Tensor>;
    /// Gradient of `gate_up`, written over the slopes.
    fn glu_backward(&self, slopes: &mut Self::Tensor, dy: &Self::Tensor) -> Result<()>;

    /// The logits of all rows: `[N, V]`, row-major.
    fn logits(&self, h: &Self::Tensor, head: Head<'_, Self::Frozen>) -> Result<Vec<f32>>;
    /// Negative log-likelihood in nats of each target of the step, of which every row of h has one, and
    /// with `with_gradient` the gradient of `sum(weight * nll)` with respect to h. Logits exist for a few
    /// rows at a time only.
    fn cross_entropy(
        &self,
        h: Self::Tensor,
        head: Head<'_, Self::Frozen>,
        with_gradient: bool,
        plan: &Self::Plan<'_>,
    ) -> Result<(Vec<f32>, Option<Self::Tensor>)>;

    /// Euclidean norm of all values of each vector.
    fn norms(&self, vectors: &[&Self::Tensor]) -> Result<Vec<f64>>;
    /// One optimizer step of each slot; the gradients are zeroed.
    fn adamw(&self, updates: &mut [AdamWUpdate<'_, Self::Tensor>]) -> Result<()>;
}
