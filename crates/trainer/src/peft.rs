//! Adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use spec::{InitLoraWeights, TargetModule, TrialConfig};

use crate::adapter::{AdapterLayout, LoraShape};
use crate::error::{Result, TrainerError};
use crate::format::{map_file, pickle_refusal, pickled_file, write_tensors};
use crate::model::{DecoderConfig, parent};

/// Name of the configuration file.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The largest rank that a sweep may ask for, too.
const MOST_RANK: u32 = 8192;
/// Name of the weight file.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// `adapter_config.json`, with the keys that PEFT's `LoraConfig` reads.
#[derive(Debug, Serialize, Deserialize)]
struct AdapterConfig {
    peft_type: String,
    task_type: Option<String>,
    base_model_name_or_path: Option<String>,
    r: u32,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    target_modules: Vec<TargetModule>,
    #[serde(default = "no_bias")]
    bias: String,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    inference_mode: bool,
    #[serde(default)]
    init_lora_weights: serde_json::Value,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
    #[serde(default)]
    layers_to_transform: Option<OneOrMany>,
    #[serde(default)]
    rank_pattern: BTreeMap<String, u32>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
}

/// PEFT takes one block or a list of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(layer) => std::slice::from_ref(layer),
            Self::Many(layers) => layers,
        }
    }
}

fn no_bias() -> String {
    "none".to_owned()
}

/// An adapter read from a PEFT folder.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedAdapter {
    /// Where its matrices lie in `values`.
    pub layout: AdapterLayout,
    /// All values of A and B, and of the magnitudes of `DoRA`.
    pub values: Vec<f32>,
}

/// The tensors of a site in PEFT's weight file: their names, where their values are in the
/// adapter's vector, and their shapes.
fn tensors_of(layout: &AdapterLayout, index: usize) -> Vec<(String, Range<usize>, Vec<usize>)> {
    let site = &layout.sites[index];
    let (layer, module, parent) = (site.layer, site.module, parent(site.module));
    let name =
        |part: &str| format!("base_model.model.model.layers.{layer}.{parent}.{module}.lora_{part}");
    let mut tensors = vec![
        (name("A.weight"), layout.a_range(index), vec![site.rank, site.inputs]),
        (name("B.weight"), layout.b_range(index), vec![site.outputs, site.rank]),
    ];
    if let Some(range) = layout.magnitude_range(index) {
        tensors.push((name("magnitude_vector"), range, vec![site.outputs]));
    }
    tensors
}

/// Writes an adapter into an existing folder.
pub fn save(
    dir: &Path,
    layout: &AdapterLayout,
    values: &[f32],
    config: &TrialConfig,
    base_model: &Path,
) -> Result<()> {
    let file = dir.join(WEIGHTS_FILE);
    let failed = |message: String| TrainerError::Checkpoint { path: file.clone(), message };
    let bytes: &[u8] = bytemuck::cast_slice(values);
    let mut views = Vec::with_capacity(2 * layout.sites.len());
    for index in 0..layout.sites.len() {
        for (name, range, shape) in tensors_of(layout, index) {
            let view = TensorView::new(Dtype::F32, shape, &bytes[4 * range.start..4 * range.end]);
            views.push((name, view.map_err(|e| failed(e.to_string()))?));
        }
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_tensors(views, Some(metadata), &file).map_err(|e| failed(e.to_string()))?;

    let config = AdapterConfig {
        peft_type: "LORA".to_owned(),
        task_type: Some("CAUSAL_LM".to_owned()),
        base_model_name_or_path: Some(base_model.display().to_string()),
        r: config.rank,
        lora_alpha: config.lora_alpha,
        lora_dropout: config.lora_dropout,
        use_rslora: config.use_rslora,
        use_dora: config.variant.use_dora,
        target_modules: layout.modules(),
        bias: no_bias(),
        fan_in_fan_out: false,
        inference_mode: true,
        init_lora_weights: match config.variant.init_lora_weights {
            InitLoraWeights::Default => true.into(),
            InitLoraWeights::Orthogonal => "orthogonal".into(),
        },
        modules_to_save: None,
        layers_to_transform: config.variant.layers_to_transform.clone().map(OneOrMany::Many),
        rank_pattern: config.variant.rank_pattern.clone(),
        alpha_pattern: config.variant.alpha_pattern.clone(),
    };
    let path = dir.join(CONFIG_FILE);
    let text = serde_json::to_string_pretty(&config)
        .map_err(|e| TrainerError::Config { path: path.clone(), message: e.to_string() })?;
    std::fs::write(&path, text + "\n").map_err(TrainerError::io("write", &path))
}

/// Reads an adapter that PEFT or lorasweep wrote for a model of this shape.
pub fn load(dir: &Path, model: &DecoderConfig) -> Result<LoadedAdapter> {
    let path = dir.join(CONFIG_FILE);
    let text = std::fs::read_to_string(&path).map_err(TrainerError::io("read", &path))?;
    let wrong = |message: String| TrainerError::Config { path: path.clone(), message };
    let config: AdapterConfig = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    refuse_variants(&config).map_err(&wrong)?;
    let shape = LoraShape {
        rank: config.r,
        lora_alpha: config.lora_alpha,
        use_rslora: config.use_rslora,
        target_modules: &config.target_modules,
        layers_to_transform: config.layers_to_transform.as_ref().map(OneOrMany::as_slice),
        rank_pattern: &config.rank_pattern,
        alpha_pattern: &config.alpha_pattern,
        // The values are there already.
        init_lora_weights: InitLoraWeights::Default,
        use_dora: config.use_dora,
    };
    shape.check(model).map_err(wrong)?;
    let layout = shape.layout(model);
    let file = dir.join(WEIGHTS_FILE);
    let damaged = |message: String| TrainerError::Checkpoint { path: file.clone(), message };
    if !file.is_file()
        && let Some(name) = pickled_file(dir)
    {
        return Err(damaged(format!("is not there; {}", pickle_refusal(&name))));
    }
    let bytes = std::fs::read(&file).map_err(TrainerError::io("read", &file))?;
    // Nothing is allocated for a rank that the file cannot hold: each needs a value at least.
    if config.r as usize > bytes.len() / size_of::<f32>() {
        return Err(damaged(format!("is too short for the r of {}", config.r)));
    }
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|e| damaged(format!("is not a complete safetensors file: {e}")))?;
    let mut values = vec![0.0; layout.len];
    for index in 0..layout.sites.len() {
        for (name, range, shape) in tensors_of(&layout, index) {
            let view = tensors.tensor(&name).map_err(|e| damaged(format!("`{name}`: {e}")))?;
            if view.shape() != shape || view.dtype() != Dtype::F32 {
                return Err(damaged(format!(
                    "`{name}` is {:?} {:?}; {shape:?} in f32 was expected",
                    view.dtype(),
                    view.shape()
                )));
            }
            let (floats, _) = view.data().as_chunks::<4>();
            for (value, bytes) in values[range].iter_mut().zip(floats) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
    }
    Ok(LoadedAdapter { layout, values })
}

/// Refuses the weight file of an adapter folder, of any program, that is cut, empty or holds
/// numbers that are none.
pub fn check_weights(dir: &Path) -> Result<()> {
    let file = dir.join(WEIGHTS_FILE);
    let damaged = |message: String| TrainerError::Checkpoint { path: file.clone(), message };
    let map = map_file(&file)?;
    let tensors = SafeTensors::deserialize(&map)
        .map_err(|e| damaged(format!("is not a complete safetensors file: {e}")))?;
    for (name, view) in tensors.iter().filter(|(_, view)| view.dtype() == Dtype::F32) {
        let (floats, _) = view.data().as_chunks::<4>();
        if !floats.iter().all(|bytes| f32::from_le_bytes(*bytes).is_finite()) {
            return Err(damaged(format!("`{name}` has a value that is not a finite number")));
        }
    }
    Ok(())
}

/// What would change the adapter's output is refused by name.
fn refuse_variants(config: &AdapterConfig) -> std::result::Result<(), String> {
    let refused = [
        (config.peft_type != "LORA", "peft_type other than LORA"),
        (config.r == 0, "r 0"),
        (config.r > MOST_RANK, "r above 8192"),
        (config.fan_in_fan_out, "fan_in_fan_out"),
        (config.bias != "none", "bias other than none"),
        (config.modules_to_save.as_ref().is_some_and(|m| !m.is_empty()), "modules_to_save"),
        (config.rank_pattern.values().any(|rank| *rank == 0), "a rank of 0 in rank_pattern"),
    ];
    match refused.iter().find(|(is_set, _)| *is_set) {
        Some((_, what)) => Err(format!("{what} is not supported by this version")),
        None => Ok(()),
    }
}
