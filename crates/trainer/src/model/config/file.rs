//! The keys of `config.json`, as transformers writes them, and what they mean for each
//! `model_type`.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::super::bounds::Sizes;
use super::{DecoderConfig, LayerKind, MODEL_TYPES, NormPlacement, QkNorm};
use crate::backend::{Activation, AttentionShape};
use crate::error::{self, TrainerError};
use crate::rope::{Rope, Source};

type Parsed<T> = Result<T, String>;

impl DecoderConfig {
    /// Reads `config.json` of a model folder.
    pub fn read(model_dir: &Path) -> error::Result<Self> {
        let path = model_dir.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(TrainerError::io("read", &path))?;
        Self::parse(&text).map_err(|message| TrainerError::Config { path, message })
    }

    /// Interprets the text of a `config.json`; the error says which key is wrong and why.
    pub fn parse(text: &str) -> Parsed<Self> {
        parse(text)
    }
}

fn parse(text: &str) -> Parsed<DecoderConfig> {
    let all: Value = serde_json::from_str(text).map_err(|e| format!("cannot be read: {e}"))?;
    let model_type = all.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let Some(family) = Family::of(model_type) else {
        return Err(unknown(model_type, &all));
    };
    refuse_what_would_change_results(&all, family)?;
    let raw = Raw::deserialize(&all).map_err(|e| format!("cannot be read: {e}"))?;
    raw.resolve(family)
}

fn unknown(model_type: &str, all: &Value) -> String {
    let hint = if all.get("text_config").is_some() {
        "; models of images and text are not read, text-only ones are"
    } else {
        ""
    };
    format!(
        "model_type `{model_type}` is not supported; supported are {}{hint}",
        MODEL_TYPES.join(", ")
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Olmo2,
    SmolLm3,
    Phi3,
    Gemma2,
    Gemma3,
}

impl Family {
    const ALL: [Self; 9] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Olmo2,
        Self::SmolLm3,
        Self::Phi3,
        Self::Gemma2,
        Self::Gemma3,
    ];

    fn of(model_type: &str) -> Option<Self> {
        MODEL_TYPES.iter().position(|known| *known == model_type).map(|at| Self::ALL[at])
    }

    const fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }

    /// Whether `sliding_window` holds without `use_sliding_window`.
    const fn always_slides(self) -> bool {
        matches!(self, Self::Mistral | Self::Phi3 | Self::Gemma2 | Self::Gemma3)
    }

    // What a key means when it is absent: transformers does not write all of its defaults.

    const fn rms_norm_eps(self) -> f64 {
        if matches!(self, Self::Phi3 | Self::Olmo2) { 1e-5 } else { 1e-6 }
    }

    const fn rope_theta(self) -> f64 {
        match self {
            Self::SmolLm3 => 2_000_000.0,
            Self::Gemma3 => 1_000_000.0,
            _ => 10_000.0,
        }
    }

    const fn max_positions(self) -> usize {
        match self {
            Self::Llama | Self::Olmo2 => 2048,
            Self::Phi3 => 4096,
            Self::Gemma2 => 8192,
            Self::Qwen2 | Self::Qwen3 | Self::SmolLm3 => 32_768,
            Self::Mistral | Self::Gemma3 => 131_072,
        }
    }

    const fn head_dim(self) -> Option<usize> {
        match self {
            Self::Qwen3 => Some(128),
            Self::Gemma2 | Self::Gemma3 => Some(256),
            _ => None,
        }
    }

    const fn is_tied(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3 | Self::SmolLm3)
    }
}

/// The keys that are read, as written. `transformers` 5 moved the rotary settings into
/// `rope_parameters`; both forms are read.
#[derive(Debug, Deserialize)]
struct Raw {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    original_max_position_embeddings: Option<usize>,
    rope_theta: Option<f64>,
    rope_local_base_freq: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    partial_rotary_factor: Option<f64>,
    rms_norm_eps: Option<f64>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    sliding_window_pattern: Option<usize>,
    layer_types: Option<Vec<String>>,
    no_rope_layers: Option<Vec<u8>>,
    no_rope_layer_interval: Option<usize>,
    query_pre_attn_scalar: Option<f64>,
    #[serde(default)]
    attn_logit_softcapping: Cap,
    #[serde(default)]
    final_logit_softcapping: Cap,
}

/// A soft cap as written: null means that there is none, an absent key the model's default.
#[derive(Debug, Clone, Copy, Default)]
enum Cap {
    #[default]
    Absent,
    Null,
    At(f64),
}

impl<'de> Deserialize<'de> for Cap {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Option::<f64>::deserialize(d)?.map_or(Self::Null, Self::At))
    }
}

impl Cap {
    fn resolve(self, key: &str, family: Family, default: f64) -> Parsed<Option<f64>> {
        match self {
            Self::At(cap) if cap.is_finite() && cap > 0.0 => Ok(Some(cap)),
            Self::At(cap) => Err(format!("{key} is {cap}; a positive number is needed")),
            Self::Null => Ok(None),
            Self::Absent => Ok((family == Family::Gemma2).then_some(default)),
        }
    }
}

impl Raw {
    fn resolve(self, family: Family) -> Parsed<DecoderConfig> {
        let attention_bias = self.attention_bias.unwrap_or(false);
        let (qkv_bias, o_bias) = match family {
            Family::Mistral | Family::Phi3 => (false, false),
            Family::Qwen2 => (true, false),
            _ => (attention_bias, attention_bias),
        };
        let attention = self.attention_shape(family)?;
        let hidden_size = positive("hidden_size", self.hidden_size)?;
        let sizes = Sizes {
            vocab_size: positive("vocab_size", self.vocab_size)?,
            hidden_size,
            intermediate_size: positive("intermediate_size", self.intermediate_size)?,
            num_hidden_layers: positive("num_hidden_layers", self.num_hidden_layers)?,
            attention,
        };
        sizes.check()?;
        let scalar = match self.query_pre_attn_scalar {
            Some(scalar) if family.is_gemma() => scalar,
            _ if family.is_gemma() => 256.0,
            _ => attention.head_dim as f64,
        };
        let (scores, logits) = (self.attn_logit_softcapping, self.final_logit_softcapping);
        Ok(DecoderConfig {
            vocab_size: sizes.vocab_size,
            hidden_size,
            intermediate_size: sizes.intermediate_size,
            num_hidden_layers: sizes.num_hidden_layers,
            attention,
            max_position_embeddings: self.max_positions(family),
            layers: self.layers(family)?,
            ropes: self.ropes(family, attention)?,
            attention_scale: inverse_root("query_pre_attn_scalar", scalar)?,
            attention_softcap: scores.resolve("attn_logit_softcapping", family, 50.0)?,
            final_softcap: logits.resolve("final_logit_softcapping", family, 30.0)?,
            embedding_scale: if family.is_gemma() { (hidden_size as f64).sqrt() } else { 1.0 },
            rms_norm_eps: self.rms_norm_eps.unwrap_or(family.rms_norm_eps()),
            norm_offset: if family.is_gemma() { 1.0 } else { 0.0 },
            norms: match family {
                Family::Olmo2 => NormPlacement::After,
                Family::Gemma2 | Family::Gemma3 => NormPlacement::Around,
                _ => NormPlacement::Before,
            },
            qk_norm: match family {
                Family::Qwen3 | Family::Gemma3 => Some(QkNorm::Head),
                Family::Olmo2 => Some(QkNorm::Projection),
                _ => None,
            },
            activation: self.activation(family)?,
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(family.is_tied()),
            qkv_bias,
            o_bias,
            mlp_bias: matches!(family, Family::Llama | Family::SmolLm3)
                && self.mlp_bias.unwrap_or(false),
            fused_projections: family == Family::Phi3,
            model_type: self.model_type,
        })
    }

    fn max_positions(&self, family: Family) -> usize {
        self.max_position_embeddings.unwrap_or(family.max_positions())
    }

    fn attention_shape(&self, family: Family) -> Parsed<AttentionShape> {
        let heads = positive("num_attention_heads", self.num_attention_heads)?;
        let kv_heads = positive("num_key_value_heads", self.num_key_value_heads.unwrap_or(heads))?;
        if heads % kv_heads != 0 {
            return Err(format!(
                "num_attention_heads ({heads}) is not a multiple of num_key_value_heads ({kv_heads})"
            ));
        }
        let head_dim = self.head_dim.or(family.head_dim());
        if head_dim.is_none() && !self.hidden_size.is_multiple_of(heads) {
            return Err(format!(
                "hidden_size ({}) is not a multiple of num_attention_heads ({heads}), and there is \
                 no head_dim",
                self.hidden_size
            ));
        }
        let head_dim = positive("head_dim", head_dim.unwrap_or(self.hidden_size / heads))?;
        if !head_dim.is_multiple_of(2) {
            return Err(format!("head_dim ({head_dim}) must be even for rotary embeddings"));
        }
        Ok(AttentionShape { heads, kv_heads, head_dim })
    }

    fn activation(&self, family: Family) -> Parsed<Activation> {
        // Gemma's old `hidden_act: gelu` was a mistake that transformers overrides, too.
        let (key, written) = if family.is_gemma() {
            ("hidden_activation", &self.hidden_activation)
        } else {
            ("hidden_act", &self.hidden_act)
        };
        match written.as_deref() {
            None if family.is_gemma() => Ok(Activation::GeluTanh),
            None | Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
            Some(other) => {
                Err(format!("{key} `{other}` is not supported; silu and gelu_pytorch_tanh are"))
            }
        }
    }

    /// Window and rotation of each block. Where there are two ropes, the second is that of the
    /// blocks with a window.
    fn layers(&self, family: Family) -> Parsed<Vec<LayerKind>> {
        let slides = family.always_slides() || self.use_sliding_window.unwrap_or(false);
        let default_window = if family.is_gemma() { Some(4096) } else { None };
        let window = self.sliding_window.or(default_window).filter(|_| slides);
        if window == Some(0) {
            return Err("sliding_window is 0; it must be positive, or null".to_owned());
        }
        let in_window = self.layers_in_window(family, window.is_some())?;
        let with_rope = self.layers_with_rope(family)?;
        let kinds = in_window.into_iter().zip(with_rope).map(|(in_window, with_rope)| LayerKind {
            window: if in_window { window } else { None },
            rope: with_rope.then_some(usize::from(in_window && family == Family::Gemma3)),
        });
        Ok(kinds.collect())
    }

    fn layers_in_window(&self, family: Family, is_windowed: bool) -> Parsed<Vec<bool>> {
        let count = self.num_hidden_layers;
        if matches!(family, Family::Mistral | Family::Phi3) {
            return Ok(vec![is_windowed; count]);
        }
        if let Some(types) = &self.layer_types {
            check_length("layer_types", types.len(), count)?;
            let is_sliding = |kind: &String| match kind.as_str() {
                "sliding_attention" => Ok(true),
                "full_attention" => Ok(false),
                other => Err(format!(
                    "layer_types: `{other}` is not supported; full_attention and \
                     sliding_attention are"
                )),
            };
            let sliding = types.iter().take(count).map(is_sliding).collect::<Parsed<Vec<_>>>()?;
            if sliding.contains(&true) && !is_windowed {
                return Err("layer_types has sliding_attention, but there is no sliding_window \
                            in use"
                    .to_owned());
            }
            return Ok(sliding);
        }
        let with_rope = self.layers_with_rope(family)?;
        let in_window = |layer: usize| match family {
            Family::Gemma2 => layer.is_multiple_of(2),
            Family::Gemma3 => !(layer + 1).is_multiple_of(self.sliding_window_pattern.unwrap_or(6)),
            Family::SmolLm3 => !with_rope[layer],
            _ => layer >= self.max_window_layers.unwrap_or(28),
        };
        Ok((0..count).map(|layer| is_windowed && in_window(layer)).collect())
    }

    fn layers_with_rope(&self, family: Family) -> Parsed<Vec<bool>> {
        let count = self.num_hidden_layers;
        if family != Family::SmolLm3 {
            return Ok(vec![true; count]);
        }
        if let Some(layers) = &self.no_rope_layers {
            check_length("no_rope_layers", layers.len(), count)?;
            return Ok(layers.iter().take(count).map(|with_rope| *with_rope != 0).collect());
        }
        let interval =
            positive("no_rope_layer_interval", self.no_rope_layer_interval.unwrap_or(4))?;
        Ok((1..=count).map(|layer| !layer.is_multiple_of(interval)).collect())
    }

    /// The rotation of all blocks, or that of Gemma 3's full and that of its sliding ones.
    fn ropes(&self, family: Family, attention: AttentionShape) -> Parsed<Vec<Rope>> {
        let nested = |kind: &str| self.rope_parameters.as_ref().and_then(|p| p.get(kind));
        if family == Family::Gemma3 {
            let full = nested("full_attention").or(self.rope_scaling.as_ref());
            let local = self.rope_local_base_freq.unwrap_or(10_000.0);
            let sliding = nested("sliding_attention");
            return Ok(vec![
                self.rope(family, attention, full, self.rope_theta)?,
                self.rope(family, attention, sliding, Some(local))?,
            ]);
        }
        if nested("full_attention").is_some() || nested("sliding_attention").is_some() {
            return Err("rope_parameters by layer type are supported for gemma3_text alone".into());
        }
        // A scaling in the old place takes precedence over an empty new one.
        let of_old = self.rope_scaling.as_ref().filter(|settings| !settings.is_null());
        let settings = of_old.or(self.rope_parameters.as_ref());
        Ok(vec![self.rope(family, attention, settings, self.rope_theta)?])
    }

    fn rope(
        &self,
        family: Family,
        attention: AttentionShape,
        settings: Option<&Value>,
        theta: Option<f64>,
    ) -> Parsed<Rope> {
        let number = |key: &str| -> Option<f64> {
            let places = [settings, self.rope_parameters.as_ref()];
            places.into_iter().flatten().find_map(|place| place.get(key)?.as_f64())
        };
        let theta = number("rope_theta").or(theta).unwrap_or(family.rope_theta());
        if !theta.is_finite() || theta <= 1.0 {
            return Err(format!("rope_theta is {theta}; a number above 1 is needed"));
        }
        let part = number("partial_rotary_factor").or(self.partial_rotary_factor).unwrap_or(1.0);
        if part != 1.0 && family != Family::Phi3 {
            return Err(format!("partial_rotary_factor {part} is supported for phi3 models alone"));
        }
        let columns = (attention.head_dim as f64 * part) as usize;
        if columns < 2 || !columns.is_multiple_of(2) || columns > attention.head_dim {
            return Err(format!(
                "partial_rotary_factor {part} of head_dim {} is {columns} columns; an even number \
                 is needed",
                attention.head_dim
            ));
        }
        Rope::read(&Source {
            key: if self.rope_parameters.is_some() { "rope_parameters" } else { "rope_scaling" },
            settings,
            theta,
            columns,
            max_positions: self.max_positions(family),
            original_max_positions: self.original_max_position_embeddings,
        })
    }
}

fn check_length(key: &str, found: usize, layers: usize) -> Parsed<()> {
    if found < layers {
        return Err(format!("{key} has {found} entries, but there are {layers} layers"));
    }
    Ok(())
}

/// Keys that change what the model computes and that no supported family reads; with the values
/// that change nothing.
const FOREIGN: [(&str, &[&str]); 13] = [
    ("quantization_config", &["null"]),
    ("use_bidirectional_attention", &["null", "false"]),
    ("clip_qkv", &["null"]),
    ("logits_scaling", &["null", "1", "1.0"]),
    ("logit_scale", &["null", "1", "1.0"]),
    ("embedding_multiplier", &["null", "1", "1.0"]),
    ("residual_multiplier", &["null", "1", "1.0"]),
    ("attention_multiplier", &["null"]),
    ("num_experts", &["null", "0"]),
    ("num_local_experts", &["null", "0"]),
    ("n_routed_experts", &["null", "0"]),
    ("attention_chunk_size", &["null"]),
    ("alibi", &["null", "false"]),
];

/// A key that changes what the model computes is never ignored.
fn refuse_what_would_change_results(all: &Value, family: Family) -> Parsed<()> {
    for (key, harmless) in FOREIGN {
        if let Some(value) = all.get(key)
            && !harmless.contains(&value.to_string().as_str())
        {
            let hint = if key == "quantization_config" {
                "quantised checkpoints (bitsandbytes, GPTQ, AWQ) are not read; take the \
                 full-precision model and write `quantization: nf4`, or give a GGUF file as \
                 `base_weights`"
            } else {
                "it would change what the model computes"
            };
            return Err(format!("{key} is not supported: {hint}"));
        }
    }
    let set = |key: &str| all.get(key).is_some_and(|value| !value.is_null());
    if family != Family::Gemma2 && set("attn_logit_softcapping") {
        return Err("attn_logit_softcapping is supported for gemma2 models alone".to_owned());
    }
    if !family.is_gemma() && set("final_logit_softcapping") {
        return Err("final_logit_softcapping is supported for gemma models alone".to_owned());
    }
    if matches!(family, Family::Llama | Family::Olmo2)
        && all.get("use_sliding_window") == Some(&Value::Bool(true))
    {
        return Err("use_sliding_window is not supported for this model_type".to_owned());
    }
    if family == Family::Mistral && set("layer_types") {
        return Err("layer_types is not supported for mistral models".to_owned());
    }
    Ok(())
}

fn positive(key: &str, value: usize) -> Parsed<usize> {
    if value == 0 { Err(format!("{key} is 0; it must be positive")) } else { Ok(value) }
}

fn inverse_root(key: &str, value: f64) -> Parsed<f64> {
    if value.is_finite() && value > 0.0 {
        Ok(1.0 / value.sqrt())
    } else {
        Err(format!("{key} is {value}; a positive number is needed"))
    }
}

#[cfg(test)]
mod tests;
