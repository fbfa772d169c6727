//! Whether more seeds would decide what an earlier start of the sweep left open.

use std::path::Path;

use spec::{Sweep, SweepState};

/// A hint where the sweep has ended in `state`, its best configurations are tied by the seeds' share
/// alone, and the file does not repeat them.
pub fn hint(sweep: &Sweep, state: &SweepState, results: &Path) -> Option<String> {
    if sweep.replicates.is_some() || !state.finished {
        return None;
    }
    let repeat = reporter::compare(state)?.repeat?;
    Some(format!(
        "in `{}`, {} configurations are tied at the top by what another seed can do, not by the rows: \
         `{}` repeats the best under more seeds; it can be added to a sweep that has ended",
        results.join(&sweep.name).display(),
        repeat.tied,
        repeat.setting()
    ))
}
