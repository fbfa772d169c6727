//! The parameters of a trial by name, and which of them a sweep varied.

use spec::{TargetModule, TrialConfig};

use crate::number;

/// One parameter of a trial.
pub struct Parameter {
    /// Its name in sweep files and column headings.
    pub name: &'static str,
    /// Its value as text.
    pub value: fn(&TrialConfig) -> String,
}

/// Every parameter, the most often tuned first.
pub const PARAMETERS: [Parameter; 14] = [
    Parameter { name: "rank", value: |c| c.rank.to_string() },
    Parameter { name: "learning_rate", value: |c| number::learning_rate(c.learning_rate) },
    Parameter { name: "batch_size", value: |c| c.batch_size.to_string() },
    Parameter { name: "epochs", value: |c| c.epochs.to_string() },
    Parameter { name: "lora_alpha", value: |c| number::plain(c.lora_alpha) },
    Parameter { name: "lora_dropout", value: |c| number::plain(c.lora_dropout) },
    Parameter { name: "use_rslora", value: |c| c.use_rslora.to_string() },
    Parameter { name: "target_modules", value: |c| target_modules(&c.target_modules) },
    Parameter { name: "lr_scheduler", value: |c| c.lr_scheduler.to_string() },
    Parameter { name: "warmup_ratio", value: |c| number::plain(c.warmup_ratio) },
    Parameter { name: "weight_decay", value: |c| number::plain(c.weight_decay) },
    Parameter { name: "seed", value: |c| c.seed.to_string() },
    Parameter { name: "loraplus_lr_ratio", value: |c| number::plain(c.variant.loraplus_lr_ratio) },
    Parameter { name: "use_dora", value: |c| c.variant.use_dora.to_string() },
];

/// The parameters that take more than one value among `configs`, in the order of [`PARAMETERS`];
/// without `lora_alpha` where it only follows the rank.
pub fn varying(configs: &[&TrialConfig]) -> Vec<&'static Parameter> {
    PARAMETERS
        .iter()
        .filter(|parameter| parameter.name != "lora_alpha" || !alpha_follows_rank(configs))
        .filter(|parameter| {
            let mut values = configs.iter().map(|config| (parameter.value)(config));
            values.next().is_some_and(|first| values.any(|value| value != first))
        })
        .collect()
}

/// `lora_alpha` is the same multiple of the rank everywhere, as `2r` makes it.
fn alpha_follows_rank(configs: &[&TrialConfig]) -> bool {
    let multiple = |config: &TrialConfig| config.lora_alpha / f64::from(config.rank);
    configs.iter().all(|config| multiple(config) == multiple(configs[0]))
}

/// `rank 16, learning_rate 2e-4, ...` for the given parameters.
pub fn describe(config: &TrialConfig, parameters: &[&Parameter]) -> String {
    parameters
        .iter()
        .map(|parameter| format!("{} {}", parameter.name, (parameter.value)(config)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Module names joined by `+`, or `all-linear`.
pub fn target_modules(modules: &[TargetModule]) -> String {
    if modules == TargetModule::ALL {
        return "all-linear".to_owned();
    }
    modules.iter().map(|module| module.name()).collect::<Vec<_>>().join("+")
}
