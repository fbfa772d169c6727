//! How the weights of the base model are stored.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the base model's weights come from, and what becomes of them. All trials share them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseSettings {
    /// A GGUF file with the weights; `None`: the model folder's safetensors files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// The blocks' linear layers are quantised while the model is loaded; `None`: they stay as
    /// they are stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
}

impl BaseSettings {
    /// Whether the weights are taken as the model folder has them.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A number format of few bits for frozen weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quantization {
    /// 4 bits: quantiles of the normal distribution, a scale for 64 values (Dettmers et al. 2023,
    /// arXiv:2305.14314).
    #[serde(rename = "nf4")]
    Nf4,
    /// 8 bits, a scale for a row (Dettmers et al. 2022, arXiv:2208.07339).
    #[serde(rename = "int8")]
    Int8,
    /// ggml's 8 bits with a scale for 32 values.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// ggml's 4 bits with scales and offsets for 256 values.
    #[serde(rename = "q4_k")]
    Q4K,
    /// ggml's 5 bits with scales and offsets for 256 values.
    #[serde(rename = "q5_k")]
    Q5K,
    /// ggml's 6 bits with scales for 256 values.
    #[serde(rename = "q6_k")]
    Q6K,
}

impl Quantization {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Nf4, Self::Int8, Self::Q8_0, Self::Q4K, Self::Q5K, Self::Q6K];

    /// The name used in sweep files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nf4 => "nf4",
            Self::Int8 => "int8",
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
        }
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
