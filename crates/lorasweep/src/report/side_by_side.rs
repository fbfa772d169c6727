//! Two trials, of one sweep or of two.

use reporter::{Lang, SideBySide};
use spec::{SweepState, TrialId, printable_line};
use store::SweepFolder;

use crate::error::Error;
use crate::inputs::Settings;

/// A trial of a sweep, to be compared with another one.
#[derive(Debug)]
pub struct SweepTrial {
    state: SweepState,
    trial: TrialId,
    name: String,
}

impl SweepTrial {
    /// The trial `number` of the sweep in `folder`, or the one that the report chose.
    pub(crate) fn of(folder: &SweepFolder, number: Option<TrialId>) -> Result<Self, Error> {
        let state = folder.state()?;
        let settings = Settings::of(&folder.identity()?)?;
        let dir = || folder.path().to_path_buf();
        let trial = match number {
            Some(number) => number,
            None => reporter::rank(&state, &settings.report, Lang::En)
                .verdict
                .choice
                .map(|choice| choice.trial)
                .ok_or_else(|| Error::NothingToExport { dir: dir() })?,
        };
        if !state.trials.contains_key(&trial) {
            return Err(Error::NoSuchTrial { dir: dir(), trial });
        }
        let name = format!("{}:{trial}", printable_line(&state.name));
        Ok(Self { state, trial, name })
    }
}

/// Sets two trials side by side: settings, losses, and whether the difference is more than chance.
pub fn compare(a: &SweepTrial, b: &SweepTrial) -> Result<SideBySide, Error> {
    let compared =
        reporter::side_by_side((&a.name, &a.state, a.trial), (&b.name, &b.state, b.trial));
    compared.ok_or_else(|| {
        let missing = |side: &SweepTrial| side.state.trials[&side.trial].best().is_none();
        let side = if missing(a) { a } else { b };
        Error::NoAdapter { trial: side.trial, why: "it has not been evaluated".to_owned() }
    })
}
