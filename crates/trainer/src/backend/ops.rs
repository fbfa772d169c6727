//! What single operations are given: layers, shapes and constants.

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
