//! What an adapter is beside its rank, alpha and modules; names as in PEFT's `LoraConfig`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The variant of LoRA that a trial trains. The default is plain LoRA on every block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoraVariant {
    /// LoRA+: learning rate of B as a multiple of A's (Hayou et al. 2024, arXiv:2402.12354); 1: the
    /// same.
    #[serde(skip_serializing_if = "is_one")]
    pub loraplus_lr_ratio: f64,
    /// `DoRA`: a trained magnitude for each output, and A and B for the direction (Liu et al. 2024,
    /// arXiv:2402.09353).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub use_dora: bool,
    /// How A and B begin.
    #[serde(skip_serializing_if = "InitLoraWeights::is_default")]
    pub init_lora_weights: InitLoraWeights,
    /// Blocks that carry adapters, from 0; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers_to_transform: Option<Vec<u32>>,
    /// Other ranks for some modules: `q_proj`, or `layers.0.self_attn.q_proj` for one block's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rank_pattern: BTreeMap<String, u32>,
    /// Other alphas for some modules, named in the same way.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub alpha_pattern: BTreeMap<String, f64>,
}

impl Default for LoraVariant {
    fn default() -> Self {
        Self {
            loraplus_lr_ratio: 1.0,
            use_dora: false,
            init_lora_weights: InitLoraWeights::Default,
            layers_to_transform: None,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
        }
    }
}

impl LoraVariant {
    /// Plain LoRA on every block.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How A and B begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitLoraWeights {
    /// A uniform, B zero: PEFT's `true`.
    #[default]
    Default,
    /// Rows and columns of one orthogonal matrix, whose product is zero: PEFT's `orthogonal`.
    Orthogonal,
}

impl InitLoraWeights {
    /// PEFT's own default.
    pub fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_one(x: &f64) -> bool {
    *x == 1.0
}
