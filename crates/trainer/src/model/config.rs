//! `config.json`: the decoder's shape, from the keys Hugging Face writes.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use spec::TargetModule;

use super::bounds::bounded;
use crate::backend::AttentionShape;
use crate::error::{Result, TrainerError};

/// Shape and constants of a Llama-like decoder. Llama, Mistral, Qwen2 and Qwen3 differ only in
/// what is written here.
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
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Llama 3.1's stretching of the low rotary frequencies.
    pub rope_scaling: Option<Llama3Scaling>,
    /// Epsilon of every RMS norm.
    pub rms_norm_eps: f64,
    /// The output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// q, k and v have a bias.
    pub qkv_bias: bool,
    /// The attention's output projection has a bias.
    pub o_bias: bool,
    /// The feed-forward projections have biases.
    pub mlp_bias: bool,
    /// Query and key heads are normalised before the rotation (Qwen3).
    pub qk_norm: bool,
}

/// `rope_type: llama3`, as in transformers' `modeling_rope_utils.py`: wavelengths longer than
/// `original_max_position_embeddings / low_freq_factor` are stretched by `factor`, those shorter
/// than `.. / high_freq_factor` stay, and those between are interpolated.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Llama3Scaling {
    factor: f64,
    low_freq_factor: f64,
    high_freq_factor: f64,
    original_max_position_embeddings: f64,
}

impl Llama3Scaling {
    fn apply(&self, frequency: f64) -> f64 {
        let wavelength = 2.0 * std::f64::consts::PI / frequency;
        let turns = self.original_max_position_embeddings / wavelength;
        // 0 where fully stretched, 1 where kept.
        let kept = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
        let kept = kept.clamp(0.0, 1.0);
        (1.0 - kept) * frequency / self.factor + kept * frequency
    }
}

impl DecoderConfig {
    /// Reads `config.json` of a model folder.
    pub fn read(model_dir: &Path) -> Result<Self> {
        let path = model_dir.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(TrainerError::io("read", &path))?;
        Self::parse(&text).map_err(|message| TrainerError::Config { path, message })
    }

    /// Interprets the text of a `config.json`; the error says which key is wrong and why.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let raw: Raw = serde_json::from_str(text).map_err(|e| format!("cannot be read: {e}"))?;
        raw.resolve().and_then(bounded)
    }

    /// Input and output size of a target module.
    pub fn module_shape(&self, module: TargetModule) -> (usize, usize) {
        let (d, f) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.attention.q_columns(), self.attention.kv_columns());
        match module {
            TargetModule::QProj => (d, q),
            TargetModule::KProj | TargetModule::VProj => (d, kv),
            TargetModule::OProj => (q, d),
            TargetModule::GateProj | TargetModule::UpProj => (d, f),
            TargetModule::DownProj => (f, d),
        }
    }

    /// Number of values in the frozen model, without biases and norms of heads.
    pub fn parameters(&self) -> usize {
        let per_layer: usize = TargetModule::ALL
            .iter()
            .map(|m| self.module_shape(*m))
            .map(|(i, o)| i * o)
            .sum::<usize>()
            + 2 * self.hidden_size;
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        per_layer * self.num_hidden_layers
            + tables * self.vocab_size * self.hidden_size
            + self.hidden_size
    }

    /// `theta^(-2i/E)` for i in `0..E/2` (Su et al. 2021, section 3.2.2), scaled where the file
    /// says so.
    pub fn inverse_frequencies(&self) -> Vec<f64> {
        let e = self.attention.head_dim;
        let plain = (0..e / 2).map(|i| self.rope_theta.powf(-2.0 * i as f64 / e as f64));
        match &self.rope_scaling {
            Some(scaling) => plain.map(|f| scaling.apply(f)).collect(),
            None => plain.collect(),
        }
    }
}

/// The keys that are read, as written. `transformers` 5 moved the rotary settings into
/// `rope_parameters`; both forms are read.
#[derive(Debug, Deserialize)]
struct Raw {
    model_type: Option<String>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    rms_norm_eps: Option<f64>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    quantization_config: Option<Value>,
}

impl Raw {
    fn resolve(self) -> std::result::Result<DecoderConfig, String> {
        let model_type = self.model_type.clone().unwrap_or_default();
        let attention_bias = self.attention_bias.unwrap_or(false);
        let (qkv_bias, o_bias, qk_norm, tied_by_default) = match model_type.as_str() {
            "llama" => (attention_bias, attention_bias, false, false),
            "mistral" => (false, false, false, false),
            "qwen2" => (true, false, false, false),
            "qwen3" => (attention_bias, attention_bias, true, false),
            other => {
                return Err(format!(
                    "model_type `{other}` is not supported; supported are llama, mistral, qwen2 \
                     and qwen3"
                ));
            }
        };
        self.refuse_what_would_change_results(&model_type)?;
        let attention = self.attention_shape()?;
        Ok(DecoderConfig {
            vocab_size: positive("vocab_size", self.vocab_size)?,
            hidden_size: positive("hidden_size", self.hidden_size)?,
            intermediate_size: positive("intermediate_size", self.intermediate_size)?,
            num_hidden_layers: positive("num_hidden_layers", self.num_hidden_layers)?,
            attention,
            max_position_embeddings: self.max_position_embeddings.unwrap_or(2048),
            rope_theta: self.rope_theta()?,
            rope_scaling: self.rope_scaling()?,
            rms_norm_eps: self.rms_norm_eps.unwrap_or(1e-6),
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(tied_by_default),
            qkv_bias,
            o_bias,
            mlp_bias: model_type == "llama" && self.mlp_bias.unwrap_or(false),
            qk_norm,
            model_type,
        })
    }

    fn attention_shape(&self) -> std::result::Result<AttentionShape, String> {
        let heads = positive("num_attention_heads", self.num_attention_heads)?;
        let kv_heads = positive("num_key_value_heads", self.num_key_value_heads.unwrap_or(heads))?;
        if heads % kv_heads != 0 {
            return Err(format!(
                "num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kv_heads})"
            ));
        }
        if self.head_dim.is_none() && !self.hidden_size.is_multiple_of(heads) {
            return Err(format!(
                "hidden_size ({}) is not a multiple of num_attention_heads ({heads}), and there is \
                 no head_dim",
                self.hidden_size
            ));
        }
        let head_dim = positive("head_dim", self.head_dim.unwrap_or(self.hidden_size / heads))?;
        if !head_dim.is_multiple_of(2) {
            return Err(format!("head_dim ({head_dim}) must be even for rotary embeddings"));
        }
        Ok(AttentionShape { heads, kv_heads, head_dim })
    }

    fn rope_theta(&self) -> std::result::Result<f64, String> {
        let nested = self.rope_parameters.as_ref().and_then(|p| p.get("rope_theta"));
        let theta = nested.and_then(Value::as_f64).or(self.rope_theta).unwrap_or(10_000.0);
        if theta.is_finite() && theta > 1.0 {
            Ok(theta)
        } else {
            Err(format!("rope_theta is {theta}; a number above 1 is needed"))
        }
    }

    /// The rotary scaling, from its old or its new place.
    fn rope_scaling(&self) -> std::result::Result<Option<Llama3Scaling>, String> {
        for (key, settings) in
            [("rope_scaling", &self.rope_scaling), ("rope_parameters", &self.rope_parameters)]
        {
            let Some(settings) = settings else { continue };
            let kind = settings.get("rope_type").or_else(|| settings.get("type"));
            match kind.and_then(Value::as_str) {
                None | Some("default") => {}
                Some("llama3") => {
                    let scaling = Llama3Scaling::deserialize(settings)
                        .map_err(|e| format!("{key} of type `llama3`: {e}"))?;
                    if scaling.high_freq_factor <= scaling.low_freq_factor {
                        return Err(format!("{key}: high_freq_factor must exceed low_freq_factor"));
                    }
                    return Ok(Some(scaling));
                }
                Some(other) => {
                    return Err(format!(
                        "{key} of type `{other}` is not supported by this version; `default` and \
                         `llama3` are"
                    ));
                }
            }
        }
        Ok(None)
    }

    /// A key that changes what the model computes is never ignored.
    fn refuse_what_would_change_results(
        &self,
        model_type: &str,
    ) -> std::result::Result<(), String> {
        if let Some(act) = &self.hidden_act
            && act != "silu"
            && act != "swish"
        {
            return Err(format!("hidden_act `{act}` is not supported; only silu is"));
        }
        let window_in_use = match model_type {
            "mistral" => true,
            _ => self.use_sliding_window.unwrap_or(false),
        };
        if let Some(window) = self.sliding_window
            && window_in_use
            && window < self.max_position_embeddings.unwrap_or(usize::MAX)
        {
            return Err(format!(
                "sliding_window ({window}) is not supported by this version; models without one, \
                 or with null, are"
            ));
        }
        if self.quantization_config.is_some() {
            return Err("quantization_config: quantised checkpoints are not supported by this \
                        version; use the full-precision model"
                .to_owned());
        }
        Ok(())
    }
}

fn positive(key: &str, value: usize) -> std::result::Result<usize, String> {
    if value == 0 { Err(format!("{key} is 0; it must be positive")) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(extra: &str) -> std::result::Result<DecoderConfig, String> {
        DecoderConfig::parse(&format!(
            r#"{{"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
                "num_hidden_layers": 2, "num_attention_heads": 4, {extra}}}"#
        ))
    }

    #[test]
    fn key_value_heads_and_head_size_have_the_usual_defaults() {
        let c = config(r#""model_type": "llama""#).expect("valid");
        assert_eq!(c.attention, AttentionShape { heads: 4, kv_heads: 4, head_dim: 8 });
        assert_eq!(c.rope_theta, 10_000.0);
    }

    #[test]
    fn the_rotary_base_is_found_in_the_old_and_in_the_new_place() {
        let old = config(r#""model_type": "llama", "rope_theta": 500000.0"#).expect("valid");
        let new = config(
            r#""model_type": "llama",
               "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}"#,
        )
        .expect("valid");
        assert_eq!(old.rope_theta, 500_000.0);
        assert_eq!(old, new);
    }

    #[test]
    fn qwen_models_are_configurations_of_the_same_decoder() {
        let qwen2 = config(r#""model_type": "qwen2""#).expect("valid");
        assert!(qwen2.qkv_bias && !qwen2.o_bias && !qwen2.qk_norm);
        let qwen3 = config(r#""model_type": "qwen3", "head_dim": 16"#).expect("valid");
        assert!(!qwen3.qkv_bias && qwen3.qk_norm);
        assert_eq!(qwen3.attention.head_dim, 16);
    }

    #[test]
    fn what_would_change_the_results_is_named_and_never_ignored() {
        for (extra, named) in [
            (r#""model_type": "gpt2""#, "gpt2"),
            (r#""model_type": "llama", "hidden_act": "gelu""#, "gelu"),
            (r#""model_type": "llama", "rope_scaling": {"rope_type": "llama3"}"#, "factor"),
            (r#""model_type": "llama", "rope_scaling": {"type": "yarn", "factor": 4.0}"#, "yarn"),
            (r#""model_type": "mistral", "sliding_window": 16"#, "sliding_window"),
            (r#""model_type": "llama", "quantization_config": {}"#, "quantization_config"),
            (r#""model_type": "llama", "num_key_value_heads": 3"#, "num_key_value_heads"),
            (r#""model_type": "llama", "head_dim": 7"#, "head_dim"),
        ] {
            let message = config(extra).expect_err(extra);
            assert!(message.contains(named), "`{message}` does not name {named}");
        }
    }
}
