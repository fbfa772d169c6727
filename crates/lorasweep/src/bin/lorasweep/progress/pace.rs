//! How fast it goes and how long it will take.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lorasweep::Workload;
use lorasweep::spec::SweepState;

/// Time over which speed is measured.
const WINDOW: Duration = Duration::from_secs(20);
/// Less time says nothing about speed.
const LEAST_WINDOW: Duration = Duration::from_millis(500);
/// The first steps of a long sweep are a tiny share of it.
const MOST_TIMES: f64 = 1e6;

/// Tokens a second of the whole sweep, over the last seconds.
#[derive(Debug, Default)]
pub struct Rate {
    /// When this many tokens had been trained.
    seen: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// The rate now; `None` until enough is measured.
    pub fn tokens_per_second(&mut self, state: &SweepState) -> Option<f64> {
        self.at(Instant::now(), state.trained_tokens())
    }

    fn at(&mut self, now: Instant, tokens: u64) -> Option<f64> {
        // A trial that resumes from a checkpoint takes tokens back.
        if self.seen.back().is_some_and(|(_, before)| *before > tokens) {
            self.seen.clear();
        }
        self.seen.push_back((now, tokens));
        while self.seen.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.seen.pop_front();
        }
        let (since, before) = *self.seen.front()?;
        let elapsed = now.duration_since(since);
        (elapsed >= LEAST_WINDOW).then(|| (tokens - before) as f64 / elapsed.as_secs_f64())
    }
}

/// Estimates the time left from the work done since this launch.
#[derive(Debug)]
pub struct Pace {
    workload: Workload,
    /// The first step of this launch, and the share that was done then.
    begun: Option<(Instant, f64)>,
}

impl Pace {
    pub fn new(workload: Workload) -> Self {
        Self { workload, begun: None }
    }

    /// A step was taken. The first one begins the measurement: loading the model is no work of the
    /// sweep.
    pub fn begin(&mut self, state: &SweepState) {
        if self.begun.is_none() {
            let done = self.done_share(state);
            self.begun = done.map(|done| (Instant::now(), done));
        }
    }

    /// Share of all work that is done; `None` when that is unknown.
    pub fn done_share(&self, state: &SweepState) -> Option<f64> {
        self.workload.done_share(state)
    }

    /// Time left; `None` while it is unknown.
    pub fn remaining(&mut self, state: &SweepState) -> Option<Duration> {
        let done = self.done_share(state)?;
        let (since, before) = self.begun.as_mut()?;
        // A resumed trial is set back to its checkpoint, so that the share may fall at first.
        *before = before.min(done);
        estimate(since.elapsed(), *before, done)
    }
}

fn estimate(elapsed: Duration, before: f64, done: f64) -> Option<Duration> {
    let gained = done - before;
    (gained > 0.0).then(|| elapsed.mul_f64(((1.0 - done).max(0.0) / gained).min(MOST_TIMES)))
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
    fn the_rate_is_that_of_the_last_seconds() {
        let (mut rate, began) = (Rate::default(), Instant::now());
        let mut after =
            |seconds: u64, tokens| rate.at(began + Duration::from_secs(seconds), tokens);
        assert_eq!(after(0, 100), None);
        assert_eq!(after(10, 1_100), Some(100.0));
        assert_eq!(after(30, 41_100), Some(2_000.0));
        assert_eq!(after(31, 500), None, "a trial went back to its checkpoint");
    }

    #[test]
    fn durations_read_as_people_say_them() {
        let words = [9, 200, 3720].map(|s| in_words(Duration::from_secs(s)));
        assert_eq!(words, ["9 s", "3 min 20 s", "1 h 02 min"]);
    }
}
