//! The engine of a sweep.

use data::PreparedData;
use spec::Sweep;
use trainer::engine::{self, Loaded};
use trainer::plan::Packing;

use crate::error::Error;

/// Loads the sweep's base model onto its device, in the first form that its trials ask for.
pub fn load(sweep: &Sweep, data: PreparedData, packing: Packing) -> Result<Loaded, Error> {
    let first = sweep.space.base_forms().first().copied().flatten();
    let base = sweep.base.in_form(first);
    engine::load(&sweep.model, &base, data, &sweep.train, &sweep.executor, packing)
        .map_err(|source| Error::Model { path: sweep.model.clone(), source })
}
