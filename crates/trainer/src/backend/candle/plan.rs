//! What the candle backend makes of a step before its first operation: tables that are copied to the
//! device once, and the slots' vectors stacked group by group.

use std::ops::{Deref, Range};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::groups::{Group, Grouping, GroupingKey};
use crate::backend::{LoraPath, Step};
use crate::error::Result;
use crate::rope::Rope;

/// A step with its tables on the device.
#[derive(Debug)]
pub struct Plan<'a> {
    step: Step<'a, Tensor>,
    /// Token of each row.
    pub(super) ids: Tensor,
    /// The rows that the last block computes after its attention.
    pub(super) read_rows: Tensor,
    /// Cosines and sines `[N, P/2]` of the rows' positions, for each rope.
    pub(super) angles: Vec<[Tensor; 2]>,
    /// The sequences, grouped for the attention.
    pub(super) sequences: Grouping,
    pub(super) targets: Targets,
    sites: Vec<Option<SiteGroups>>,
}

/// The tokens to predict and the factors of their losses, `[n, 1]` each.
#[derive(Debug)]
pub struct Targets {
    pub tokens: Tensor,
    pub weights: Tensor,
}

/// How the paths of a site are computed.
#[derive(Debug)]
pub struct SiteGroups {
    /// Shared by the sites whose groups have the same rows.
    pub grouping: Arc<Grouping>,
    /// The values of each group.
    pub values: Vec<GroupValues>,
}

/// The values of a group's slots.
#[derive(Debug)]
pub struct GroupValues {
    /// The slots' vectors, `[G, P]`, in the format of the activations.
    pub stacked: Tensor,
    /// Their factors `s`.
    pub scale: Scale,
}

/// `s` of all slots of a group, or `[G, 1, 1]` where they differ.
#[derive(Debug)]
pub enum Scale {
    Same(f64),
    Each(Tensor),
}

/// The adapters at a linear layer, and how they are computed.
pub struct PlannedSite<'a> {
    pub columns: &'a Range<usize>,
    pub paths: &'a [LoraPath<'a, Tensor>],
    pub groups: Option<&'a SiteGroups>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        step: Step<'a, Tensor>,
        dtype: DType,
        wide: DType,
        device: &Device,
    ) -> Result<Self> {
        let rows = &step.rows;
        let ropes = step.ropes.iter().map(|rope| angles(&step, rope, wide, device));
        let of_sequences: Vec<_> =
            step.families.iter().flat_map(|family| family.sequences.iter().cloned()).collect();
        let key = GroupingKey::of_sequences(&of_sequences, step.attention.heads);
        let targets = Targets {
            tokens: Tensor::from_iter(rows.targets.iter().map(|t| t.token), device)?
                .unsqueeze(1)?,
            weights: Tensor::from_iter(rows.targets.iter().map(|t| t.weight), device)?
                .to_dtype(wide)?
                .unsqueeze(1)?,
        };
        Ok(Self {
            ids: Tensor::new(&rows.ids[..], device)?,
            read_rows: Tensor::from_iter(step.read_rows().map(|row| row as u32), device)?,
            angles: ropes.collect::<Result<_>>()?,
            sequences: Grouping::new(&key, wide, device)?,
            targets,
            sites: sites(&step, dtype, wide, device)?,
            step,
        })
    }

    pub(super) fn site(&self, site: usize) -> PlannedSite<'_> {
        let (of_site, groups) = (&self.step.sites[site], self.sites[site].as_ref());
        PlannedSite { columns: &of_site.columns, paths: &of_site.paths, groups }
    }
}

impl<'a> Deref for Plan<'a> {
    type Target = Step<'a, Tensor>;

    fn deref(&self) -> &Self::Target {
        &self.step
    }
}

/// Cosines and sines of a rope at the rows' positions.
fn angles(
    step: &Step<'_, Tensor>,
    rope: &Rope,
    dtype: DType,
    device: &Device,
) -> Result<[Tensor; 2]> {
    let rows = &step.rows;
    let mut angles = Vec::new();
    for sequence in &rows.sequences {
        let frequencies = rope.frequencies(sequence.len());
        for p in &rows.positions[sequence.clone()] {
            angles.extend(frequencies.iter().map(|f| f64::from(*p) * f));
        }
    }
    let table = |f: fn(f64) -> f64| -> Result<Tensor> {
        let values: Vec<f64> = angles.iter().map(|a| rope.amplitude() * f(*a)).collect();
        let shape = (rows.len(), angles.len() / rows.len().max(1));
        // Rounded on the host: not every device has f64.
        let t = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?;
        Ok(t.to_device(device)?)
    };
    Ok([table(f64::cos)?, table(f64::sin)?])
}

/// The groups of all sites. Most of them have the same rows and the same vectors, which are made once.
fn sites(
    step: &Step<'_, Tensor>,
    dtype: DType,
    wide: DType,
    device: &Device,
) -> Result<Vec<Option<SiteGroups>>> {
    let mut groupings: Vec<(GroupingKey, Arc<Grouping>)> = Vec::new();
    let mut stacks: Vec<(Vec<usize>, Tensor)> = Vec::new();
    let mut groups_of = |site: &crate::backend::Site<'_, Tensor>| -> Result<Option<SiteGroups>> {
        if site.paths.is_empty() {
            return Ok(None);
        }
        let key = GroupingKey::of_paths(&site.paths, site.rows);
        let known = groupings.iter().find(|(of, _)| *of == key).map(|(_, known)| Arc::clone(known));
        let grouping = if let Some(known) = known {
            known
        } else {
            let new = Arc::new(Grouping::new(&key, wide, device)?);
            groupings.push((key, Arc::clone(&new)));
            new
        };
        let mut values = Vec::with_capacity(grouping.groups.len());
        for group in &grouping.groups {
            let adapters: Vec<usize> =
                group.members.iter().map(|i| site.paths[*i].adapter).collect();
            let known =
                stacks.iter().find(|(of, _)| *of == adapters).map(|(_, known)| known.clone());
            let stacked = if let Some(known) = known {
                known
            } else {
                let params: Vec<&Tensor> =
                    group.members.iter().map(|i| site.paths[*i].params).collect();
                let new = Tensor::cat(&params, 0)?.to_dtype(dtype)?;
                stacks.push((adapters, new.clone()));
                new
            };
            values.push(GroupValues { stacked, scale: scale(group, &site.paths, dtype, device)? });
        }
        Ok(Some(SiteGroups { grouping, values }))
    };
    step.sites.iter().map(&mut groups_of).collect()
}

fn scale(
    group: &Group,
    paths: &[LoraPath<'_, Tensor>],
    dtype: DType,
    device: &Device,
) -> Result<Scale> {
    let scales: Vec<f64> = group.members.iter().map(|i| paths[*i].scale).collect();
    if scales.iter().all(|s| s.to_bits() == scales[0].to_bits()) {
        return Ok(Scale::Same(scales[0]));
    }
    let each = Tensor::from_vec(scales, (group.members.len(), 1, 1), &Device::Cpu)?;
    Ok(Scale::Each(each.to_dtype(dtype)?.to_device(device)?))
}

impl Scale {
    /// Each slot's rows times its factor.
    pub fn times(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Same(scale) => (x * *scale)?,
            Self::Each(scales) => x.broadcast_mul(scales)?,
        })
    }
}
