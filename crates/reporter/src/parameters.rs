//! The parameters of a trial by name, and which of them a sweep varied.

use spec::{TargetModule, TrialConfig};

use crate::number;

/// One parameter of a trial.
pub struct Parameter {
    /// Its name in sweep files and column headings.
    pub name: &'static str,
    /// Where its value is, by the value's type.
    pub kind: Kind,
}

/// A parameter's value in a configuration.
pub enum Kind {
    /// A small whole number.
    Whole(fn(&TrialConfig) -> u32),
    /// Any whole number.
    Unsigned(fn(&TrialConfig) -> u64),
    /// A number.
    Real(fn(&TrialConfig) -> f64),
    /// A number that is written as learning rates are.
    Rate(fn(&TrialConfig) -> f64),
    /// Yes or no.
    Truth(fn(&TrialConfig) -> bool),
    /// A name.
    Text(fn(&TrialConfig) -> String),
}

impl Parameter {
    /// Its value as text.
    pub fn value(&self, config: &TrialConfig) -> String {
        match self.kind {
            Kind::Whole(of) => of(config).to_string(),
            Kind::Unsigned(of) => of(config).to_string(),
            Kind::Real(of) => number::plain(of(config)),
            Kind::Rate(of) => number::learning_rate(of(config)),
            Kind::Truth(of) => of(config).to_string(),
            Kind::Text(of) => of(config),
        }
    }

    /// A number whose differences mean something: the logarithm of counts and rates. `None` for names,
    /// and for seeds, which are chance.
    pub fn coordinate(&self, config: &TrialConfig) -> Option<f64> {
        match self.kind {
            Kind::Whole(of) => Some(f64::from(of(config)).ln()),
            Kind::Rate(of) => Some(of(config).ln()),
            Kind::Real(of) => Some(of(config)),
            Kind::Unsigned(_) | Kind::Truth(_) | Kind::Text(_) => None,
        }
        .filter(|x| x.is_finite())
    }
}

/// Every parameter, the most often tuned first.
pub const PARAMETERS: [Parameter; 15] = [
    Parameter { name: "rank", kind: Kind::Whole(|c| c.rank) },
    Parameter { name: "learning_rate", kind: Kind::Rate(|c| c.learning_rate) },
    Parameter { name: "batch_size", kind: Kind::Whole(|c| c.batch_size) },
    Parameter { name: "epochs", kind: Kind::Whole(|c| c.epochs) },
    Parameter { name: "lora_alpha", kind: Kind::Real(|c| c.lora_alpha) },
    Parameter { name: "lora_dropout", kind: Kind::Real(|c| c.lora_dropout) },
    Parameter { name: "use_rslora", kind: Kind::Truth(|c| c.use_rslora) },
    Parameter { name: "target_modules", kind: Kind::Text(|c| target_modules(&c.target_modules)) },
    Parameter { name: "lr_scheduler", kind: Kind::Text(|c| c.lr_scheduler.to_string()) },
    Parameter { name: "warmup_ratio", kind: Kind::Real(|c| c.warmup_ratio) },
    Parameter { name: "weight_decay", kind: Kind::Real(|c| c.weight_decay) },
    Parameter { name: "seed", kind: Kind::Unsigned(|c| c.seed) },
    Parameter { name: "loraplus_lr_ratio", kind: Kind::Real(|c| c.variant.loraplus_lr_ratio) },
    Parameter { name: "use_dora", kind: Kind::Truth(|c| c.variant.use_dora) },
    Parameter { name: "quantization", kind: Kind::Text(quantization) },
];

/// The form of the base, where it is a parameter; else nothing.
fn quantization(config: &TrialConfig) -> String {
    config.quantization.map(|form| form.to_string()).unwrap_or_default()
}

/// The parameters that have a value in `config`, with it.
pub fn given(config: &TrialConfig) -> impl Iterator<Item = (&'static Parameter, String)> {
    let values = PARAMETERS.iter().map(|parameter| (parameter, parameter.value(config)));
    values.filter(|(_, value)| !value.is_empty())
}

/// The parameters that take more than one value among `configs`, in the order of [`PARAMETERS`];
/// without `lora_alpha` where it only follows the rank.
pub fn varying(configs: &[&TrialConfig]) -> Vec<&'static Parameter> {
    PARAMETERS
        .iter()
        .filter(|parameter| parameter.name != "lora_alpha" || !alpha_follows_rank(configs))
        .filter(|parameter| {
            let mut values = configs.iter().map(|config| parameter.value(config));
            values.next().is_some_and(|first| values.any(|value| value != first))
        })
        .collect()
}

/// As [`varying`], without the seed: what is set rather than drawn.
pub fn settings(configs: &[&TrialConfig]) -> Vec<&'static Parameter> {
    varying(configs).into_iter().filter(|parameter| parameter.name != "seed").collect()
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
        .map(|parameter| format!("{} {}", parameter.name, parameter.value(config)))
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
