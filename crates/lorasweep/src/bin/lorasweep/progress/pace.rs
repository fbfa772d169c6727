//! How fast it goes and how long it will take.

use std::time::{Duration, Instant};

use lorasweep::Workload;
use lorasweep::spec::{SweepState, TrialState};

/// Optimizer steps over which speed is measured.
const WINDOW: usize = 16;
/// Below this share of the work an estimate would only be noise.
const LEAST_SHARE: f64 = 0.005;

/// Tokens a second of a trial's own time, over its last steps.
pub fn tokens_per_second(trial: &TrialState) -> Option<f64> {
    let points = &trial.train_points;
    let last = points.last()?;
    let first = points.get(points.len().saturating_sub(WINDOW))?;
    let (tokens, seconds) = if points.len() == 1 {
        (last.tokens, last.seconds)
    } else {
        (last.tokens.saturating_sub(first.tokens), last.seconds - first.seconds)
    };
    (seconds > 0.0).then(|| tokens as f64 / seconds)
}

/// Estimates the time left from the work done since this launch.
#[derive(Debug)]
pub struct Pace {
    workload: Workload,
    started: Instant,
    /// Share that earlier launches had done.
    done_before: Option<f64>,
}

impl Pace {
    pub fn new(workload: Workload) -> Self {
        Self { workload, started: Instant::now(), done_before: None }
    }

    /// Share of all work that is done; `None` when all of it is not known.
    pub fn done_share(&self, state: &SweepState) -> Option<f64> {
        self.workload.done_share(state)
    }

    /// Time left; `None` while it cannot be told.
    pub fn remaining(&mut self, state: &SweepState) -> Option<Duration> {
        let done = self.done_share(state)?;
        // A resumed trial is set back to its checkpoint, so that the share may fall at first.
        let before = self.done_before.map_or(done, |before| before.min(done));
        self.done_before = Some(before);
        estimate(self.started.elapsed(), before, done)
    }
}

fn estimate(elapsed: Duration, before: f64, done: f64) -> Option<Duration> {
    let gained = done - before;
    (gained > LEAST_SHARE).then(|| elapsed.mul_f64((1.0 - done).max(0.0) / gained))
}

/// `1 h 02 min`, `3 min 20 s` or `9 s`.
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_counts_only_what_this_launch_has_done() {
        let minute = Duration::from_secs(60);
        assert_eq!(estimate(minute, 0.5, 0.75), Some(minute));
        assert_eq!(estimate(minute, 0.5, 0.5), None);
        assert_eq!(estimate(minute, 0.0, 1.0), Some(Duration::ZERO));
    }

    #[test]
    fn durations_read_as_people_say_them() {
        let words = [9, 200, 3720].map(|s| in_words(Duration::from_secs(s)));
        assert_eq!(words, ["9 s", "3 min 20 s", "1 h 02 min"]);
    }
}
