//! Where each matrix of an adapter lies in its flat vector.

use std::ops::Range;

use spec::TargetModule;

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
    /// `DoRA`: where the magnitudes of the outputs begin.
    pub magnitude: Option<usize>,
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
        Self::build(config, modules, false, |_, _| Some((rank, scale)))
    }

    /// `site` gives the rank and the scale of a module in a block, where it is adapted.
    pub(crate) fn build(
        config: &DecoderConfig,
        modules: &[TargetModule],
        use_dora: bool,
        site: impl Fn(usize, TargetModule) -> Option<(usize, f64)>,
    ) -> Self {
        let modules = config.targets(modules).unwrap_or_default();
        let mut sites = Vec::with_capacity(config.num_hidden_layers * modules.len());
        let mut len = 0;
        for layer in 0..config.num_hidden_layers {
            for module in &modules {
                let Some((rank, scale)) = site(layer, *module) else { continue };
                let (inputs, outputs) = config.module_shape(*module);
                let (a, b) = (len, len + rank * inputs);
                len = b + outputs * rank;
                let magnitude = use_dora.then_some(len);
                len += magnitude.map_or(0, |_| outputs);
                let module = *module;
                sites.push(Site { layer, module, inputs, outputs, rank, scale, a, b, magnitude });
            }
        }
        Self { sites, len }
    }

    /// The largest sum of ranks over a block's sites.
    pub fn ranks_of_a_block(&self) -> usize {
        let of_block = |sites: &[Site]| sites.iter().map(|site| site.rank).sum();
        self.sites.chunk_by(|a, b| a.layer == b.layer).map(of_block).max().unwrap_or(0)
    }

    /// The largest rank of a module over the blocks.
    pub fn rank_of(&self, module: TargetModule) -> usize {
        let of_module = self.sites.iter().filter(|site| site.module == module);
        of_module.map(|site| site.rank).max().unwrap_or(0)
    }

    /// The largest sum of the outputs that have a magnitude over a block's sites.
    pub fn scaled_outputs_of_a_block(&self) -> usize {
        let scaled = |site: &Site| site.magnitude.map_or(0, |_| site.outputs);
        let of_block = |sites: &[Site]| sites.iter().map(scaled).sum();
        self.sites.chunk_by(|a, b| a.layer == b.layer).map(of_block).max().unwrap_or(0)
    }

    /// A factor for each value: 1 in an A, else `of_b` (PEFT's LoRA+ counts magnitudes among the B).
    pub fn factors_of_b(&self, of_b: f32) -> Vec<f32> {
        let mut factors = vec![of_b; self.len];
        for index in 0..self.sites.len() {
            factors[self.a_range(index)].fill(1.0);
        }
        factors
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

    /// Where the magnitudes of a site lie, where it has some.
    pub fn magnitude_range(&self, index: usize) -> Option<Range<usize>> {
        let s = &self.sites[index];
        s.magnitude.map(|begin| begin..begin + s.outputs)
    }
}
