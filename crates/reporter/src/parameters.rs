//! The parameters of a trial as columns: their values as text and as coordinates, and which of them a
//! sweep varied. Names and kinds are those of the table in `spec`.

use std::sync::LazyLock;

use spec::{Kind, ParameterValue, Row, TABLE, TrialConfig};

use crate::number;

/// One parameter of a trial.
pub struct Parameter {
    /// Its name in sweep files and column headings.
    pub name: &'static str,
    /// What is known of it.
    pub row: &'static Row,
}

impl Parameter {
    /// Its value as text; empty where the sweep's setting counts for all trials.
    pub fn value(&self, config: &TrialConfig) -> String {
        match (self.row.get(config), &self.row.kind) {
            (ParameterValue::Real(x), Kind::Rate(_)) => number::learning_rate(x),
            (ParameterValue::Real(x), _) => number::plain(x),
            (value, _) => value.to_string(),
        }
    }

    /// A number whose differences mean something: the logarithm of counts and rates. `None` for names,
    /// and for seeds, which are chance.
    pub fn coordinate(&self, config: &TrialConfig) -> Option<f64> {
        match &self.row.kind {
            Kind::Whole(place) => Some(f64::from((place.get)(config)).ln()),
            Kind::Rate(place) => Some((place.get)(config).ln()),
            Kind::Real(place) | Kind::PerRank(place) => Some((place.get)(config)),
            Kind::Seed(_) | Kind::Flag(_) | Kind::Choice(_) | Kind::Modules(_) => None,
        }
        .filter(|x| x.is_finite())
    }
}

/// Every parameter, the most often tuned first.
pub static PARAMETERS: LazyLock<Vec<Parameter>> = LazyLock::new(|| {
    let rows = |is_main| TABLE.iter().filter(move |row| row.is_main == is_main);
    rows(true).chain(rows(false)).map(|row| Parameter { name: row.name, row }).collect()
});

/// Those of them that are tuned most often.
pub fn most_tuned() -> impl Iterator<Item = &'static Parameter> {
    PARAMETERS.iter().filter(|parameter| parameter.row.is_main)
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
        .filter(|parameter| {
            !matches!(parameter.row.kind, Kind::PerRank(_)) || !alpha_follows_rank(configs)
        })
        .filter(|parameter| {
            let mut values = configs.iter().map(|config| parameter.value(config));
            values.next().is_some_and(|first| values.any(|value| value != first))
        })
        .collect()
}

/// As [`varying`], without the seed: what is set rather than drawn.
pub fn settings(configs: &[&TrialConfig]) -> Vec<&'static Parameter> {
    let varying = varying(configs).into_iter();
    varying.filter(|parameter| !matches!(parameter.row.kind, Kind::Seed(_))).collect()
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
