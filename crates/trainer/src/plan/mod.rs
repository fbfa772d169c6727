//! What a sweep will need before it starts: memory, how trials are packed into it, and work.

mod memory;
mod packing;
mod work;

pub(crate) use memory::WORTH_KEEPING;
pub use memory::{AnswerDemand, Demand, Memory};
pub use packing::{Packing, TOKENS_PER_MICRO_BATCH, TOKENS_PER_STEP};
pub use work::{Sets, Work, eval_tokens, steps, tokens_per_example, works};

#[cfg(test)]
mod tests {
    use spec::{LrScheduler, TargetModule, TrialConfig};

    use data::{Dataset, Example};

    pub fn trial(rank: u32, epochs: u32) -> TrialConfig {
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
            variant: spec::LoraVariant::default(),
            quantization: None,
        }
    }

    pub fn rows(n: usize) -> Dataset {
        let example = Example { input_ids: vec![1; 10], loss_mask: vec![true; 10] };
        Dataset { examples: vec![example; n] }
    }
}
