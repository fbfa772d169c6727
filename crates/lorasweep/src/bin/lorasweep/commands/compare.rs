//! `lorasweep compare`: two trials, or two sweeps, side by side.

use std::path::PathBuf;

use reporter::{Lang, SideBySide};
use spec::{SweepState, TrialId, printable_line};
use store::SweepFolder;

use crate::args::CompareArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::inputs::Settings;
use crate::output;

/// What one argument names.
struct Named {
    folder: SweepFolder,
    state: SweepState,
    trial: TrialId,
    name: String,
}

pub fn run(args: &CompareArgs) -> Result<Exit, CliError> {
    let a = find(&args.a, None)?;
    let b = find(&args.b, Some(a.folder.path()))?;
    let compared =
        reporter::side_by_side((&a.name, &a.state, a.trial), (&b.name, &b.state, b.trial));
    let Some(compared) = compared else {
        let missing = |side: &Named| side.state.trials[&side.trial].best().is_none();
        let side = if missing(&a) { &a } else { &b };
        let why = "it has not been evaluated".to_owned();
        return Err(CliError::NoAdapter { trial: side.trial, why });
    };
    if args.json {
        output::json("the comparison", &compared)?;
    } else {
        output::result(&SideBySide::to_string(&compared));
    }
    Ok(Exit::Done)
}

/// `DIR` is the trial that the report of that sweep chose, `DIR:3` its trial 3, and `:3` one of the
/// sweep named before.
fn find(named: &str, before: Option<&std::path::Path>) -> Result<Named, CliError> {
    let split = named.rsplit_once(':').and_then(|(dir, number)| Some((dir, number.parse().ok()?)));
    let (dir, number) = match split {
        Some((dir, number)) => (dir, Some(TrialId(number))),
        None => (named, None),
    };
    let dir = match before {
        Some(before) if dir.is_empty() => before.to_path_buf(),
        _ => PathBuf::from(dir),
    };
    let folder = SweepFolder::open(&dir)?;
    let state = folder.state()?;
    let settings = Settings::of(&folder.identity()?)?;
    let trial = match number {
        Some(number) => number,
        None => reporter::rank(&state, &settings.report, Lang::En)
            .verdict
            .choice
            .map(|choice| choice.trial)
            .ok_or_else(|| CliError::NothingToExport { dir: dir.clone() })?,
    };
    if !state.trials.contains_key(&trial) {
        return Err(CliError::NoSuchTrial { dir, trial });
    }
    let name = format!("{}:{trial}", printable_line(&state.name));
    Ok(Named { folder, state, trial, name })
}
