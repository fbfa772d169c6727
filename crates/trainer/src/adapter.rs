//! A LoRA adapter: where each A and B lies in one flat vector, and how it is initialised.
//!
//! `W' = W + s B A` with A `[R, in]`, B `[out, R]`, `s = alpha / R` (Hu et al. 2021,
//! arXiv:2106.09685, section 4.1). One vector a trial keeps the optimizer, clipping, checkpoints
//! and finiteness checks free of any knowledge of layers.

use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spec::{TargetModule, TrialConfig};

use crate::model::DecoderConfig;

/// One adapted linear layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Decoder block.
    pub layer: usize,
    /// Which of its linear layers.
    pub module: TargetModule,
    /// Columns of the input.
    pub inputs: usize,
    /// Columns of the output.
    pub outputs: usize,
    /// Rank R.
    pub rank: usize,
    /// s: `alpha / R`, or `alpha / sqrt(R)` with rsLoRA.
    pub scale: f64,
    /// Where A `[rank, inputs]` begins.
    pub a: usize,
    /// Where B `[outputs, rank]` begins.
    pub b: usize,
}

/// The places of all matrices of an adapter in its flat vector.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterLayout {
    /// Sites by layer, then by module in the order of the forward pass.
    pub sites: Vec<Site>,
    /// Length of the vector.
    pub len: usize,
}

impl AdapterLayout {
    /// The layout on a model whose every site has this rank and scale. Of `modules` those are
    /// taken that the model has ([`DecoderConfig::targets`]).
    pub fn new(config: &DecoderConfig, rank: usize, scale: f64, modules: &[TargetModule]) -> Self {
        let modules = config.targets(modules).unwrap_or_default();
        let mut sites = Vec::with_capacity(config.num_hidden_layers * modules.len());
        let mut len = 0;
        for layer in 0..config.num_hidden_layers {
            for module in &modules {
                let (inputs, outputs) = config.module_shape(*module);
                let (a, b) = (len, len + rank * inputs);
                len = b + outputs * rank;
                sites.push(Site { layer, module: *module, inputs, outputs, rank, scale, a, b });
            }
        }
        Self { sites, len }
    }

    /// The layout of a trial's adapter.
    pub fn of_trial(config: &DecoderConfig, trial: &TrialConfig) -> Self {
        Self::new(config, trial.rank as usize, trial.scale(), &trial.target_modules)
    }

    /// The adapted modules, each once.
    pub fn modules(&self) -> Vec<TargetModule> {
        let mut modules: Vec<TargetModule> = self.sites.iter().map(|site| site.module).collect();
        modules.sort_unstable();
        modules.dedup();
        modules
    }

    /// The site of a module in a block, with its index among all sites.
    pub fn site(&self, layer: usize, module: TargetModule) -> Option<(usize, &Site)> {
        self.sites.iter().enumerate().find(|(_, s)| s.layer == layer && s.module == module)
    }

    /// PEFT's initial values: A uniform in `±1/sqrt(in)` (Kaiming with `a = sqrt(5)`), B zero, so
    /// that training starts at the base model.
    pub fn initial_values(&self, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; self.len];
        for (index, site) in self.sites.iter().enumerate() {
            // A stream a site: its values do not depend on which other modules are adapted. A fused
            // projection has that of its first part.
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let module = site.module.parts().first().copied().unwrap_or(site.module);
            rng.set_stream(1 + (site.layer * TargetModule::ALL.len()) as u64 + module as u64);
            let bound = 1.0 / (site.inputs as f32).sqrt();
            for x in &mut values[self.a_range(index)] {
                *x = rng.random_range(-bound..bound);
            }
        }
        values
    }

    /// Where A of a site lies.
    pub fn a_range(&self, index: usize) -> Range<usize> {
        let s = &self.sites[index];
        s.a..s.a + s.rank * s.inputs
    }

    /// Where B of a site lies.
    pub fn b_range(&self, index: usize) -> Range<usize> {
        let s = &self.sites[index];
        s.b..s.b + s.outputs * s.rank
    }
}
