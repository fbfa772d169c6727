//! Whether more seeds would decide what an earlier start of the sweep left open.

use std::path::Path;

use spec::Sweep;
use store::SweepFolder;

use crate::args::RunArgs;

/// A hint where the sweep has ended, its best configurations are tied by the seeds' share alone, and
/// the file does not repeat them.
pub fn hint(sweep: &Sweep) -> Option<String> {
    if sweep.replicates.is_some() {
        return None;
    }
    let path = Path::new(RunArgs::RESULTS).join(&sweep.name);
    let state = SweepFolder::open(path.clone()).ok()?.state().ok()?;
    let repeat = reporter::compare(&state).filter(|_| state.finished)?.repeat?;
    let seeds = repeat.seeds.map_or(2, |seeds| seeds - 1);
    Some(format!(
        "in `{}`, {} configurations are tied at the top by what another seed can do, not by the rows: \
         `replicates: {{top: {}, seeds: {seeds}}}` repeats the best under more seeds; it can be added to a \
         sweep that has ended",
        path.display(),
        repeat.tied,
        repeat.top
    ))
}
