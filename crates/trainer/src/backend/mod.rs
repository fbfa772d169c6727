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

use std::ops::Range;

use crate::dropout::Dropout;
use crate::error::Result;
use crate::format::Stored;
use crate::rope::Rope;

pub mod candle;
pub mod cpu;
pub mod cuda;

/// A frozen linear layer of the base model.
#[derive(Debug)]
pub struct Linear<W, T> {
    /// `[out, in]`.
    pub weight: W,
    /// `out` values.
    pub bias: Option<T>,
}

/// Shape of the attention: query heads share key/value heads in groups of `heads / kv_heads`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads H.
    pub heads: usize,
    /// Key/value heads K, a divisor of H.
    pub kv_heads: usize,
    /// Head size E.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Columns of the joined projection `[q | k | v]`: `(H + 2K) E`.
    pub const fn qkv_columns(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Columns of the query part and of the attention's output: `H E`.
    pub const fn q_columns(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Columns of the key part and of the value part: `K E`.
    pub const fn kv_columns(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// Causal attention of one block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Heads and their size.
    pub shape: AttentionShape,
    /// Factor on the products of queries and keys, `1 / sqrt(E)` in most models.
    pub scale: f64,
    /// `c`: scores become `c tanh(score / c)` (Gemma Team 2024, arXiv:2408.00118, section 2).
    pub softcap: Option<f64>,
    /// How many tokens a query sees, itself included; `None`: all before it.
    pub window: Option<usize>,
}

/// The function on the gate of a gated feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)`: `SwiGLU`.
    Silu,
    /// `GELU` by its tanh approximation (Hendrycks & Gimpel 2016, arXiv:1606.08415): `GeGLU`.
    GeluTanh,
}

/// One slot's adapter at one linear layer, over the slot's rows.
#[derive(Debug)]
pub struct LoraPath<'a, T> {
    /// The slot's rows in the step.
    pub rows: Range<usize>,
    /// Rank R.
    pub rank: usize,
    /// `alpha / r` or `alpha / sqrt(r)`.
    pub scale: f64,
    /// All of the slot's adapter values, `[1, P]`.
    pub params: &'a T,
    /// Where A `[R, in]` begins in `params`.
    pub a: usize,
    /// Where B `[out, R]` begins in `params`.
    pub b: usize,
    /// `DoRA`: where the magnitudes of the outputs begin in `params`.
    pub magnitude: Option<usize>,
    /// The dropout on the adapter's input, in training.
    pub dropout: Option<Dropout>,
}

/// Where the rows of a step stand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Places<'a> {
    /// Position of each row within its sequence.
    pub positions: &'a [u32],
    /// Rows of each sequence; together they cover all rows in order.
    pub sequences: &'a [Range<usize>],
}

/// Sequences that begin with the same tokens, whose rows are there once. Most are alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The rows of the beginning; empty where a sequence is alone.
    pub beginning: Range<usize>,
    /// The rows of each sequence behind its beginning, right after it, in order.
    pub sequences: Vec<Range<usize>>,
}

impl Family {
    /// A sequence that shares nothing.
    pub fn alone(rows: Range<usize>) -> Self {
        Self { beginning: rows.start..rows.start, sequences: vec![rows] }
    }

    /// All its rows.
    pub fn rows(&self) -> Range<usize> {
        self.beginning.start..self.sequences.last().map_or(self.beginning.end, |last| last.end)
    }

    /// Rows that attend to themselves and, where there are some, to rows before them.
    pub fn runs(&self) -> impl Iterator<Item = Run> {
        let first = (!self.beginning.is_empty()).then(|| Run {
            rows: self.beginning.clone(),
            before: self.beginning.start..self.beginning.start,
        });
        let behind =
            |rows: &Range<usize>| Run { rows: rows.clone(), before: self.beginning.clone() };
        first.into_iter().chain(self.sequences.iter().map(behind))
    }
}

/// Neighbouring rows of a sequence, and the rows that it has before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The rows.
    pub rows: Range<usize>,
    /// Where the sequence begins, if not with them.
    pub before: Range<usize>,
}

/// The output head: `z = h W^T`, or `c tanh(z / c)` where the model caps its logits.
#[derive(Debug)]
pub struct Head<'a, W> {
    /// W `[V, D]`.
    pub weight: &'a W,
    /// c.
    pub softcap: Option<f64>,
}

impl<W> Clone for Head<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Head<'_, W> {}

/// A token to predict: the last hidden state of `row` should give `token`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Row of the token before.
    pub row: usize,
    /// The token to predict.
    pub token: u32,
    /// Factor of this token's loss in the objective (1 / target tokens of its batch).
    pub weight: f32,
}

/// Constants of one `AdamW` step (Loshchilov & Hutter 2019, algorithm 2, in PyTorch's form).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Number of this step, from 1, for the bias correction.
    pub step: u32,
    /// Factor on the gradients (gradient clipping).
    pub grad_scale: f64,
}

/// The operations. Every function takes whole steps: rows of several sequences and slots at once.
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

    /// Rows of the table `[V, D]` times `scale`.
    fn embed(&self, table: &Self::Frozen, ids: &[u32], scale: f64) -> Result<Self::Tensor>;
    /// The given rows of x, one below the other.
    fn pick_rows(&self, x: &Self::Tensor, rows: &[usize]) -> Result<Self::Tensor>;
    /// The gradient through [`Backend::pick_rows`]: those of y at their places among `of` rows,
    /// zeros elsewhere. No row is given twice.
    fn place_rows(&self, y: &Self::Tensor, rows: &[usize], of: usize) -> Result<Self::Tensor>;
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

    /// `y[rows, cols] += scale * dropout(x[rows]) A^T B^T` for each path; paths are sorted by
    /// rows and do not overlap.
    fn lora(
        &self,
        y: &mut Self::Tensor,
        cols: Range<usize>,
        x: &Self::Tensor,
        paths: &[LoraPath<'_, Self::Tensor>],
    ) -> Result<Self::LowRank>;
    /// Adds each path's gradients of A and B to `grads` (one a path, laid out as its params) and
    /// the gradient of x to `dx`, where one is wanted.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the formula")]
    fn lora_backward(
        &self,
        dx: Option<&mut Self::Tensor>,
        dy: &Self::Tensor,
        cols: Range<usize>,
        x: &Self::Tensor,
        low_rank: &Self::LowRank,
        paths: &[LoraPath<'_, Self::Tensor>],
        grads: &mut [&mut Self::Tensor],
    ) -> Result<()>;

    /// The lengths of the rows `cols` of `W + scale B A`: the magnitudes that `DoRA` begins with.
    fn row_norms(
        &self,
        cols: Range<usize>,
        layer: &Linear<Self::Frozen, Self::Tensor>,
        path: &LoraPath<'_, Self::Tensor>,
    ) -> Result<Vec<f32>>;
    /// `DoRA` (Liu et al. 2024, arXiv:2402.09353, eq. 5) after the layer and its low-rank paths: in
    /// the rows of each path, which has magnitudes m, from `y = v + bias` to
    /// `m / |W + scale B A| v + bias`.
    fn dora(
        &self,
        y: &mut Self::Tensor,
        cols: Range<usize>,
        layer: &Linear<Self::Frozen, Self::Tensor>,
        paths: &[LoraPath<'_, Self::Tensor>],
    ) -> Result<Self::Dora>;
    /// Adds the gradients of the magnitudes to `grads` and makes dy the gradient of v. The norms
    /// count as constants (the same, section 4.3).
    fn dora_backward(
        &self,
        dy: &mut Self::Tensor,
        cols: Range<usize>,
        saved: &Self::Dora,
        paths: &[LoraPath<'_, Self::Tensor>],
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
    /// rope's amplitude; `inverse` rotates back with the same amplitude, which is the gradient.
    fn rope(
        &self,
        qkv: &mut Self::Tensor,
        shape: AttentionShape,
        places: Places<'_>,
        rope: &Rope,
        inverse: bool,
    ) -> Result<()>;
    /// Causal softmax attention within each sequence, of which the families have all rows. Returns the output `[N, H E]` and the log
    /// of each softmax's denominator `[N, H]`.
    fn attention(
        &self,
        qkv: &Self::Tensor,
        attention: &Attention,
        families: &[Family],
    ) -> Result<(Self::Tensor, Self::Tensor)>;
    /// Gradient of `qkv` `[N, (H + 2K) E]`; the softmax is recomputed from the saved denominators
    /// (Dao et al. 2022, arXiv:2205.14135, section 3.1).
    fn attention_backward(
        &self,
        dout: &Self::Tensor,
        qkv: &Self::Tensor,
        out: &Self::Tensor,
        log_denominators: &Self::Tensor,
        attention: &Attention,
        families: &[Family],
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
    /// Negative log-likelihood in nats of each target, of which every row of h has one, and with
    /// `with_gradient` the gradient of `sum(weight * nll)` with respect to h. Logits exist for a few
    /// rows at a time only.
    fn cross_entropy(
        &self,
        h: Self::Tensor,
        head: Head<'_, Self::Frozen>,
        targets: &[Target],
        with_gradient: bool,
    ) -> Result<(Vec<f32>, Option<Self::Tensor>)>;

    /// Euclidean norm of all values.
    fn norm(&self, x: &Self::Tensor) -> Result<f64>;
    /// One optimizer step on a slot's values; the gradient is zeroed. `rate_factors`, where given,
    /// multiply the learning rate of each value, in the weight decay as well.
    fn adamw(
        &self,
        params: &mut Self::Tensor,
        grad: &mut Self::Tensor,
        first_moment: &mut Self::Tensor,
        second_moment: &mut Self::Tensor,
        rate_factors: Option<&Self::Tensor>,
        step: &AdamWStep,
    ) -> Result<()>;
}
