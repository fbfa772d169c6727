//! The engine of a sweep.

use data::PreparedData;
use spec::Sweep;
use trainer::engine::{self, Loaded};
use trainer::plan::Packing;

use crate::error::Error;
use crate::plan::scoring;

/// Loads the sweep's base model onto its device, in the first form that its trials ask for.
pub fn load(sweep: &Sweep, data: PreparedData, packing: Packing) -> Result<Loaded, Error> {
    let first = sweep.space.base_forms().first().copied().flatten();
    let base = sweep.base.in_form(first);
    let scoring = scoring::of_sweep(sweep, &data)?;
    let (model, train, executor) = (&sweep.model, &sweep.train, &sweep.executor);
    engine::load(model, &base, data, train, executor, packing, scoring)
        .map_err(|source| Error::Model { path: sweep.model.clone(), source })
}
