//! The adapters at a block's linear layers.

use spec::TargetModule;

use super::layer::Layer;
use crate::adapter::Site;
use crate::backend::{Backend, Linear, LoraPath, Step};
use crate::error::Result;
use crate::model::{FrozenLayer, Model};

/// What a module's adapters keep for their backward pass.
pub struct SavedPaths<B: Backend> {
    /// `x A^T`
    u: B::LowRank,
    /// Of those with `DoRA`.
    dora: Option<B::Dora>,
}

impl<B: Backend> SavedPaths<B> {
    /// Whether some of them have `DoRA`.
    pub const fn has_dora(&self) -> bool {
        self.dora.is_some()
    }
}

/// What each module of a block that carries adapters keeps.
pub type LowRanks<B> = [Option<SavedPaths<B>>; TargetModule::COUNT];

/// One gradient vector an adapter, in the adapters' order.
pub type Gradients<'g, 't, T> = &'g mut [&'t mut T];

impl<B: Backend> Layer<'_, '_, B> {
    /// Where the plan has the adapters of a module of this block.
    fn site(&self, module: TargetModule) -> usize {
        Step::<B::Tensor>::site(self.index, module)
    }

    /// Adds the adapters of a module to its output.
    pub fn lora(
        &self,
        module: TargetModule,
        y: &mut B::Tensor,
        x: &B::Tensor,
        low_rank: &mut LowRanks<B>,
    ) -> Result<()> {
        let (site, plan) = (self.site(module), self.plan);
        if plan.sites[site].paths.is_empty() {
            return Ok(());
        }
        let u = self.backend.lora(y, x, plan, site)?;
        let dora = if plan.sites[site].has_dora() {
            Some(self.backend.dora(y, linear_of(self.frozen(), module), plan, site)?)
        } else {
            None
        };
        low_rank[module as usize] = Some(SavedPaths { u, dora });
        Ok(())
    }

    /// Adds the gradients of the matrices to those of the adapters, and that of the input to `dx`.
    pub fn lora_backward(
        &self,
        module: TargetModule,
        dx: Option<&mut B::Tensor>,
        dy: &B::Tensor,
        x: &B::Tensor,
        low_rank: &LowRanks<B>,
        grads: Gradients<'_, '_, B::Tensor>,
    ) -> Result<()> {
        let Some(SavedPaths { u, .. }) = &low_rank[module as usize] else { return Ok(()) };
        self.backend.lora_backward(dx, dy, x, u, self.plan, self.site(module), grads)
    }

    /// From the gradient of a module's output to that of what `DoRA` scales, in place.
    pub fn dora_backward(
        &self,
        module: TargetModule,
        dy: &mut B::Tensor,
        low_rank: &LowRanks<B>,
        grads: Gradients<'_, '_, B::Tensor>,
    ) -> Result<()> {
        let Some(SavedPaths { dora: Some(saved), .. }) = &low_rank[module as usize] else {
            return Ok(());
        };
        self.backend.dora_backward(dy, saved, self.plan, self.site(module), grads)
    }

    /// The same where the gradient that arrives is also that of the sum after the module, and has to
    /// stay as it is: it is copied. `through`, where there is one, belongs to the module alone.
    pub fn dora_apart(
        &self,
        module: TargetModule,
        through: Option<B::Tensor>,
        dx: &B::Tensor,
        low_rank: &LowRanks<B>,
        grads: Gradients<'_, '_, B::Tensor>,
    ) -> Result<Option<B::Tensor>> {
        if low_rank[module as usize].as_ref().is_none_or(|saved| saved.dora.is_none()) {
            return Ok(through);
        }
        let mut dy = if let Some(through) = through {
            through
        } else {
            let columns = self.plan.sites[self.site(module)].columns.len();
            let mut copy = self.backend.zeros(self.rows_read(), columns)?;
            self.backend.add_assign(&mut copy, dx)?;
            copy
        };
        self.dora_backward(module, &mut dy, low_rank, grads)?;
        Ok(Some(dy))
    }
}

/// The frozen layer that a module is a part of.
const fn linear_of<B: Backend>(
    layer: &FrozenLayer<B>,
    module: TargetModule,
) -> &Linear<B::Frozen, B::Tensor> {
    match module {
        TargetModule::QProj | TargetModule::KProj | TargetModule::VProj | TargetModule::QkvProj => {
            &layer.qkv
        }
        TargetModule::OProj => &layer.o,
        TargetModule::GateProj | TargetModule::UpProj | TargetModule::GateUpProj => &layer.gate_up,
        TargetModule::DownProj => &layer.down,
    }
}

/// An adapter's values at a site; no rows.
const fn path_at<'a, T>(site: &Site, params: &'a T) -> LoraPath<'a, T> {
    LoraPath {
        adapter: 0,
        rows: 0..0,
        rank: site.rank,
        scale: site.scale,
        params,
        a: site.a,
        b: site.b,
        magnitude: site.magnitude,
        dropout: None,
    }
}

/// The lengths of the rows of `W + scale B A` at a site, for an adapter's values.
pub fn row_norms<B: Backend>(
    backend: &B,
    model: &Model<B>,
    params: &B::Tensor,
    site: &Site,
) -> Result<Vec<f32>> {
    let layer = linear_of(&model.layers[site.layer], site.module);
    let columns = model.config.columns_of(site.module);
    backend.row_norms(columns, layer, &path_at(site, params))
}
