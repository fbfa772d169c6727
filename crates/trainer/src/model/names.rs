//! The names that transformers gives the tensors of a decoder.

use spec::TargetModule;

use super::config::{DecoderConfig, NormPlacement};

/// The embedding table.
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// The output head, where it is not the embedding table.
pub const HEAD: &str = "lm_head.weight";
/// The norm behind the last block.
pub const FINAL_NORM: &str = "model.norm.weight";

/// Embedding and head as the files have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// The tensor of the embeddings.
    pub embedding: &'static str,
    /// The tensor of the output head, where it is not that of the embeddings.
    pub head: Option<&'static str>,
}

/// Projections that read the same input, joined along their outputs.
pub struct Joined {
    /// Their names and outputs.
    pub parts: Vec<(String, usize)>,
    /// Values of the input.
    pub inputs: usize,
    /// Each of them has a bias.
    pub has_bias: bool,
}

/// The linear layers of a block: q, k and v; o; gate and up; down.
pub fn linears(c: &DecoderConfig, layer: usize) -> [Joined; 4] {
    let (d, f) = (c.hidden_size, c.intermediate_size);
    let (q, kv) = (c.attention.q_columns(), c.attention.kv_columns());
    let named = |parts: &[(&str, usize)]| {
        let named =
            |(part, width): &(&str, usize)| (format!("model.layers.{layer}.{part}"), *width);
        parts.iter().map(named).collect()
    };
    let (qkv, gate_up) = if c.fused_projections {
        (named(&[("self_attn.qkv_proj", q + 2 * kv)]), named(&[("mlp.gate_up_proj", 2 * f)]))
    } else {
        (
            named(&[("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)]),
            named(&[("mlp.gate_proj", f), ("mlp.up_proj", f)]),
        )
    };
    [
        Joined { parts: qkv, inputs: d, has_bias: c.qkv_bias },
        Joined { parts: named(&[("self_attn.o_proj", d)]), inputs: q, has_bias: c.o_bias },
        Joined { parts: gate_up, inputs: d, has_bias: c.mlp_bias },
        Joined { parts: named(&[("mlp.down_proj", d)]), inputs: f, has_bias: c.mlp_bias },
    ]
}

/// The names of the norms before and after the attention, and before and after the feed-forward
/// network. The same name means the norm before the network in Llama and the one after the
/// attention in the others.
pub const fn norm_names(norms: NormPlacement) -> [Option<&'static str>; 4] {
    let (input, post_attention) = (Some("input_layernorm"), Some("post_attention_layernorm"));
    let (before, after) = (Some("pre_feedforward_layernorm"), Some("post_feedforward_layernorm"));
    match norms {
        NormPlacement::Before => [input, None, post_attention, None],
        NormPlacement::After => [None, post_attention, None, after],
        NormPlacement::Around => [input, post_attention, before, after],
    }
}

/// The part of a block that a module belongs to.
pub(crate) const fn parent(module: TargetModule) -> &'static str {
    match module {
        TargetModule::QProj
        | TargetModule::KProj
        | TargetModule::VProj
        | TargetModule::QkvProj
        | TargetModule::OProj => "self_attn",
        TargetModule::GateProj
        | TargetModule::UpProj
        | TargetModule::GateUpProj
        | TargetModule::DownProj => "mlp",
    }
}

/// The weight of a linear layer of a block.
pub fn weight_name(layer: usize, module: TargetModule) -> String {
    format!("model.layers.{layer}.{}.{module}.weight", parent(module))
}
