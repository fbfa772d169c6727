//! When training has become useless.

use std::collections::VecDeque;

/// Steps whose mean loss is judged.
const WINDOW: usize = 10;

/// Watches the losses of one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    recent: VecDeque<f64>,
    limit: f64,
}

impl Health {
    /// A trial diverges when the mean loss of ten steps exceeds `factor` times the base model's.
    pub fn new(base_loss: f64, factor: f64) -> Self {
        Self { recent: VecDeque::with_capacity(WINDOW), limit: base_loss * factor }
    }

    /// The losses seen lately, for a checkpoint.
    pub fn recent(&self) -> Vec<f64> {
        self.recent.iter().copied().collect()
    }

    /// Puts back the losses of a checkpoint.
    pub fn restore(&mut self, recent: Vec<f64>) {
        self.recent = recent.into();
    }

    /// Judges a step; the reason if training is over.
    pub fn judge(&mut self, loss: f64, grad_norm: f64) -> Option<String> {
        if !loss.is_finite() {
            return Some(format!("the training loss is {loss}"));
        }
        if !grad_norm.is_finite() {
            return Some(format!("the gradient norm is {grad_norm}"));
        }
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(loss);
        let mean = self.recent.iter().sum::<f64>() / self.recent.len() as f64;
        (self.recent.len() == WINDOW && mean > self.limit).then(|| {
            format!(
                "the mean training loss of the last {WINDOW} steps, {mean:.3}, exceeds {:.3} \
                 (divergence_factor times the base model's)",
                self.limit
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_is_not_a_number_ends_the_trial_at_once() {
        let reason = Health::new(2.0, 2.0).judge(f64::NAN, 1.0).expect("diverged");
        assert!(reason.contains("NaN"), "{reason}");
    }

    #[test]
    fn an_infinite_gradient_ends_the_trial_at_once() {
        assert!(Health::new(2.0, 2.0).judge(1.0, f64::INFINITY).is_some());
    }

    #[test]
    fn one_spike_is_forgiven_but_a_plateau_far_above_the_base_is_not() {
        let mut health = Health::new(1.0, 2.0);
        assert!((0..30).all(|i| health.judge(if i == 15 { 9.0 } else { 1.0 }, 1.0).is_none()));
        assert!((0..20).any(|_| health.judge(2.5, 1.0).is_some()));
    }
}
