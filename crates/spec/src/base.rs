//! How the weights of the base model are stored.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the base model's weights come from, and what becomes of them. All trials share them, but
/// where `quantization` is a parameter of theirs.
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

    /// The base of the trials that want it in this form; `None`: as the sweep has it.
    #[must_use]
    pub fn in_form(&self, form: Option<BaseForm>) -> Self {
        let quantization = match form {
            None => self.quantization,
            Some(BaseForm::AsStored) => None,
            Some(BaseForm::Quantized(quantization)) => Some(quantization),
        };
        Self { weights: self.weights.clone(), quantization }
    }
}

/// What the parameter `quantization` can be: in which form a trial wants the base it trains on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum BaseForm {
    /// The weights as the model folder has them.
    AsStored,
    /// The blocks' linear layers quantised.
    Quantized(Quantization),
}

impl BaseForm {
    /// The name used in sweep files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AsStored => "none",
            Self::Quantized(quantization) => quantization.name(),
        }
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::AsStored).chain(Quantization::ALL.into_iter().map(Self::Quantized))
    }

    /// Their names, in the same order.
    pub(crate) const NAMES: [&str; 1 + Quantization::ALL.len()] = {
        let mut names = [Self::AsStored.name(); 1 + Quantization::ALL.len()];
        let mut at = 0;
        while at < Quantization::ALL.len() {
            names[at + 1] = Quantization::ALL[at].name();
            at += 1;
        }
        names
    };

    /// The form with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|form| form.name() == name)
    }
}

impl fmt::Display for BaseForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<BaseForm> for &'static str {
    fn from(form: BaseForm) -> Self {
        form.name()
    }
}

impl TryFrom<String> for BaseForm {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::from_name(&name).ok_or_else(|| format!("`{name}` is not a known quantization"))
    }
}

/// A number format of few bits for frozen weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
