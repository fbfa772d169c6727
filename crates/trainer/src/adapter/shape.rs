//! Which linear layers carry adapters, of which rank and scale: PEFT's `LoraConfig` in our words.

use std::collections::{BTreeMap, HashMap};

use spec::{InitLoraWeights, TargetModule, TrialConfig};

use super::layout::AdapterLayout;
use crate::model::{DecoderConfig, parent};

/// What decides the shape of an adapter.
#[derive(Debug, Clone, Copy)]
pub struct LoraShape<'a> {
    /// Rank r where no pattern says otherwise.
    pub rank: u32,
    /// Alpha where no pattern says otherwise.
    pub lora_alpha: f64,
    /// The scale is `alpha / sqrt(r)` instead of `alpha / r`.
    pub use_rslora: bool,
    /// Linear layers that carry adapters.
    pub target_modules: &'a [TargetModule],
    /// Blocks that do; `None`: all.
    pub layers_to_transform: Option<&'a [u32]>,
    /// Other ranks by module.
    pub rank_pattern: &'a BTreeMap<String, u32>,
    /// Other alphas by module.
    pub alpha_pattern: &'a BTreeMap<String, f64>,
    /// How A and B begin.
    pub init_lora_weights: InitLoraWeights,
    /// Every output has a magnitude.
    pub use_dora: bool,
}

impl<'a> LoraShape<'a> {
    /// The shape of a trial's adapter.
    pub fn of_trial(trial: &'a TrialConfig) -> Self {
        Self {
            rank: trial.rank,
            lora_alpha: trial.lora_alpha,
            use_rslora: trial.use_rslora,
            target_modules: &trial.target_modules,
            layers_to_transform: trial.variant.layers_to_transform.as_deref(),
            rank_pattern: &trial.variant.rank_pattern,
            alpha_pattern: &trial.variant.alpha_pattern,
            init_lora_weights: trial.variant.init_lora_weights,
            use_dora: trial.variant.use_dora,
        }
    }

    /// Where the matrices lie, on a model for which [`Self::check`] has found nothing.
    pub fn layout(&self, config: &DecoderConfig) -> AdapterLayout {
        AdapterLayout::build(config, self.target_modules, self.use_dora, |layer, module| {
            let layers = self.layers_to_transform;
            if layers.is_some_and(|layers| !layers.contains(&(layer as u32))) {
                return None;
            }
            let name = module_name(layer, module);
            let rank = matching(self.rank_pattern, &name).map_or(self.rank, |(_, rank)| *rank);
            let alpha = matching(self.alpha_pattern, &name);
            let alpha = alpha.map_or(self.lora_alpha, |(_, alpha)| *alpha);
            Some((rank as usize, spec::lora_scale(alpha, rank, self.use_rslora)))
        })
    }

    /// Whether the model can carry such adapters; the error names the setting that it cannot.
    pub fn check(&self, config: &DecoderConfig) -> Result<(), String> {
        let modules = config.targets(self.target_modules)?;
        let count = config.num_hidden_layers;
        let layers = self.layers_to_transform.unwrap_or_default();
        if let Some(layer) = layers.iter().find(|layer| **layer as usize >= count) {
            return Err(format!(
                "layers_to_transform: there is no block {layer}; the model has {count}, the first \
                 of which is 0"
            ));
        }
        let names: Vec<String> = (0..count)
            .flat_map(|layer| modules.iter().map(move |module| module_name(layer, *module)))
            .collect();
        check_pattern("rank_pattern", self.rank_pattern, &names)?;
        check_pattern("alpha_pattern", self.alpha_pattern, &names)?;
        let layout = self.layout(config);
        if self.init_lora_weights == InitLoraWeights::Orthogonal
            && let Some(site) = layout.sites.iter().find(|site| !site.rank.is_multiple_of(2))
        {
            return Err(format!(
                "init_lora_weights orthogonal needs an even rank, but {} has {}",
                site.module, site.rank
            ));
        }
        Ok(())
    }
}

impl AdapterLayout {
    /// The layout of a trial's adapter, which [`LoraShape::check`] has found possible.
    pub fn of_trial(config: &DecoderConfig, trial: &TrialConfig) -> Self {
        LoraShape::of_trial(trial).layout(config)
    }
}

/// The name of a linear layer in the model, as PEFT's patterns see it.
fn module_name(layer: usize, module: TargetModule) -> String {
    format!("model.layers.{layer}.{}.{module}", parent(module))
}

/// The entry of a pattern that names this layer: by its whole name or by the last words of it.
fn matching<'a, T>(pattern: &'a BTreeMap<String, T>, name: &str) -> Option<(&'a String, &'a T)> {
    pattern.iter().find(|(key, _)| is_named(key, name))
}

fn is_named(key: &str, name: &str) -> bool {
    name.strip_suffix(key).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// An entry that names no adapted layer would do nothing, and of two that name the same layer PEFT
/// takes the one that stands first in the file.
fn check_pattern<T>(
    what: &str,
    pattern: &BTreeMap<String, T>,
    names: &[String],
) -> Result<(), String> {
    let mut taken: HashMap<&str, &str> = HashMap::new();
    for key in pattern.keys() {
        let mut matched = names.iter().filter(|name| is_named(key, name)).peekable();
        if matched.peek().is_none() {
            return Err(format!(
                "{what}: `{key}` names no layer with an adapter; write a module such as `{}` or \
                 `{}`",
                names.last().and_then(|name| name.rsplit('.').next()).unwrap_or_default(),
                names.last().map(|name| name.trim_start_matches("model.")).unwrap_or_default(),
            ));
        }
        for name in matched {
            if let Some(other) = taken.insert(name, key) {
                return Err(format!("{what}: `{other}` and `{key}` both name {name}"));
            }
        }
    }
    Ok(())
}
