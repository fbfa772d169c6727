//! `lorasweep compare`: two trials, or two sweeps, side by side.

use std::path::{Path, PathBuf};

use lorasweep::reporter::SideBySide;
use lorasweep::spec::TrialId;
use lorasweep::{Sweep, SweepTrial};

use crate::args::CompareArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub fn run(args: &CompareArgs) -> Result<Exit, CliError> {
    let (a, dir) = find(&args.a, None)?;
    let (b, _) = find(&args.b, Some(&dir))?;
    let compared = lorasweep::compare(&a, &b)?;
    if args.json {
        output::json("the comparison", &compared)?;
    } else {
        output::result(&SideBySide::to_string(&compared));
    }
    Ok(Exit::Done)
}

/// `DIR` is the trial that the report of that sweep chose, `DIR:3` its trial 3, and `:3` one of the
/// sweep named before. Returns the folder, too.
fn find(named: &str, before: Option<&Path>) -> Result<(SweepTrial, PathBuf), CliError> {
    let split = named.rsplit_once(':').and_then(|(dir, number)| Some((dir, number.parse().ok()?)));
    let (dir, number) = match split {
        Some((dir, number)) => (dir, Some(TrialId(number))),
        None => (named, None),
    };
    let dir = match before {
        Some(before) if dir.is_empty() => before.to_path_buf(),
        _ => PathBuf::from(dir),
    };
    Ok((Sweep::open_results(&dir)?.trial(number)?, dir))
}
