//! Configurations compared exactly, and the default one: by the table of parameters.

use crate::parameter::{Parameter, TABLE};
use crate::settings::TrainSettings;
use crate::trial::TrialConfig;
use crate::variant::LoraVariant;

/// A configuration as something to compare and hash exactly: floats by their bits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConfigKey {
    parameters: [u64; Parameter::COUNT],
    /// Its fields as text; empty for plain LoRA.
    variant: String,
}

impl TrialConfig {
    /// Equal for the trials that take the same steps as long as none of them decays its rate: they
    /// differ in `epochs` alone, and neither warmup nor schedule depends on the number of epochs.
    /// `None` for a trial that shares its steps with no other.
    pub fn trajectory(&self, train: &TrainSettings) -> Option<ConfigKey> {
        let is_warmup_fixed = train.warmup_steps.is_some() || self.warmup_ratio == 0.0;
        (self.lr_scheduler.is_open_ended() && is_warmup_fixed)
            .then(|| Self { epochs: 0, ..self.clone() }.key())
    }

    /// Equal for configurations that differ in nothing but their seed: repetitions of one.
    pub fn key_without_seed(&self) -> ConfigKey {
        Self { seed: 0, ..self.clone() }.key()
    }

    /// Equal for equal configurations only; a negative zero counts as zero.
    pub fn key(&self) -> ConfigKey {
        ConfigKey {
            parameters: Parameter::ALL.map(|parameter| parameter.row().bits(self)),
            variant: if self.variant.is_default() {
                String::new()
            } else {
                format!("{:?}", self.variant)
            },
        }
    }
}

/// Every parameter at its default.
impl Default for TrialConfig {
    fn default() -> Self {
        let mut config = Self::unset(LoraVariant::default());
        for row in TABLE {
            row.set(&mut config, row.default);
        }
        config
    }
}
