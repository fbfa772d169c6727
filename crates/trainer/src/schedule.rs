//! Learning-rate schedules, named and shaped as in transformers' `optimization.py`.

use spec::{LrScheduler, TrainSettings, TrialConfig};

/// A schedule over a known number of optimizer steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Shape after the warmup.
    pub kind: LrScheduler,
    /// Peak learning rate.
    pub peak: f64,
    /// Steps of linear warmup from 0; there may be more of them than steps.
    pub warmup_steps: u32,
    /// All steps.
    pub total_steps: u32,
    /// Steps of the final decay of `warmup_stable_decay`.
    pub decay_steps: u32,
}

impl Schedule {
    /// A schedule with ratios resolved to steps; the warmup is rounded up, as in transformers.
    pub fn new(
        kind: LrScheduler,
        peak: f64,
        total_steps: u32,
        warmup_ratio: f64,
        decay_ratio: f64,
    ) -> Self {
        let warmup_steps = share(warmup_ratio, total_steps).min(total_steps);
        Self::with_warmup(kind, peak, total_steps, warmup_steps, decay_ratio)
    }

    /// A trial's schedule over its steps.
    pub fn of_trial(trial: &TrialConfig, total_steps: u32, train: &TrainSettings) -> Self {
        let (kind, peak, decay) = (trial.lr_scheduler, trial.learning_rate, train.decay_ratio);
        match train.warmup_steps {
            Some(warmup) => Self::with_warmup(kind, peak, total_steps, warmup, decay),
            None => Self::new(kind, peak, total_steps, trial.warmup_ratio, decay),
        }
    }

    /// A trial's schedule over its steps on this many training examples.
    pub fn on_examples(trial: &TrialConfig, examples: usize, train: &TrainSettings) -> Self {
        let total = steps_per_epoch(examples, trial.batch_size).saturating_mul(trial.epochs);
        Self::of_trial(trial, total, train)
    }

    fn with_warmup(
        kind: LrScheduler,
        peak: f64,
        total_steps: u32,
        warmup_steps: u32,
        decay_ratio: f64,
    ) -> Self {
        let most = total_steps.saturating_sub(warmup_steps);
        let decay_steps = share(decay_ratio, total_steps).min(most);
        Self { kind, peak, warmup_steps, total_steps, decay_steps }
    }

    /// How many of the first steps have the rates they would have with more steps in all (and the
    /// same warmup); `None` for a schedule whose rates all depend on that number.
    pub fn open_ended_steps(&self) -> Option<u32> {
        match self.kind {
            LrScheduler::Constant => Some(self.total_steps),
            LrScheduler::WarmupStableDecay => Some(self.total_steps - self.decay_steps),
            LrScheduler::Linear | LrScheduler::Cosine => None,
        }
    }

    /// The rate of a step; steps count from 0, so that with a warmup the first rate is 0, as in
    /// transformers.
    pub fn learning_rate(&self, step: u32) -> f64 {
        if step < self.warmup_steps {
            return self.peak * f64::from(step) / f64::from(self.warmup_steps.max(1));
        }
        let after = f64::from(step - self.warmup_steps);
        let span = f64::from(self.total_steps.saturating_sub(self.warmup_steps).max(1));
        let left = f64::from(self.total_steps.saturating_sub(step));
        self.peak
            * match self.kind {
                LrScheduler::Constant => 1.0,
                LrScheduler::Linear => left / span,
                LrScheduler::Cosine => {
                    0.5 * (1.0 + (std::f64::consts::PI * (after / span).min(1.0)).cos())
                }
                LrScheduler::WarmupStableDecay => {
                    (left / f64::from(self.decay_steps.max(1))).min(1.0)
                }
            }
    }
}

fn share(ratio: f64, steps: u32) -> u32 {
    (ratio * f64::from(steps)).ceil() as u32
}

/// Optimizer steps of one epoch: the last batch may be smaller.
pub const fn steps_per_epoch(examples: usize, batch_size: u32) -> u32 {
    examples.div_ceil(batch_size as usize) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(kind: LrScheduler) -> Vec<f64> {
        let s = Schedule::new(kind, 1.0, 10, 0.2, 0.4);
        (0..10).map(|i| s.learning_rate(i)).collect()
    }

    #[test]
    fn every_schedule_warms_up_linearly_from_zero() {
        for kind in [
            LrScheduler::Constant,
            LrScheduler::Linear,
            LrScheduler::Cosine,
            LrScheduler::WarmupStableDecay,
        ] {
            assert_eq!(rates(kind)[..3], [0.0, 0.5, 1.0], "{kind}");
        }
    }

    #[test]
    fn linear_falls_to_zero_just_after_the_last_step() {
        assert_eq!(
            rates(LrScheduler::Linear)[2..],
            [1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
        );
    }

    #[test]
    fn cosine_passes_one_half_in_the_middle() {
        let rates = rates(LrScheduler::Cosine);
        assert!((rates[6] - 0.5).abs() < 1e-12);
        assert!(rates.windows(2).skip(2).all(|w| w[1] < w[0]));
    }

    #[test]
    fn warmup_stable_decay_is_constant_until_the_decay() {
        assert_eq!(
            rates(LrScheduler::WarmupStableDecay)[2..],
            [1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
        );
    }

    #[test]
    fn open_ended_steps_have_the_same_rates_however_many_steps_follow() {
        for kind in [LrScheduler::Constant, LrScheduler::WarmupStableDecay] {
            for warmup in [0, 3, 12] {
                let of = |total| Schedule::with_warmup(kind, 1.0, total, warmup, 0.25);
                let (short, long) = (of(10), of(25));
                let shared = short.open_ended_steps().expect("open-ended");
                assert!(shared >= 7, "{kind}: {shared}");
                for step in 0..shared {
                    assert_eq!(short.learning_rate(step), long.learning_rate(step), "{kind}");
                }
            }
        }
    }

    #[test]
    fn one_step_without_warmup_trains_at_the_peak() {
        let s = Schedule::new(LrScheduler::Linear, 3.0, 1, 0.0, 0.2);
        assert_eq!(s.learning_rate(0), 3.0);
    }
}
