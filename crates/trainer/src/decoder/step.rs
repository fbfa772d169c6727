//! A step, described once from the rows and adapters of a share.

use spec::TargetModule;

use super::adapters::among;
use super::shares::Share;
use crate::backend::{LoraPath, Site, Step};
use crate::dropout::Dropout;
use crate::model::DecoderConfig;

/// Describes the step of a share of which these rows are read, which ascend.
pub fn of_share<'a, T>(
    share: Share<'a, T>,
    read: Vec<usize>,
    config: &'a DecoderConfig,
) -> Step<'a, T> {
    let Share { rows, families, adapters, .. } = share;
    let read = (read.len() < rows.len()).then_some(read);
    let last = config.num_hidden_layers - 1;
    let mut sites = Vec::with_capacity(config.num_hidden_layers * TargetModule::COUNT);
    for layer in 0..config.num_hidden_layers {
        for module in TargetModule::every() {
            // After its attention the last block computes the rows that are read.
            let read = read
                .as_deref()
                .filter(|_| layer == last && !DecoderConfig::reads_block_input(module));
            let rows = read.map_or(rows.len(), <[usize]>::len);
            sites.push(Site { columns: config.columns_of(module), rows, paths: Vec::new() });
        }
    }
    for (place, adapter) in adapters.iter().enumerate() {
        let among_read = read.as_deref().map(|read| among(adapter, read));
        for (index, site) in adapter.layout.sites.iter().enumerate() {
            let is_read = site.layer == last && !DecoderConfig::reads_block_input(site.module);
            let adapter = among_read.as_ref().filter(|_| is_read).unwrap_or(adapter);
            if adapter.rows.is_empty() {
                continue;
            }
            let dropout = adapter.dropout.map(|d| Dropout {
                probability: d.probability,
                key: Dropout::key(d.seed, d.step, index),
                first_row: d.first_row,
            });
            let at = Step::<T>::site(site.layer, site.module);
            sites[at].paths.push(LoraPath {
                adapter: place,
                rows: adapter.rows.clone(),
                rank: site.rank,
                scale: site.scale,
                params: adapter.params,
                a: site.a,
                b: site.b,
                magnitude: site.magnitude,
                dropout,
            });
        }
    }
    Step { rows, families, read, sites, ropes: &config.ropes, attention: config.attention }
}
