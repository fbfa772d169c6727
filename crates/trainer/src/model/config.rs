//! The decoder's shape and the constants of its blocks, from `config.json`.

use std::ops::Range;

use spec::TargetModule;

use crate::backend::{Activation, Attention, AttentionShape};
use crate::rope::Rope;

mod file;

/// The `model_type`s that are read.
pub const MODEL_TYPES: [&str; 9] =
    ["llama", "mistral", "qwen2", "qwen3", "olmo2", "smollm3", "phi3", "gemma2", "gemma3_text"];

/// Shape and constants of a decoder. All architectures differ only in what is written here.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// `model_type` of the file.
    pub model_type: String,
    /// Vocabulary size V.
    pub vocab_size: usize,
    /// Hidden size D.
    pub hidden_size: usize,
    /// Feed-forward size F.
    pub intermediate_size: usize,
    /// Number of decoder blocks.
    pub num_hidden_layers: usize,
    /// Heads and their size.
    pub attention: AttentionShape,
    /// Longest sequence the model was made for.
    pub max_position_embeddings: usize,
    /// What differs from block to block, first to last.
    pub layers: Vec<LayerKind>,
    /// The rotations that `layers` chooses from.
    pub ropes: Vec<Rope>,
    /// Factor on the products of queries and keys.
    pub attention_scale: f64,
    /// Soft cap of the attention's scores.
    pub attention_softcap: Option<f64>,
    /// Soft cap of the logits.
    pub final_softcap: Option<f64>,
    /// Factor on the embeddings.
    pub embedding_scale: f64,
    /// Epsilon of every RMS norm.
    pub rms_norm_eps: f64,
    /// What is added to every norm's stored weight: 1 where the model multiplies by `1 + w`.
    pub norm_offset: f64,
    /// Where a block's norms stand.
    pub norms: NormPlacement,
    /// Queries and keys are normalised before the rotation.
    pub qk_norm: Option<QkNorm>,
    /// The function on the gate.
    pub activation: Activation,
    /// The output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// q, k and v have a bias.
    pub qkv_bias: bool,
    /// The attention's output projection has a bias.
    pub o_bias: bool,
    /// The feed-forward projections have biases.
    pub mlp_bias: bool,
    /// q, k and v are stored as one `qkv_proj`, gate and up as one `gate_up_proj`.
    pub fused_projections: bool,
}

/// What differs from block to block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKind {
    /// How many tokens a query sees, itself included; `None`: all before it.
    pub window: Option<usize>,
    /// Which of [`DecoderConfig::ropes`] turns queries and keys; `None`: they are not turned.
    pub rope: Option<usize>,
}

/// Where the RMS norms of a block stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlacement {
    /// Before attention and feed-forward network (Llama).
    Before,
    /// After each, before the sum (`OLMo` 2).
    After,
    /// Before and after each (Gemma).
    Around,
}

/// What a norm of queries and keys runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// Each head by itself, one weight for all (Qwen3, Gemma 3).
    Head,
    /// All heads together (`OLMo` 2).
    Projection,
}

impl DecoderConfig {
    /// Input and output size of a target module.
    pub fn module_shape(&self, module: TargetModule) -> (usize, usize) {
        let (d, f) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.attention.q_columns(), self.attention.kv_columns());
        match module {
            TargetModule::QProj => (d, q),
            TargetModule::KProj | TargetModule::VProj => (d, kv),
            TargetModule::QkvProj => (d, q + 2 * kv),
            TargetModule::OProj => (q, d),
            TargetModule::GateProj | TargetModule::UpProj => (d, f),
            TargetModule::GateUpProj => (d, 2 * f),
            TargetModule::DownProj => (f, d),
        }
    }

    /// Whether a module reads the block's input, before the attention.
    pub const fn reads_block_input(module: TargetModule) -> bool {
        matches!(
            module,
            TargetModule::QProj | TargetModule::KProj | TargetModule::VProj | TargetModule::QkvProj
        )
    }

    /// Columns of the joined projection that a module writes.
    pub fn columns_of(&self, module: TargetModule) -> Range<usize> {
        let (q, kv) = (self.attention.q_columns(), self.attention.kv_columns());
        let outputs = self.module_shape(module).1;
        let first = match module {
            TargetModule::KProj => q,
            TargetModule::VProj => q + kv,
            TargetModule::UpProj => self.intermediate_size,
            _ => 0,
        };
        first..first + outputs
    }

    /// The linear layers of a block, in the order of the forward pass.
    pub const fn modules(&self) -> &'static [TargetModule] {
        if self.fused_projections { &TargetModule::FUSED } else { &TargetModule::ALL }
    }

    /// The model's own modules for those that a sweep names: where q, k and v are one projection,
    /// the three together stand for it, and so do gate and up. The error says which module the
    /// model does not have.
    pub fn targets(&self, named: &[TargetModule]) -> Result<Vec<TargetModule>, String> {
        let mut left = named.to_vec();
        let mut targets = Vec::new();
        for module in self.modules() {
            let parts = module.parts();
            if named.contains(module) {
                left.retain(|m| m != module);
                targets.push(*module);
            } else if !parts.is_empty() && parts.iter().all(|part| named.contains(part)) {
                left.retain(|m| !parts.contains(m));
                targets.push(*module);
            }
        }
        let Some(missing) = left.first() else { return Ok(targets) };
        let own: Vec<&str> = self.modules().iter().map(|m| m.name()).collect();
        Err(format!(
            "target_modules: a {} model has no separate `{missing}`; its linear layers are {} \
             (`all-linear` takes them all)",
            self.model_type,
            own.join(", ")
        ))
    }

    /// The attention of a block.
    pub fn attention_of(&self, layer: usize) -> Attention {
        Attention {
            shape: self.attention,
            scale: self.attention_scale,
            softcap: self.attention_softcap,
            window: self.layers[layer].window,
        }
    }

    /// Values of the norms of queries and of keys, where the model has them.
    pub const fn qk_norm_widths(&self) -> Option<[usize; 2]> {
        match self.qk_norm {
            None => None,
            Some(QkNorm::Head) => Some([self.attention.head_dim; 2]),
            Some(QkNorm::Projection) => {
                Some([self.attention.q_columns(), self.attention.kv_columns()])
            }
        }
    }

    /// Whether a token's hidden state is the same in every sequence that begins with it and those
    /// before it. Where the rotation depends on the length of the sequence it is not.
    pub fn shares_beginnings(&self) -> bool {
        self.ropes.iter().all(|rope| !rope.depends_on_length())
    }

    /// Adapter values per rank that naming a module adds, over all blocks. Of a fused projection the
    /// first part counts the whole and the others nothing, because the parts are named together.
    pub fn parameters_per_rank(&self, module: TargetModule) -> usize {
        let fused = self.modules().iter().find(|whole| whole.parts().contains(&module));
        let counted = match fused {
            Some(whole) => (whole.parts().first() == Some(&module)).then_some(*whole),
            None => self.modules().contains(&module).then_some(module),
        };
        let (inputs, outputs) = counted.map_or((0, 0), |module| self.module_shape(module));
        (inputs + outputs) * self.num_hidden_layers
    }

    /// Number of values in the frozen model, without biases and norms of heads.
    pub fn parameters(&self) -> usize {
        let norms = if self.norms == NormPlacement::Around { 4 } else { 2 };
        let per_layer: usize =
            self.modules().iter().map(|m| self.module_shape(*m)).map(|(i, o)| i * o).sum::<usize>()
                + norms * self.hidden_size;
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        per_layer * self.num_hidden_layers
            + tables * self.vocab_size * self.hidden_size
            + self.hidden_size
    }
}
