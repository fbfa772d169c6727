//! Memory of a sweep, and the packing that fits into it.
//!
//! Letters: N rows of a step, L blocks, D hidden, F feed-forward, R ranks of a row's adapters over
//! all modules, V vocabulary. Activations are f32 on the CPU; on a GPU they may be bf16.

use spec::{ExecutorSettings, TargetModule, TrainSettings, TrialConfig};

use super::packing::{MOST_SLOTS, Packing, TOKENS_PER_MICRO_BATCH, TOKENS_PER_STEP};
use crate::adapter::{AdapterLayout, LoraShape};
use crate::decoder::shares;
use crate::error::{Result, TrainerError};
use crate::generate::GenerateOptions;
use crate::model::{BaseMemory, BaseStorage, DecoderConfig, NormPlacement};
use data::{Dataset, Example};

/// Bytes of an f32.
const F32: u64 = 4;
/// Weights, gradient, two moments, and the copy of the best evaluation.
const ADAPTER_COPIES: u64 = 5;
/// A step that has been cut to this few tokens is no longer cut before activations are computed
/// again: smaller products run ever further below the machine's peak.
pub(crate) const WORTH_KEEPING: usize = 512;
/// Examples that stand for all where a mean over them is enough.
const SAMPLED: usize = 1000;
/// Share of the free memory that is planned with: the rest is for what cannot be predicted.
const USABLE: f64 = 0.9;

/// Predicted peak memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// The frozen base model, in all its forms.
    pub base: u64,
    /// Adapters, gradients, moments and best copies of the largest pack.
    pub slots: u64,
    /// Activations of a step.
    pub activations: u64,
}

impl Memory {
    /// The peak, in training: the base is decoded from the mapped file to where it stays.
    pub fn total(&self) -> u64 {
        self.base + self.slots + self.activations
    }
}

/// Answers that are written at an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerDemand {
    /// Prompts of one trial.
    pub prompts: usize,
    /// Tokens of a prompt and its answer together, at most.
    pub tokens: usize,
}

/// What wants memory.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// The base model's shape.
    pub config: &'a DecoderConfig,
    /// What the base model takes, in all the forms that trials ask for.
    pub base: BaseMemory,
    /// Where it trains.
    pub on: BaseStorage,
    /// The trials that are known, or a sample of them.
    pub trials: &'a [TrialConfig],
    /// The rows they train on.
    pub train_set: &'a Dataset,
    /// Tokens of the sets that one evaluation goes through.
    pub eval_tokens: u64,
    /// Answers that an evaluation writes, if it does.
    pub answers: Option<AnswerDemand>,
    /// Settings of all trials.
    pub train: &'a TrainSettings,
}

impl Demand<'_> {
    /// Predicts the peak of a packing.
    pub fn memory(&self, packing: &Packing) -> Memory {
        let mut slots: Vec<u64> = self.trials.iter().map(|t| self.slot_values(t)).collect();
        slots.sort_unstable_by(|a, b| b.cmp(a));
        let packed = packing.slots.min(self.trials.len()).max(1);
        let slot_values: u64 = slots.iter().take(packed).sum();
        Memory {
            base: self.base.bytes,
            slots: slot_values * F32,
            activations: self.activations(packing) + self.base.decoded,
        }
    }

    /// Values that a trial's slot keeps.
    fn slot_values(&self, trial: &TrialConfig) -> u64 {
        let values = AdapterLayout::of_trial(self.config, trial).len as u64;
        let cut = u64::from(self.is_cut(values));
        // LoRA+ keeps a factor of the learning rate beside each value.
        let factors = u64::from(trial.variant.loraplus_lr_ratio != 1.0);
        values * (ADAPTER_COPIES + cut + factors)
    }

    /// Whether a micro-batch of an adapter with this many values is computed in two parts, which takes
    /// a second gradient.
    fn is_cut(&self, values: u64) -> bool {
        let batch = self.trials.iter().map(|t| t.batch_size as usize).max().unwrap_or(1);
        let rows = self.longest().saturating_mul(batch).min(TOKENS_PER_MICRO_BATCH);
        batch > 1 && shares::is_cut(values as usize, rows, self.config.hidden_size)
    }

    fn activations(&self, packing: &Packing) -> u64 {
        let c = self.config;
        let rows = (self.rows(packing) as f64 * (1.0 - self.share_left_out())) as u64;
        let (d, f) = (c.hidden_size as u64, c.intermediate_size as u64);
        let (q, qkv) = (c.attention.q_columns() as u64, c.attention.qkv_columns() as u64);
        let (heads, layers) = (c.attention.heads as u64, c.num_hidden_layers as u64);
        let ranks = |t: &TrialConfig| AdapterLayout::of_trial(c, t).ranks_of_a_block() as u64;
        let r = self.trials.iter().map(ranks).max().unwrap_or(0);
        let down = |t: &TrialConfig| AdapterLayout::of_trial(c, t).rank_of(TargetModule::DownProj);
        let down = self.trials.iter().map(down).max().unwrap_or(0) as u64;
        let head_inputs =
            if c.qk_norm.is_some() { qkv - c.attention.kv_columns() as u64 } else { 0 };
        // The input of a norm after a branch is kept, and its gradient is a buffer of its own.
        let after = if c.norms == NormPlacement::Before { 0 } else { d };
        let block = 2 * (d + after) + qkv + q + 2 * f + heads + 2 + r + head_inputs;
        // What DoRA scales is kept beside what becomes of it.
        let scaled = |t: &TrialConfig| AdapterLayout::of_trial(c, t).scaled_outputs_of_a_block();
        let block = block + self.trials.iter().map(scaled).max().unwrap_or(0) as u64;
        // Of rows without a target the last block keeps nothing that comes after its attention.
        let unread = ((1.0 - self.share_of_targets()) * rows as f64) as u64;
        let behind_attention = d + 2 * after + 2 * f + 1;
        let (kept, left_out) = if packing.recompute {
            // With a block's input stays what the adapters of its last product keep.
            (layers * (d + down) + block, 0)
        } else {
            (layers * block, unread * behind_attention)
        };
        // An evaluation keeps one block's activations at a time, but fills its passes.
        let evaluated = self.evaluated_rows(packing) as u64 * (block + 2 * d + f);
        let evaluated = evaluated.max(self.written(packing, block + 2 * d + f));
        // The backward pass of the feed-forward network: the gradient that arrives, the product
        // and its gradient, and the largest low-rank gradient. A dropout copies its input.
        let drops = self.trials.iter().any(|t| t.lora_dropout > 0.0);
        let passing = (d + after + 2 * f + r + if drops { f } else { 0 }).max(4 * d);
        let threads = rayon::current_num_threads() as u64;
        let logits = threads * 64 * c.vocab_size as u64;
        // The most is there in the backward pass of the last block, or in that of the one before.
        let last = rows * (kept + passing) - left_out - unread * passing;
        let kept_before_it = if packing.recompute { kept } else { kept - block };
        let before_it = rows * (kept_before_it + passing);
        (last.max(before_it).max(evaluated) + logits) * self.on.value_bytes()
    }

    /// Values while answers are written: the keys and values of all sequences, their logits, and a step
    /// of one block with so many values a row.
    fn written(&self, packing: &Packing, of_row: u64) -> u64 {
        let Some(AnswerDemand { prompts, tokens }) = self.answers else { return 0 };
        let (c, usual) = (self.config, GenerateOptions::default());
        let sequences = prompts.saturating_mul(packing.slots).min(usual.sequences) as u64;
        let kept = 2 * (c.num_hidden_layers * c.attention.kv_columns()) as u64 * tokens as u64;
        let rows = usual.tokens_per_step.min(packing.tokens_per_step).max(tokens) as u64;
        sequences * (kept + c.vocab_size as u64) + rows * of_row
    }

    /// The part of a step's rows that is not there because sequences that begin alike share their
    /// beginning: at least what all training rows have in common, in each half of a batch.
    fn share_left_out(&self) -> f64 {
        let half = self.trials.iter().map(|t| f64::from(t.batch_size / 2)).fold(f64::MAX, f64::min);
        let has_dropout = self.trials.iter().any(|t| t.lora_dropout > 0.0);
        if half < 2.0
            || has_dropout
            || self.on != BaseStorage::Cpu
            || !self.config.shares_beginnings()
        {
            return 0.0;
        }
        let rows: usize = self.sample().map(|example| example.input_ids.len()).sum();
        let shared = shared_by_all(self.sample()) * self.sample().count();
        shared as f64 / rows.max(1) as f64 * (half - 1.0) / half
    }

    /// How many of the training rows have a target.
    fn share_of_targets(&self) -> f64 {
        let rows: usize = self.sample().map(|example| example.input_ids.len()).sum();
        let targets: usize = self.sample().map(Example::targets).sum();
        targets as f64 / rows.max(1) as f64
    }

    /// Training examples from all over the set, few enough to be looked at for every packing.
    fn sample(&self) -> impl Iterator<Item = &Example> + Clone {
        let examples = &self.train_set.examples;
        examples.iter().step_by(examples.len().div_ceil(SAMPLED).max(1))
    }

    /// Rows of the largest step.
    fn rows(&self, packing: &Packing) -> usize {
        let longest = self.longest();
        let batch = self.trials.iter().map(|t| t.batch_size as usize).max().unwrap_or(1);
        let packed = packing.slots.min(self.trials.len()).max(1);
        let most = longest.saturating_mul(batch).saturating_mul(packed);
        packing.tokens_per_step.max(longest).min(most)
    }

    /// Rows of the largest pass of an evaluation.
    fn evaluated_rows(&self, packing: &Packing) -> usize {
        let all = (self.eval_tokens as usize).saturating_mul(packing.slots);
        packing.tokens_per_step.max(self.longest()).min(all)
    }

    fn longest(&self) -> usize {
        self.train_set.examples.iter().map(|e| e.input_ids.len()).max().unwrap_or(1)
    }

    /// The packing for this much memory (`None`: without a limit): as many trials as fill a
    /// step, then, as far as it does not fit, shorter steps, activations computed again, and fewer
    /// trials. An error when not even one trial fits.
    /// Adapters that the model cannot carry are refused here, too.
    pub fn fit(&self, executor: &ExecutorSettings, available: Option<u64>) -> Result<Packing> {
        for trial in self.trials {
            LoraShape::of_trial(trial).check(self.config).map_err(TrainerError::Targets)?;
        }
        let wanted = self.wanted(executor);
        let Some(available) = available else { return Ok(wanted) };
        let usable = (available as f64 * USABLE) as u64;
        let fits = |packing: &Packing| self.memory(packing).total() <= usable;
        let mut smallest = wanted;
        for slots in halves(wanted.slots, 1) {
            for recompute in [false, true] {
                if recompute != wanted.recompute && !(recompute && wanted.may_recompute) {
                    continue;
                }
                let least = if recompute || !wanted.may_recompute { 1 } else { WORTH_KEEPING };
                for tokens_per_step in halves(TOKENS_PER_STEP, least.max(self.longest().min(256))) {
                    smallest = Packing { slots, tokens_per_step, recompute, ..wanted };
                    if fits(&smallest) {
                        return Ok(smallest);
                    }
                }
            }
        }
        let needed = self.memory(&smallest);
        Err(TrainerError::NotEnoughMemory {
            of_trial: needed.slots + needed.activations,
            of_base: needed.base,
            bases: self.base.models,
            usable,
            longest: self.longest(),
        })
    }

    /// What would be chosen if memory were endless.
    fn wanted(&self, executor: &ExecutorSettings) -> Packing {
        let tokens: usize = self.train_set.examples.iter().map(|e| e.input_ids.len()).sum();
        let mean = (tokens / self.train_set.examples.len().max(1)).max(1);
        let batches: usize = self.trials.iter().map(|t| t.batch_size as usize).sum();
        let batch = (batches / self.trials.len().max(1)).max(1);
        let filling = TOKENS_PER_STEP.div_ceil(mean.saturating_mul(batch)).min(MOST_SLOTS);
        let wish = self.train.gradient_checkpointing;
        Packing {
            slots: executor.max_packed.map_or(filling, |n| n as usize).max(1),
            tokens_per_step: TOKENS_PER_STEP,
            recompute: wish == Some(true),
            may_recompute: wish.is_none(),
        }
    }
}

/// `from`, half of it, ..., down to `least`.
fn halves(from: usize, least: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(from), |n| Some(n / 2))
        .take_while(move |n| *n >= least.min(from).max(1))
}

/// Tokens that all examples begin with, before the first target of any.
fn shared_by_all<'a>(examples: impl Iterator<Item = &'a Example> + Clone) -> usize {
    let Some(first) = examples.clone().next() else { return 0 };
    examples.fold(first.input_ids.len(), |shared, example| {
        let target = example.loss_mask.iter().skip(1).position(|is_target| *is_target);
        let most = shared.min(target.unwrap_or(0));
        let both = first.input_ids.iter().zip(&example.input_ids).take(most);
        both.take_while(|(a, b)| a == b).count()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{rows, trial};
    use data::Example;

    const MODEL: &str = r#"{"model_type": "llama", "vocab_size": 64, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}"#;

    struct World {
        config: DecoderConfig,
        trials: Vec<TrialConfig>,
        train_set: Dataset,
        train: TrainSettings,
    }

    impl World {
        fn new(rank: u32, tokens: usize) -> Self {
            let example = Example { input_ids: vec![1; tokens], loss_mask: vec![true; tokens] };
            Self {
                config: DecoderConfig::parse(MODEL).expect("valid"),
                trials: vec![trial(rank, 1); 40],
                train_set: Dataset { examples: vec![example; 100] },
                train: TrainSettings::default(),
            }
        }

        fn demand(&self) -> Demand<'_> {
            let Self { config, trials, train_set, train } = self;
            let base = BaseMemory { bytes: 4 * config.parameters() as u64, decoded: 0, models: 1 };
            Demand {
                config,
                base,
                on: BaseStorage::Cpu,
                trials,
                train_set,
                eval_tokens: 0,
                answers: None,
                train,
            }
        }

        fn fit(&self, available: Option<u64>) -> Result<Packing> {
            self.demand().fit(&ExecutorSettings::default(), available)
        }
    }

    #[test]
    fn recomputation_and_smaller_ranks_need_less_memory() {
        let (small, large) = (World::new(8, 10), World::new(16, 10));
        let keep = Packing::default();
        let recompute = Packing { recompute: true, ..keep };
        let of = |world: &World, packing: &Packing| world.demand().memory(packing);
        assert!(of(&small, &recompute).activations < of(&small, &keep).activations);
        assert_eq!(of(&large, &keep).slots, 2 * of(&small, &keep).slots);
        assert_eq!(of(&large, &keep).base, of(&small, &keep).base);
    }

    #[test]
    fn a_step_is_filled_with_trials_of_short_rows_and_few_of_long_ones() {
        // Batches of 4.
        assert_eq!(World::new(8, 8).fit(None).expect("fits").slots, 32);
        assert_eq!(World::new(8, 64).fit(None).expect("fits").slots, 4);
        assert_eq!(World::new(8, 1000).fit(None).expect("fits").slots, 1);
    }

    #[test]
    fn less_memory_never_gives_a_packing_that_needs_more_and_what_is_given_fits() {
        let world = World::new(8, 40);
        let of = |packing: &Packing| world.demand().memory(packing).total();
        let mut before = of(&world.fit(None).expect("fits"));
        let mut available = 2 * before;
        let refused = loop {
            match world.fit(Some(available)) {
                Ok(packing) => {
                    assert!(of(&packing) <= available && of(&packing) <= before);
                    before = of(&packing);
                    available = available * 9 / 10;
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, TrainerError::NotEnoughMemory { .. }), "{refused}");
        assert!(refused.to_string().contains("MiB"), "{refused}");
    }

    #[test]
    fn steps_are_shortened_first_then_activations_recomputed_then_trials_left_out() {
        let world = World::new(8, 40);
        let full = world.fit(None).expect("fits");
        assert_eq!((full.slots, full.tokens_per_step, full.recompute), (7, 1024, false));
        let mut seen = vec![full];
        let mut available = 2 * world.demand().memory(&full).total();
        while let Ok(packing) = world.fit(Some(available)) {
            if seen.last() != Some(&packing) {
                seen.push(packing);
            }
            available = available * 99 / 100;
        }
        assert_eq!((seen[1].slots, seen[1].tokens_per_step, seen[1].recompute), (7, 512, false));
        assert!(seen[2].recompute && seen[2].slots == 7, "{:?}", seen[2]);
        assert_eq!(seen.last().map(|p| p.slots), Some(1));
    }

    #[test]
    fn recomputation_that_the_file_forbids_is_not_chosen() {
        let mut world = World::new(8, 40);
        world.train.gradient_checkpointing = Some(false);
        let full = world.demand().memory(&world.fit(None).expect("fits")).total();
        for share in 1..20 {
            if let Ok(packing) = world.fit(Some(full * share / 20)) {
                assert!(!packing.recompute);
            }
        }
    }

    #[test]
    fn answers_take_memory_as_far_as_they_are_written_together() {
        let world = World::new(8, 4);
        let packing = Packing { slots: 2, ..Packing::default() };
        let of = |prompts, tokens| {
            let answers = Some(AnswerDemand { prompts, tokens });
            Demand { answers, ..world.demand() }.memory(&packing).activations
        };
        let without = world.demand().memory(&packing).activations;
        assert_eq!(of(1, 8), without.max(of(1, 8)));
        // Keys and values of 4 blocks with 32 columns each, and 64 logits, of 2 slots.
        assert_eq!(of(60, 4000) - of(50, 4000), 2 * 10 * (2 * 4 * 32 * 4000 + 64) * F32);
        // No more sequences are computed together than these.
        assert_eq!(of(64, 4000), of(100, 4000));
    }

    #[test]
    fn rows_that_never_come_take_no_memory() {
        // One trial with batches of 4 rows of 10 tokens: 40 rows, however long a step may be.
        let world = World { trials: vec![trial(8, 1)], train_set: rows(3), ..World::new(8, 10) };
        let short = Packing { slots: 8, tokens_per_step: 40, ..Packing::default() };
        let long = Packing { tokens_per_step: 1024, ..short };
        assert_eq!(world.demand().memory(&short), world.demand().memory(&long));
    }
}
