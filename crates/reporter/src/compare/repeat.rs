//! Whether repeating the closest configurations under more seeds would decide between them.

use serde::Serialize;

use super::DETECTABLE;
use super::bootstrap::Intervals;
use super::candidate::Candidates;

/// More seeds than this cost more than the difference is worth.
const MOST_SEEDS: f64 = 8.0;

/// Configurations that are worth repeating at most.
const MOST_TOP: usize = 5;

/// Seeds beside the first one where no number of them would decide.
const FURTHER_SEEDS: u32 = 2;

/// What `replicates` would have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Repeat {
    /// Configurations that the seeds' share alone ties with the best, that one included.
    pub tied: usize,
    /// Seeds of each in all that would tell the best from the next (95 %, power 80 %); `None` where it
    /// would take more than are worth it, or where the rows are too few as well.
    pub seeds: Option<u32>,
    /// `top` of `replicates`.
    pub top: usize,
}

impl Repeat {
    /// The line of a sweep file that repeats them.
    pub fn setting(&self) -> String {
        let further = self.seeds.map_or(FURTHER_SEEDS, |seeds| seeds - 1);
        format!("replicates: {{top: {}, seeds: {further}}}", self.top)
    }
}

/// `None` where the rows tie as many as the seeds do.
pub fn of(found: &Candidates, intervals: &Intervals, best: usize) -> Option<Repeat> {
    let of = &intervals.of;
    let by_seeds = |at: &usize| *at != best && of[*at].is_tied && !of[*at].is_tied_on_rows;
    let those: Vec<usize> = (0..of.len()).filter(by_seeds).collect();
    let next = those.iter().min_by(|a, b| of[**a].difference.total_cmp(&of[**b].difference))?;
    let wanted = (of[*next].difference / DETECTABLE).powi(2) - intervals.examples[*next];
    let of_one_seed = found.seeds.of_run(*next) + found.seeds.of_run(best);
    let seeds = (of_one_seed / wanted).ceil().max(2.0);
    let seeds = (wanted > 0.0 && seeds <= MOST_SEEDS).then_some(seeds as u32);
    let tied_in_all = of.iter().filter(|against| against.is_tied).count();
    Some(Repeat { tied: those.len() + 1, seeds, top: tied_in_all.min(MOST_TOP) })
}
