//! The frozen decoder: every weight on the backend, projections that read the same input joined.

use std::path::Path;

use candle_core::Tensor;

use super::config::DecoderConfig;
use super::files::TensorFiles;
use crate::backend::{Backend, Linear};
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
    pub norm: B::Frozen,
    /// Output head `[V, D]`; `None` when it is the embedding table.
    pub head: Option<B::Frozen>,
    /// Rotary frequencies, E/2 values.
    pub inverse_frequencies: Vec<f64>,
}

/// One decoder block.
#[derive(Debug)]
pub struct FrozenLayer<B: Backend> {
    /// RMS norm before the attention, `[1, D]`.
    pub attention_norm: B::Frozen,
    /// q, k and v joined: `[(H + 2K) E, D]`.
    pub qkv: Linear<B::Frozen>,
    /// RMS norms of query and key heads, `[1, E]` each.
    pub qk_norm: Option<(B::Frozen, B::Frozen)>,
    /// Output projection `[D, H E]`.
    pub o: Linear<B::Frozen>,
    /// RMS norm before the feed-forward network, `[1, D]`.
    pub mlp_norm: B::Frozen,
    /// gate and up joined: `[2F, D]`.
    pub gate_up: Linear<B::Frozen>,
    /// Down projection `[D, F]`.
    pub down: Linear<B::Frozen>,
}

impl<B: Backend> Model<B> {
    /// Loads a Hugging Face model folder.
    pub fn load(backend: &B, model_dir: &Path) -> Result<Self> {
        let config = DecoderConfig::read(model_dir)?;
        let files = TensorFiles::open(model_dir)?;
        let loader = Loader { backend, files, config: &config };
        let (v, d) = (config.vocab_size, config.hidden_size);
        let embedding = loader.matrix("model.embed_tokens.weight", &[v, d])?;
        let head = if config.tie_word_embeddings || !loader.files.has("lm_head.weight") {
            None
        } else {
            Some(loader.matrix("lm_head.weight", &[v, d])?)
        };
        let layers =
            (0..config.num_hidden_layers).map(|i| loader.layer(i)).collect::<Result<_>>()?;
        let norm = loader.matrix("model.norm.weight", &[d])?;
        let inverse_frequencies = config.inverse_frequencies();
        Ok(Self { config, embedding, layers, norm, head, inverse_frequencies })
    }

    /// The output head `[V, D]`.
    pub fn head(&self) -> &B::Frozen {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}

struct Loader<'a, B> {
    backend: &'a B,
    files: TensorFiles,
    config: &'a DecoderConfig,
}

impl<B: Backend> Loader<'_, B> {
    fn matrix(&self, name: &str, shape: &[usize]) -> Result<B::Frozen> {
        self.backend.freeze(&[self.files.tensor(name, shape)?])
    }

    /// Projections joined along their outputs.
    fn linear(
        &self,
        parts: &[(String, usize)],
        inputs: usize,
        bias: bool,
    ) -> Result<Linear<B::Frozen>> {
        let read = |suffix: &str, shape: &dyn Fn(usize) -> Vec<usize>| -> Result<Vec<Tensor>> {
            parts
                .iter()
                .map(|(name, outputs)| {
                    self.files.tensor(&format!("{name}.{suffix}"), &shape(*outputs))
                })
                .collect()
        };
        let weight = self.backend.freeze(&read("weight", &|outputs| vec![outputs, inputs])?)?;
        let bias = if bias {
            Some(self.backend.freeze(&read("bias", &|outputs| vec![outputs])?)?)
        } else {
            None
        };
        Ok(Linear { weight, bias })
    }

    fn layer(&self, index: usize) -> Result<FrozenLayer<B>> {
        let c = self.config;
        let (d, f, e) = (c.hidden_size, c.intermediate_size, c.attention.head_dim);
        let (q, kv) = (c.attention.q_columns(), c.attention.kv_columns());
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let qkv = [
            (name("self_attn.q_proj"), q),
            (name("self_attn.k_proj"), kv),
            (name("self_attn.v_proj"), kv),
        ];
        let gate_up = [(name("mlp.gate_proj"), f), (name("mlp.up_proj"), f)];
        let qk_norm = if c.qk_norm {
            let norm = |part: &str| self.matrix(&name(&format!("self_attn.{part}.weight")), &[e]);
            Some((norm("q_norm")?, norm("k_norm")?))
        } else {
            None
        };
        Ok(FrozenLayer {
            attention_norm: self.matrix(&name("input_layernorm.weight"), &[d])?,
            qkv: self.linear(&qkv, d, c.qkv_bias)?,
            qk_norm,
            o: self.linear(&[(name("self_attn.o_proj"), d)], q, c.o_bias)?,
            mlp_norm: self.matrix(&name("post_attention_layernorm.weight"), &[d])?,
            gate_up: self.linear(&gate_up, d, c.mlp_bias)?,
            down: self.linear(&[(name("mlp.down_proj"), d)], f, c.mlp_bias)?,
        })
    }
}
