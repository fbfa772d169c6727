//! The names of what a trial can vary.

use std::fmt;

use serde::{Serialize, Serializer};

/// A parameter of a trial, named as in sweep files and in [`crate::TrialConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parameter {
    /// `rank`
    Rank,
    /// `lora_alpha`
    LoraAlpha,
    /// `lora_dropout`
    LoraDropout,
    /// `use_rslora`
    UseRslora,
    /// `target_modules`
    TargetModules,
    /// `learning_rate`
    LearningRate,
    /// `batch_size`
    BatchSize,
    /// `epochs`
    Epochs,
    /// `lr_scheduler`
    LrScheduler,
    /// `warmup_ratio`
    WarmupRatio,
    /// `weight_decay`
    WeightDecay,
    /// `seed`
    Seed,
    /// `loraplus_lr_ratio`
    LoraplusLrRatio,
    /// `use_dora`
    UseDora,
    /// `quantization`
    Quantization,
}

impl Parameter {
    /// Number of parameters.
    pub const COUNT: usize = 15;

    /// Every parameter, in the order of the axes of the search space; a new one comes last, so that
    /// it changes nothing in the sequences of the others.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Rank,
        Self::LoraAlpha,
        Self::LoraDropout,
        Self::UseRslora,
        Self::TargetModules,
        Self::LearningRate,
        Self::BatchSize,
        Self::Epochs,
        Self::LrScheduler,
        Self::WarmupRatio,
        Self::WeightDecay,
        Self::Seed,
        Self::LoraplusLrRatio,
        Self::UseDora,
        Self::Quantization,
    ];

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its key in sweep files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rank => "rank",
            Self::LoraAlpha => "lora_alpha",
            Self::LoraDropout => "lora_dropout",
            Self::UseRslora => "use_rslora",
            Self::TargetModules => "target_modules",
            Self::LearningRate => "learning_rate",
            Self::BatchSize => "batch_size",
            Self::Epochs => "epochs",
            Self::LrScheduler => "lr_scheduler",
            Self::WarmupRatio => "warmup_ratio",
            Self::WeightDecay => "weight_decay",
            Self::Seed => "seed",
            Self::LoraplusLrRatio => "loraplus_lr_ratio",
            Self::UseDora => "use_dora",
            Self::Quantization => "quantization",
        }
    }

    /// The parameter with this key.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Parameter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
