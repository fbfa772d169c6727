//! The frozen decoder: every weight on the backend, projections that read the same input joined.

use std::path::Path;

use super::config::{DecoderConfig, NormPlacement, QkNorm};
use super::files::TensorFiles;
use crate::backend::{Backend, Head, Linear};
use crate::error::Result;

/// A frozen decoder on a backend.
#[derive(Debug)]
pub struct Model<B: Backend> {
    /// Its shape.
    pub config: DecoderConfig,
    /// Embedding table `[V, D]`.
    pub embedding: B::Frozen,
    /// The blocks, first to last.
    pub layers: Vec<FrozenLayer<B>>,
    /// Weight of the last RMS norm, `[1, D]`.
    pub norm: B::Tensor,
    /// Output head `[V, D]`; `None` when it is the embedding table.
    pub head: Option<B::Frozen>,
}

/// One decoder block.
#[derive(Debug)]
pub struct FrozenLayer<B: Backend> {
    /// RMS norm before the attention, `[1, D]`, where the model has it.
    pub attention_norm: Option<B::Tensor>,
    /// q, k and v joined: `[(H + 2K) E, D]`.
    pub qkv: Linear<B::Frozen, B::Tensor>,
    /// RMS norms of queries and keys: `[1, E]` each for all heads, or as wide as the projections.
    pub qk_norm: Option<(B::Tensor, B::Tensor)>,
    /// Output projection `[D, H E]`.
    pub o: Linear<B::Frozen, B::Tensor>,
    /// RMS norm after it, before the sum, `[1, D]`, where the model has it.
    pub attention_after: Option<B::Tensor>,
    /// RMS norm before the feed-forward network, `[1, D]`, where the model has it.
    pub mlp_norm: Option<B::Tensor>,
    /// gate and up joined: `[2F, D]`.
    pub gate_up: Linear<B::Frozen, B::Tensor>,
    /// Down projection `[D, F]`.
    pub down: Linear<B::Frozen, B::Tensor>,
    /// RMS norm after it, before the sum, `[1, D]`, where the model has it.
    pub mlp_after: Option<B::Tensor>,
}

impl<B: Backend> Model<B> {
    /// Loads a Hugging Face model folder.
    pub fn load(backend: &B, model_dir: &Path) -> Result<Self> {
        let config = DecoderConfig::read(model_dir)?;
        let files = TensorFiles::open(model_dir)?;
        let loader = Loader { backend, files, config: &config };
        let (v, d) = (config.vocab_size, config.hidden_size);
        let embedding = loader.matrix("model.embed_tokens.weight", v, d)?;
        let head = if config.tie_word_embeddings || !loader.files.has("lm_head.weight") {
            None
        } else {
            Some(loader.matrix("lm_head.weight", v, d)?)
        };
        let layers =
            (0..config.num_hidden_layers).map(|i| loader.layer(i)).collect::<Result<_>>()?;
        let norm = loader.norm("model.norm.weight", d)?;
        Ok(Self { config, embedding, layers, norm, head })
    }

    /// The output head.
    pub fn head(&self) -> Head<'_, B::Frozen> {
        let weight = self.head.as_ref().unwrap_or(&self.embedding);
        Head { weight, softcap: self.config.final_softcap }
    }
}

struct Loader<'a, B> {
    backend: &'a B,
    files: TensorFiles,
    config: &'a DecoderConfig,
}

impl<B: Backend> Loader<'_, B> {
    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<B::Frozen> {
        self.backend.freeze(&[self.files.matrix(name, rows, cols)?])
    }

    fn norm(&self, name: &str, len: usize) -> Result<B::Tensor> {
        self.backend.freeze_norm(&self.files.vector(name, len)?, self.config.norm_offset)
    }

    /// Projections joined along their outputs.
    fn linear(
        &self,
        parts: &[(String, usize)],
        inputs: usize,
        bias: bool,
    ) -> Result<Linear<B::Frozen, B::Tensor>> {
        let weights = parts
            .iter()
            .map(|(name, outputs)| self.files.matrix(&format!("{name}.weight"), *outputs, inputs));
        let weight = self.backend.freeze(&weights.collect::<Result<Vec<_>>>()?)?;
        let bias = if bias {
            let biases = parts
                .iter()
                .map(|(name, outputs)| self.files.vector(&format!("{name}.bias"), *outputs));
            Some(self.backend.freeze_bias(&biases.collect::<Result<Vec<_>>>()?)?)
        } else {
            None
        };
        Ok(Linear { weight, bias })
    }

    fn layer(&self, index: usize) -> Result<FrozenLayer<B>> {
        let c = self.config;
        let (d, f) = (c.hidden_size, c.intermediate_size);
        let (q, kv) = (c.attention.q_columns(), c.attention.kv_columns());
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let norm = |part: &str, len: usize| self.norm(&name(&format!("{part}.weight")), len);
        let (qkv, gate_up) = if c.fused_projections {
            let qkv = vec![(name("self_attn.qkv_proj"), q + 2 * kv)];
            (qkv, vec![(name("mlp.gate_up_proj"), 2 * f)])
        } else {
            let qkv = [("q_proj", q), ("k_proj", kv), ("v_proj", kv)];
            let qkv = qkv.map(|(part, width)| (name(&format!("self_attn.{part}")), width));
            let gate_up = ["gate_proj", "up_proj"].map(|part| (name(&format!("mlp.{part}")), f));
            (qkv.to_vec(), gate_up.to_vec())
        };
        let qk_norm = match c.qk_norm {
            None => None,
            Some(over) => {
                let width = |all: usize| match over {
                    QkNorm::Head => c.attention.head_dim,
                    QkNorm::Projection => all,
                };
                Some((norm("self_attn.q_norm", width(q))?, norm("self_attn.k_norm", width(kv))?))
            }
        };
        let [attention_norm, attention_after, mlp_norm, mlp_after] =
            norm_names(c.norms).map(|part| part.map(|part| norm(part, d)).transpose());
        Ok(FrozenLayer {
            attention_norm: attention_norm?,
            qkv: self.linear(&qkv, d, c.qkv_bias)?,
            qk_norm,
            o: self.linear(&[(name("self_attn.o_proj"), d)], q, c.o_bias)?,
            attention_after: attention_after?,
            mlp_norm: mlp_norm?,
            gate_up: self.linear(&gate_up, d, c.mlp_bias)?,
            down: self.linear(&[(name("mlp.down_proj"), d)], f, c.mlp_bias)?,
            mlp_after: mlp_after?,
        })
    }
}

/// The names of the norms before and after the attention, and before and after the feed-forward
/// network. The same name means the norm before the network in Llama and the one after the
/// attention in the others.
const fn norm_names(norms: NormPlacement) -> [Option<&'static str>; 4] {
    let (input, post_attention) = (Some("input_layernorm"), Some("post_attention_layernorm"));
    let (before, after) = (Some("pre_feedforward_layernorm"), Some("post_feedforward_layernorm"));
    match norms {
        NormPlacement::Before => [input, None, post_attention, None],
        NormPlacement::After => [None, post_attention, None, after],
        NormPlacement::Around => [input, post_attention, before, after],
    }
}
