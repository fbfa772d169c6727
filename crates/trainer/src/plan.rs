//! What a sweep will need before it starts: memory and work.

use spec::{TrainSettings, TrialConfig};

use crate::adapter::AdapterLayout;
use crate::data::{Dataset, Example, PreparedData};
use crate::engine::steps_per_epoch;
use crate::model::DecoderConfig;

/// Trials that share a step unless `executor.max_packed` says otherwise.
pub const DEFAULT_SLOTS: usize = 8;

/// Tokens a step computes on, over all slots; a slot always gets at least one sequence.
pub const TOKENS_PER_STEP: usize = 1024;

/// Predicted memory in bytes, for f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// The frozen base model.
    pub base: u64,
    /// Adapters, gradients, moments and best copies of the largest pack.
    pub slots: u64,
    /// Activations of a step.
    pub activations: u64,
}

impl Memory {
    /// All of it.
    pub const fn total(&self) -> u64 {
        self.base + self.slots + self.activations
    }
}

/// The work of one trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Work {
    /// Optimizer steps.
    pub steps: u32,
    /// Tokens trained, prompts included.
    pub train_tokens: u64,
    /// Evaluations.
    pub evaluations: u32,
    /// Tokens of all evaluations.
    pub eval_tokens: u64,
}

/// The sets whose sizes decide the work.
#[derive(Debug, Clone, Copy)]
pub struct Sets<'a> {
    /// What adapters learn from.
    pub train: &'a Dataset,
    /// What runs are ranked by.
    pub validation: &'a Dataset,
    /// What the base model could do already.
    pub retention: Option<&'a Dataset>,
}

impl<'a> From<&'a PreparedData> for Sets<'a> {
    fn from(data: &'a PreparedData) -> Self {
        let (train, validation) = (&data.train, &data.validation);
        Self { train, validation, retention: data.retention.as_ref() }
    }
}

/// Predicts the memory of training `trials`, at most `slots` of them at a time.
pub fn memory(
    config: &DecoderConfig,
    trials: &[TrialConfig],
    slots: usize,
    train_set: &Dataset,
    train: &TrainSettings,
) -> Memory {
    const F32: u64 = 4;
    /// Weights, gradients, two moments, and the best evaluation's copy.
    const COPIES: u64 = 5;
    let mut values: Vec<u64> =
        trials.iter().map(|t| AdapterLayout::of_trial(config, t).len as u64).collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    let packed = slots.min(trials.len()).max(1);
    let slot_values: u64 = values.iter().take(packed).sum();

    let longest = train_set.examples.iter().map(|e| e.input_ids.len()).max().unwrap_or(0);
    let rows = TOKENS_PER_STEP.max(longest * packed) as u64;
    let (d, f) = (config.hidden_size as u64, config.intermediate_size as u64);
    let (q, qkv) = (config.attention.q_columns() as u64, config.attention.qkv_columns() as u64);
    let heads = config.attention.heads as u64;
    let per_block = 2 * d + qkv + q + 2 * f + heads + 2;
    let kept = if train.gradient_checkpointing { d } else { per_block };
    // The largest moment of the backward pass: the product, its gradient and the joined gradient.
    let passing = per_block + 3 * d + 3 * f;
    let layers = config.num_hidden_layers as u64;
    let threads = rayon::current_num_threads() as u64;
    let logits = threads * 64 * config.vocab_size as u64;
    Memory {
        base: config.parameters() as u64 * F32,
        slots: slot_values * COPIES * F32,
        activations: (rows * (kept * layers + passing) + logits) * F32,
    }
}

/// The work of a trial on this data.
pub fn work<'a>(trial: &TrialConfig, data: impl Into<Sets<'a>>, train: &TrainSettings) -> Work {
    let data = data.into();
    let per_epoch = steps_per_epoch(data.train.examples.len(), trial.batch_size);
    let steps = per_epoch.saturating_mul(trial.epochs);
    let every = train.eval.eval_steps.map_or(0, |n| steps / n);
    let both = train.eval.eval_steps.map_or(0, |n| {
        (1..=trial.epochs).filter(|e| (e * per_epoch).is_multiple_of(n)).count() as u32
    });
    let evaluations = trial.epochs + every - both;
    let tokens =
        |examples: &[Example]| examples.iter().map(|e| e.input_ids.len() as u64).sum::<u64>();
    let validation = tokens(&data.validation.examples);
    let train_tokens = tokens(&data.train.examples);
    let share = train.eval.train_subset.map_or(data.validation.examples.len(), |n| n as usize);
    let share = share.min(data.train.examples.len()) as u64;
    let subset = train_tokens * share / (data.train.examples.len() as u64).max(1);
    let retention = data.retention.map_or(0, |r| tokens(&r.examples));
    Work {
        steps,
        train_tokens: train_tokens * u64::from(trial.epochs),
        evaluations,
        eval_tokens: (validation + subset + retention) * u64::from(evaluations),
    }
}

#[cfg(test)]
mod tests {
    use spec::{LrScheduler, TargetModule};

    use super::*;

    fn trial(rank: u32, epochs: u32) -> TrialConfig {
        TrialConfig {
            rank,
            lora_alpha: 16.0,
            lora_dropout: 0.0,
            use_rslora: false,
            target_modules: TargetModule::ALL.to_vec(),
            learning_rate: 1e-3,
            batch_size: 4,
            epochs,
            lr_scheduler: LrScheduler::Constant,
            warmup_ratio: 0.0,
            weight_decay: 0.0,
            seed: 1,
        }
    }

    fn rows(n: usize) -> Dataset {
        let example = Example { input_ids: vec![1; 10], loss_mask: vec![true; 10] };
        Dataset { examples: vec![example; n] }
    }

    fn work_on_ten_rows(train: &TrainSettings) -> Work {
        let (train_set, validation, retention) = (rows(10), rows(4), rows(2));
        let sets = Sets { train: &train_set, validation: &validation, retention: Some(&retention) };
        work(&trial(8, 3), sets, train)
    }

    #[test]
    fn a_trial_takes_whole_epochs_of_steps_and_is_evaluated_after_each() {
        let work = work_on_ten_rows(&TrainSettings::default());
        assert_eq!(
            work,
            Work { steps: 9, train_tokens: 300, evaluations: 3, eval_tokens: 3 * (40 + 40 + 20) }
        );
    }

    #[test]
    fn an_evaluation_that_falls_on_an_epochs_end_is_counted_once() {
        let mut train = TrainSettings::default();
        train.eval.eval_steps = Some(2);
        // Steps 2, 3 (epoch), 4, 6 (both), 8, 9 (epoch).
        assert_eq!(work_on_ten_rows(&train).evaluations, 6);
    }

    #[test]
    fn recomputation_and_smaller_ranks_need_less_memory() {
        let config = DecoderConfig::parse(
            r#"{"model_type": "llama", "vocab_size": 64, "hidden_size": 32,
                "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}"#,
        )
        .expect("valid");
        let of = |rank: u32, train: &TrainSettings| {
            memory(&config, &[trial(rank, 1)], 8, &rows(10), train)
        };
        let keep = TrainSettings::default();
        let recompute = TrainSettings { gradient_checkpointing: true, ..keep.clone() };
        assert!(of(8, &recompute).activations < of(8, &keep).activations);
        assert_eq!(of(16, &keep).slots, 2 * of(8, &keep).slots);
        assert_eq!(of(16, &keep).base, of(8, &keep).base);
    }
}
