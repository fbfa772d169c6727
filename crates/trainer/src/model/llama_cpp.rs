//! What llama.cpp calls the architectures and tensors that transformers has other names for.

use spec::TargetModule;

use super::config::DecoderConfig;
use super::names::parent;

/// llama.cpp's name of the architecture. Mistral is a Llama there.
pub fn architecture(config: &DecoderConfig) -> &str {
    match config.model_type.as_str() {
        "mistral" => "llama",
        "gemma3_text" => "gemma3",
        other => other,
    }
}

/// llama.cpp's name of a linear layer of a block.
pub const fn module_name(module: TargetModule) -> &'static str {
    match module {
        TargetModule::QProj => "attn_q",
        TargetModule::KProj => "attn_k",
        TargetModule::VProj => "attn_v",
        TargetModule::OProj => "attn_output",
        TargetModule::GateProj => "ffn_gate",
        // llama.cpp keeps Phi-3's fused projection under the name of its second part.
        TargetModule::UpProj | TargetModule::GateUpProj => "ffn_up",
        TargetModule::DownProj => "ffn_down",
        TargetModule::QkvProj => "attn_qkv",
    }
}

/// llama.cpp's name for one of Hugging Face's.
pub fn gguf_name(name: &str) -> Option<String> {
    let (stem, suffix) = name.rsplit_once('.')?;
    let own = match stem {
        "model.embed_tokens" => "token_embd".to_owned(),
        "model.norm" => "output_norm".to_owned(),
        "lm_head" => "output".to_owned(),
        _ => {
            let (layer, part) = stem.strip_prefix("model.layers.")?.split_once('.')?;
            let part = match part {
                "input_layernorm" => "attn_norm",
                "post_attention_layernorm" => "ffn_norm",
                "self_attn.q_norm" => "attn_q_norm",
                "self_attn.k_norm" => "attn_k_norm",
                linear => {
                    let is_named = |m: &TargetModule| linear == format!("{}.{m}", parent(*m));
                    module_name(TargetModule::ALL.into_iter().find(is_named)?)
                }
            };
            format!("blk.{layer}.{part}")
        }
    };
    Some(format!("{own}.{suffix}"))
}
