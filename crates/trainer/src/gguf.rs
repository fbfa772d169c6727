//! A LoRA adapter as a GGUF file, as llama.cpp loads it (`--lora`).
//!
//! The container is GGUF version 3 (ggml's `docs/gguf.md`): a header of key-value pairs, the names,
//! shapes and places of the tensors, then their values, each at a multiple of 32 bytes. Shapes are
//! written innermost first. Of an adapter llama.cpp asks for `general.type = adapter`,
//! `adapter.type = lora`, the base's `general.architecture`, and `adapter.lora.alpha`, which it
//! divides by the rank; tensors are named like the base's with `.lora_a` and `.lora_b` behind.

use std::path::Path;

use spec::TargetModule;

use crate::adapter::Site;
use crate::error::{Result, TrainerError};
use crate::format::{ALIGNMENT, MAGIC};
use crate::model::{DecoderConfig, architecture, module_name};
use crate::peft::{self, LoadedAdapter};

const VERSION: u32 = 3;

/// Types of values and tensors in the file.
const TYPE_UINT32: u32 = 4;
const TYPE_FLOAT32: u32 = 6;
const TYPE_STRING: u32 = 8;
const TENSOR_F32: u32 = 0;

/// Reads the PEFT folder `adapter` of a model in `base` and writes it as the GGUF file `target`.
pub fn write_adapter(base: &Path, adapter: &Path, name: &str, target: &Path) -> Result<()> {
    let config = DecoderConfig::read(base)?;
    let adapter = peft::load(adapter, &config)?;
    if adapter.layout.sites.iter().any(|site| site.magnitude.is_some()) {
        let message = "llama.cpp has no place for the magnitudes of DoRA in an adapter; merge it \
                       into the base (`export --merge`) and convert that";
        return Err(TrainerError::Targets(message.to_owned()));
    }
    let bytes = encode(&config, &adapter, name);
    std::fs::write(target, bytes).map_err(TrainerError::io("write", target))
}

struct Tensor {
    name: String,
    /// Innermost first.
    shape: [usize; 2],
    values: Vec<f32>,
}

fn encode(config: &DecoderConfig, adapter: &LoadedAdapter, name: &str) -> Vec<u8> {
    // llama.cpp scales by one alpha / rank, whatever the scaling was trained with.
    let alpha = adapter.layout.sites.first().map_or(0.0, |site| site.scale * site.rank as f64);
    let tensors: Vec<Tensor> = (0..adapter.layout.sites.len())
        .flat_map(|index| matrices(config, adapter, index, alpha))
        .collect();
    let mut out = Vec::new();
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    let texts = [
        ("general.architecture", architecture(config)),
        ("general.type", "adapter"),
        ("general.name", name),
        ("adapter.type", "lora"),
    ];
    out.extend((texts.len() as u64 + 2).to_le_bytes());
    for (key, value) in texts {
        put_text(&mut out, key);
        out.extend(TYPE_STRING.to_le_bytes());
        put_text(&mut out, value);
    }
    put_text(&mut out, "general.alignment");
    out.extend(TYPE_UINT32.to_le_bytes());
    out.extend((ALIGNMENT as u32).to_le_bytes());
    put_text(&mut out, "adapter.lora.alpha");
    out.extend(TYPE_FLOAT32.to_le_bytes());
    out.extend((alpha as f32).to_le_bytes());
    let mut offset = 0;
    for tensor in &tensors {
        put_text(&mut out, &tensor.name);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().for_each(|size| out.extend((*size as u64).to_le_bytes()));
        out.extend(TENSOR_F32.to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += (4 * tensor.values.len()).next_multiple_of(ALIGNMENT);
    }
    for tensor in &tensors {
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out.extend(tensor.values.iter().flat_map(|value| value.to_le_bytes()));
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A is `[R, I]` and B `[O, R]`, row-major. B takes up what a site's own alpha differs from the
/// file's.
fn matrices(
    config: &DecoderConfig,
    adapter: &LoadedAdapter,
    index: usize,
    alpha: f64,
) -> [Tensor; 2] {
    let (layout, site) = (&adapter.layout, &adapter.layout.sites[index]);
    let name = tensor_name(site);
    let own = site.scale * site.rank as f64 / alpha;
    let mut b = rotated(config, site, &adapter.values[layout.b_range(index)]);
    if own != 1.0 {
        for x in &mut b {
            *x = (f64::from(*x) * own) as f32;
        }
    }
    [
        Tensor {
            name: format!("{name}.lora_a"),
            shape: [site.inputs, site.rank],
            values: adapter.values[layout.a_range(index)].to_vec(),
        },
        Tensor { name: format!("{name}.lora_b"), shape: [site.rank, site.outputs], values: b },
    ]
}

fn tensor_name(site: &Site) -> String {
    format!("blk.{}.{}.weight", site.layer, module_name(site.module))
}

/// In its `llama` and `smollm3` architectures llama.cpp rotates neighbouring pairs of a head's E
/// columns, where Hugging Face rotates column j with j + E/2: the rows of q and k are put in that
/// order.
fn rotated(config: &DecoderConfig, site: &Site, b: &[f32]) -> Vec<f32> {
    let turns = matches!(site.module, TargetModule::QProj | TargetModule::KProj);
    if !matches!(architecture(config), "llama" | "smollm3") || !turns {
        return b.to_vec();
    }
    let head = config.attention.head_dim;
    let row_of = |row: usize| {
        let (head_start, within) = (row / head * head, row % head);
        head_start + within / 2 + (within % 2) * (head / 2)
    };
    (0..site.outputs).flat_map(|row| &b[row_of(row) * site.rank..][..site.rank]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::AdapterLayout;

    fn config(model_type: &str) -> DecoderConfig {
        DecoderConfig::parse(
            &serde_json::json!({
                "model_type": model_type, "architectures": ["LlamaForCausalLM"], "vocab_size": 11,
                "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
                "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5,
                "max_position_embeddings": 64, "hidden_act": "silu",
            })
            .to_string(),
        )
        .expect("a small model")
    }

    #[test]
    fn the_rows_of_a_rotated_projection_change_order_and_the_others_do_not() {
        for model_type in ["llama", "smollm3"] {
            rows_change_order(&config(model_type));
        }
    }

    fn rows_change_order(config: &DecoderConfig) {
        let modules = [TargetModule::QProj, TargetModule::VProj];
        let layout = AdapterLayout::new(config, 1, 2.0, &modules);
        let mut values = vec![0.0; layout.len];
        let (q, v) = (layout.b_range(0), layout.b_range(1));
        for (range, from) in [(q, 0.0), (v, 100.0)] {
            for (at, value) in values[range].iter_mut().enumerate() {
                *value = from + at as f32;
            }
        }
        let adapter = LoadedAdapter { layout, values };
        let [_, q] = matrices(config, &adapter, 0, 2.0);
        assert_eq!(q.values, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(q.shape, [1, 8]);
        let [_, v] = matrices(config, &adapter, 1, 2.0);
        assert_eq!(v.values, [100.0, 101.0, 102.0, 103.0]);
    }

    #[test]
    fn every_tensor_begins_at_its_alignment_and_the_file_ends_with_the_last() {
        let config = config("llama");
        let layout = AdapterLayout::new(&config, 3, 2.0, &TargetModule::ALL);
        let values = vec![1.5; layout.len];
        let bytes = encode(&config, &LoadedAdapter { layout, values }, "a name");
        assert_eq!(&bytes[..8], b"GGUF\x03\0\0\0");
        assert_eq!(u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes")), 14);
        assert!(bytes.len().is_multiple_of(ALIGNMENT));
    }
}
