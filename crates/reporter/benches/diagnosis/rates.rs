//! Diagnoses of single runs other than overfitting, and what is true by losses that the report does
//! not see: of rows beside the validation set, and of the same run later.

use std::collections::BTreeMap;

use reporter::diagnose::{Diagnosis, Flag, Note};
use spec::TrialId;

use crate::score::Counts;
use crate::table::Run;
use crate::truth::{Level, lowest, rise};

/// A run is behind another one from this share of its loss on.
const BEHIND: f64 = 0.1;

/// Shares of the best run's improvement below which a run is behind the sweep, and of its own
/// improvement above which it still falls.
const REACHED: f64 = 0.8;
const FALLS: f64 = 0.05;

/// Counts by diagnosis.
pub type Table = BTreeMap<&'static str, Counts>;

/// Adds the diagnoses of a sweep cut at evaluation `end`.
pub fn count(runs: &[&Run], end: usize, said: &BTreeMap<TrialId, Diagnosis>, table: &mut Table) {
    let best = runs.iter().map(|run| lowest(run, end)).fold(f64::INFINITY, f64::min);
    for (number, run) in (1..).zip(runs) {
        let Some(diagnosis) = said.get(&TrialId(number)) else { continue };
        if end >= run.points.len() {
            // It diverged, which the trainer says.
            continue;
        }
        let noted = |note| diagnosis.notes.contains(&note);
        let mut add = |name, said, is_true| table.entry(name).or_default().add(said, is_true);
        let beside = |is_other: &dyn Fn(f64) -> bool| {
            let others = runs.iter().filter(|o| o.rank == run.rank && is_other(o.learning_rate));
            others.map(|other| lowest(other, end)).fold(f64::INFINITY, f64::min)
        };
        let own = lowest(run, end);
        let overfits = rise(run, end, Level::Two) >= 0.01;
        let too_high = beside(&|rate| rate < run.learning_rate) <= (1.0 - BEHIND) * own;
        let too_low = beside(&|rate| rate > run.learning_rate) <= (1.0 - BEHIND) * own;
        add("rate too high", noted(Note::LearningRateTooHigh), too_high && !overfits);
        add("rate too low", noted(Note::LearningRateTooLow), too_low);
        // Whether it falls later can be known where as many epochs again were trained.
        let all = run.points.len() - 1;
        if 2 * end <= all {
            let base = run.points[0].truth;
            let is_behind = (base - own) < REACHED * (base - best);
            let falls = own - lowest(run, all) > FALLS * (base - own);
            add("too_slow", diagnosis.flag == Flag::TooSlow, is_behind && falls);
            add("underfit", diagnosis.flag == Flag::Underfit, is_behind && !falls);
        }
    }
}
