//! `lorasweep compare`: two trials, or two sweeps, side by side.

use std::path::{Path, PathBuf};

use lorasweep::SweepTrial;
use lorasweep::spec::TrialId;

use crate::args::{CompareArgs, SweepArg};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub fn run(args: &CompareArgs) -> Result<Exit, CliError> {
    let (a, dir) = find(args, &args.a, None)?;
    let (b, _) = find(args, &args.b, Some(&dir))?;
    let compared = lorasweep::compare(&a, &b)?;
    if args.json {
        output::json("the comparison", &compared)?;
    } else {
        output::result(&compared.text(args.lang.into()));
    }
    Ok(Exit::Done)
}

/// `SWEEP` is the trial that the report of that sweep chose, `SWEEP:3` its trial 3, and `:3` one of the
/// sweep named before. Returns the sweep's path, too.
fn find(
    args: &CompareArgs,
    named: &str,
    before: Option<&Path>,
) -> Result<(SweepTrial, PathBuf), CliError> {
    let split = named.rsplit_once(':').and_then(|(dir, number)| Some((dir, number.parse().ok()?)));
    let (dir, number) = match split {
        Some((dir, number)) => (dir, Some(TrialId(number))),
        None => (named, None),
    };
    let dir = match before {
        Some(before) if dir.is_empty() => before.to_path_buf(),
        _ => PathBuf::from(dir),
    };
    let sweep = SweepArg { path: dir.clone(), results: args.results.clone() };
    Ok((sweep.open()?.trial(number)?, dir))
}
