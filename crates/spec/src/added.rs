//! A trial that a person writes (`run --add '{"rank": 8}'`).

use std::path::Path;

use crate::error::{SweepError, SweepErrors};
use crate::file::{self, Findings, ParametersFile};
use crate::mistake::Mistake;
use crate::parameter::Parameter;
use crate::space::{Axis, SearchSpace};
use crate::sweep::Sweep;
use crate::trial::TrialConfig;

/// What a mistake names instead of a file.
const WHERE: &str = "the added trial";

/// Reads a trial of `sweep` from a JSON object with a value for each parameter that the sweep varies;
/// others are as in the sweep file unless they are given. Values need not be in the search space.
pub fn trial_of(text: &str, sweep: &Sweep) -> Result<TrialConfig, SweepErrors> {
    let mut findings = Findings::default();
    let config = file::parse(text, &mut findings).and_then(|root| {
        let mut written = ParametersFile::default();
        written.read_section(&root, &mut findings);
        for (parameter, place) in &written.places {
            let axis = &written.axes[parameter.index()];
            if axis.as_ref().is_some_and(|axis| axis.size() != Some(1)) {
                let what = parameter.to_string();
                findings.mistake::<()>(*place, Mistake::SeveralInATrial { what });
            }
        }
        let is_missing = |parameter: &Parameter| {
            !written.places.contains_key(parameter)
                && sweep.space.axis(*parameter).size() != Some(1)
        };
        for parameter in Parameter::ALL.into_iter().filter(is_missing) {
            let what = parameter.name();
            findings.mistake::<()>(root.place, Mistake::MissingInATrial { what });
        }
        let of_sweep = |parameter: Parameter| sweep.space.axis(parameter).clone();
        let axis = |parameter: Parameter| -> Option<Axis> {
            Some(written.axes[parameter.index()].clone().unwrap_or_else(|| of_sweep(parameter)))
        };
        let space = SearchSpace::new(&Parameter::ALL.map(axis), sweep.space.variant.clone());
        findings.mistakes.is_empty().then(|| space.grid_config(0))
    });
    let mistakes = findings.mistakes.into_iter();
    let errors =
        mistakes.map(|at| SweepError::new(Path::new(WHERE), text, at.place, at.value)).collect();
    match (config, SweepErrors::new(errors)) {
        (Some(config), None) => Ok(config),
        (_, Some(errors)) => Err(errors),
        (None, None) => unreachable!("what cannot be read is reported where it is read"),
    }
}
