//! The frozen decoder: every weight on the backend, projections that read the same input joined.

use std::path::Path;

use spec::BaseSettings;

use super::config::DecoderConfig;
use super::names::{FINAL_NORM, Joined, Tables, linears, norm_names};
use super::source::Source;
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
    /// Loads a Hugging Face model folder, with its weights as `base` says.
    pub fn load(backend: &B, model_dir: &Path, base: &BaseSettings) -> Result<Self> {
        let source = Source::open(model_dir, base)?;
        let config = source.config().clone();
        let loader = Loader { backend, source, config: &config };
        let (v, d) = (config.vocab_size, config.hidden_size);
        let table = |name| backend.freeze_table(&loader.source.table(name, v, d)?);
        let Tables { embedding, head } = loader.source.tables();
        let embedding = table(embedding)?;
        let head = head.map(table).transpose()?;
        let layers =
            (0..config.num_hidden_layers).map(|i| loader.layer(i)).collect::<Result<_>>()?;
        let norm = loader.norm(FINAL_NORM, d)?;
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
    source: Source,
    config: &'a DecoderConfig,
}

impl<B: Backend> Loader<'_, B> {
    fn norm(&self, name: &str, len: usize) -> Result<B::Tensor> {
        self.backend.freeze_norm(&self.source.vector(name, len)?, self.config.norm_offset)
    }

    fn linear(&self, joined: &Joined) -> Result<Linear<B::Frozen, B::Tensor>> {
        let Joined { parts, inputs, has_bias } = joined;
        let weights = parts.iter().map(|(name, outputs)| {
            self.source.linear(&format!("{name}.weight"), *outputs, *inputs)
        });
        let weight = self.backend.freeze(&weights.collect::<Result<Vec<_>>>()?)?;
        let bias = if *has_bias {
            let biases = parts
                .iter()
                .map(|(name, outputs)| self.source.vector(&format!("{name}.bias"), *outputs));
            Some(self.backend.freeze_bias(&biases.collect::<Result<Vec<_>>>()?)?)
        } else {
            None
        };
        Ok(Linear { weight, bias })
    }

    fn layer(&self, index: usize) -> Result<FrozenLayer<B>> {
        let c = self.config;
        let norm =
            |part: &str, len: usize| self.norm(&format!("model.layers.{index}.{part}.weight"), len);
        let qk_norm = match c.qk_norm_widths() {
            None => None,
            Some([q, k]) => Some((norm("self_attn.q_norm", q)?, norm("self_attn.k_norm", k)?)),
        };
        let [attention_norm, attention_after, mlp_norm, mlp_after] =
            norm_names(c.norms).map(|part| part.map(|part| norm(part, c.hidden_size)).transpose());
        let [qkv, o, gate_up, down] = linears(c, index);
        Ok(FrozenLayer {
            attention_norm: attention_norm?,
            qkv: self.linear(&qkv)?,
            qk_norm,
            o: self.linear(&o)?,
            attention_after: attention_after?,
            mlp_norm: mlp_norm?,
            gate_up: self.linear(&gate_up)?,
            down: self.linear(&down)?,
            mlp_after: mlp_after?,
        })
    }
}
