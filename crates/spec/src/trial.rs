//! A trial: one complete LoRA configuration to train.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::BaseForm;
use crate::variant::LoraVariant;

/// Number of a trial within its sweep. Trials count from 1; 0 is the untouched base model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrialId(pub u32);

impl TrialId {
    /// The reference row: the base model without any adapter.
    pub const BASE: Self = Self(0);
}

impl fmt::Display for TrialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}

/// A linear layer of a decoder block that can carry an adapter, in the order of the forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetModule {
    /// Query projection.
    QProj,
    /// Key projection.
    KProj,
    /// Value projection.
    VProj,
    /// Attention output projection.
    OProj,
    /// Gate projection of the gated feed-forward network.
    GateProj,
    /// Up projection of the gated feed-forward network.
    UpProj,
    /// Down projection of the gated feed-forward network.
    DownProj,
    /// Query, key and value projections stored as one (Phi-3).
    QkvProj,
    /// Gate and up projections stored as one (Phi-3).
    GateUpProj,
}

impl TargetModule {
    /// Every module of a block with separate projections, in the order of the forward pass (PEFT's
    /// `all-linear`). In a model with fused ones, the parts together stand for the whole.
    pub const ALL: [Self; 7] = [
        Self::QProj,
        Self::KProj,
        Self::VProj,
        Self::OProj,
        Self::GateProj,
        Self::UpProj,
        Self::DownProj,
    ];

    /// Every module of a block with fused projections, in the order of the forward pass.
    pub const FUSED: [Self; 4] = [Self::QkvProj, Self::OProj, Self::GateUpProj, Self::DownProj];

    /// How many modules there are; `module as usize` is below it.
    pub const COUNT: usize = 9;

    /// Every module there is.
    pub fn every() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain([Self::QkvProj, Self::GateUpProj])
    }

    /// The separate projections that a fused one holds, in its order of columns; none for others.
    pub const fn parts(self) -> &'static [Self] {
        match self {
            Self::QkvProj => &[Self::QProj, Self::KProj, Self::VProj],
            Self::GateUpProj => &[Self::GateProj, Self::UpProj],
            _ => &[],
        }
    }

    /// The module's name in Hugging Face checkpoints and in PEFT's `target_modules`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
            Self::QkvProj => "qkv_proj",
            Self::GateUpProj => "gate_up_proj",
        }
    }
}

impl fmt::Display for TargetModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Learning-rate schedule after the warmup; names as in transformers' `lr_scheduler_type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrScheduler {
    /// Constant after the warmup.
    Constant,
    /// Linear decay to zero at the last step.
    #[default]
    Linear,
    /// Half a cosine down to zero at the last step.
    Cosine,
    /// Constant, then a linear decay to zero over the last `decay_ratio` of the steps.
    WarmupStableDecay,
}

impl LrScheduler {
    /// The name used in sweep files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
            Self::WarmupStableDecay => "warmup_stable_decay",
        }
    }

    /// Every schedule.
    const ALL: [Self; 4] = [Self::Constant, Self::Linear, Self::Cosine, Self::WarmupStableDecay];

    /// Their names, in the same order.
    pub(crate) const NAMES: [&str; 4] =
        [Self::ALL[0].name(), Self::ALL[1].name(), Self::ALL[2].name(), Self::ALL[3].name()];

    /// The schedule with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|schedule| schedule.name() == name)
    }
}

impl fmt::Display for LrScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Everything that distinguishes one trial from another, fully resolved (`lora_alpha: 2r` has
/// become a number).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialConfig {
    /// LoRA rank r, at least 1.
    pub rank: u32,
    /// LoRA alpha; the update is scaled by `alpha / r` (or `alpha / sqrt(r)` with rsLoRA).
    pub lora_alpha: f64,
    /// Dropout probability on the adapter's input, in `[0, 1)`.
    pub lora_dropout: f64,
    /// Rank-stabilised scaling `alpha / sqrt(r)` (Kalajdzievski 2023, arXiv:2312.03732).
    pub use_rslora: bool,
    /// Layers that carry an adapter: sorted, unique, not empty.
    pub target_modules: Vec<TargetModule>,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Sequences per optimizer step.
    pub batch_size: u32,
    /// Passes over the training set.
    pub epochs: u32,
    /// Schedule after the warmup.
    pub lr_scheduler: LrScheduler,
    /// Share of the steps that warm up linearly from zero, in `[0, 1]`.
    pub warmup_ratio: f64,
    /// Decoupled weight decay of `AdamW`.
    pub weight_decay: f64,
    /// Seeds the adapter's initialisation, the data order and the dropout masks.
    pub seed: u64,
    /// What the adapter is beside rank, alpha and modules.
    #[serde(default, skip_serializing_if = "LoraVariant::is_default")]
    pub variant: LoraVariant,
    /// The form of the base that it trains on, where that is a parameter; absent: the sweep's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<BaseForm>,
}

impl TrialConfig {
    /// A configuration whose parameters are still to be set, each from its row of the table.
    pub(crate) fn unset(variant: LoraVariant) -> Self {
        Self {
            rank: 1,
            lora_alpha: 1.0,
            lora_dropout: 0.0,
            use_rslora: false,
            target_modules: Vec::new(),
            learning_rate: 0.0,
            batch_size: 1,
            epochs: 1,
            lr_scheduler: LrScheduler::Linear,
            warmup_ratio: 0.0,
            weight_decay: 0.0,
            seed: 0,
            variant,
            quantization: None,
        }
    }

    /// The factor on the low-rank product: `alpha / r`, or `alpha / sqrt(r)` with rsLoRA.
    pub fn scale(&self) -> f64 {
        lora_scale(self.lora_alpha, self.rank, self.use_rslora)
    }
}

/// The factor on the low-rank product: `alpha / r`, or `alpha / sqrt(r)` with rsLoRA.
pub fn lora_scale(lora_alpha: f64, rank: u32, use_rslora: bool) -> f64 {
    let rank = f64::from(rank);
    lora_alpha / if use_rslora { rank.sqrt() } else { rank }
}

impl LrScheduler {
    /// Whether the rate before the final decay, if there is one, is the same however many steps
    /// there are in all.
    pub const fn is_open_ended(self) -> bool {
        matches!(self, Self::Constant | Self::WarmupStableDecay)
    }
}

/// A configuration with its number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Number within the sweep, from 1.
    pub id: TrialId,
    /// What to train.
    pub config: TrialConfig,
}
