//! What a row of the table says of a parameter.

use super::{ModuleSet, Parameter, ParameterValue};
use crate::limits::Limits;
use crate::trial::{TargetModule, TrialConfig};

/// Everything that is said of one parameter.
#[derive(Debug)]
pub struct Row {
    /// The parameter.
    pub parameter: Parameter,
    /// Its key in sweep files, column headings and a configuration's JSON.
    pub name: &'static str,
    /// Its name in plots and editors.
    pub label: &'static str,
    /// What it does, as `init` and editors explain it. Begins with a capital, ends without a stop.
    pub about: &'static str,
    /// The values that `init`'s file shows.
    pub(crate) example: &'static str,
    /// Names that other tools have for it, in lower case and with `_`.
    pub(crate) aliases: &'static [&'static str],
    /// Its name in PEFT's `LoraConfig`, if it has one there.
    pub peft: Option<&'static str>,
    /// The type of its values, and where a configuration has it.
    pub kind: Kind,
    /// The numbers that it allows.
    pub(crate) limits: Limits,
    /// Its value where the file does not give it.
    pub default: ParameterValue,
    /// How the planner's model sees it.
    pub feature: Feature,
    /// One of those tuned most often, which stand first in tables.
    pub is_main: bool,
}

/// Where a configuration has a value of type `T`.
#[derive(Debug)]
pub struct Access<T> {
    /// Reads it.
    pub get: fn(&TrialConfig) -> T,
    /// Writes it.
    pub(crate) set: fn(&mut TrialConfig, T),
}

/// Where a configuration has one of several words.
#[derive(Debug)]
pub struct ChoiceAccess {
    /// What kind of word, for messages.
    pub(crate) what: &'static str,
    /// All words, in the order of the planner's numbers.
    pub words: &'static [&'static str],
    /// Where the word is; `None`: what the top level of the file says.
    pub place: Access<Option<&'static str>>,
}

/// The type of a parameter's values.
#[derive(Debug)]
pub enum Kind {
    /// A whole number that fits `u32`.
    Whole(Access<u32>),
    /// A seed: a whole number whose size means nothing.
    Seed(Access<u64>),
    /// A number.
    Real(Access<f64>),
    /// A number over several powers of ten, written as `2e-4`; a range is logarithmic.
    Rate(Access<f64>),
    /// A number, or a multiple of the rank such as `2r`.
    PerRank(Access<f64>),
    /// Yes or no.
    Flag(Access<bool>),
    /// One of several words.
    Choice(ChoiceAccess),
    /// A set of modules: a preset, a name, or a list of names.
    Modules(Access<ModuleSet>),
}

impl Kind {
    /// Whether a range or another distribution can give its values.
    pub const fn is_number(&self) -> bool {
        match self {
            Self::Whole(_) | Self::Seed(_) | Self::Real(_) | Self::Rate(_) | Self::PerRank(_) => {
                true
            }
            Self::Flag(_) | Self::Choice(_) | Self::Modules(_) => false,
        }
    }
}

/// How the planner's model sees a parameter. `length` is the distance in this coordinate up to which
/// losses are expected to be alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Feature {
    /// Not at all, or by a coordinate of its own.
    Apart,
    /// The number itself.
    Linear {
        /// In the parameter's unit.
        length: f64,
    },
    /// Its binary logarithm.
    Doublings {
        /// In doublings.
        length: f64,
    },
    /// The decimal logarithm of the number and `from`, which keeps 0 at a finite place.
    Decades {
        /// Numbers well below are like 0.
        from: f64,
        /// In powers of ten.
        length: f64,
    },
    /// Different or equal, nothing between.
    Categorical,
}

impl Row {
    /// The parameter's value in a configuration.
    pub fn get(&self, config: &TrialConfig) -> ParameterValue {
        match &self.kind {
            Kind::Whole(place) => ParameterValue::Whole((place.get)(config).into()),
            Kind::Seed(place) => ParameterValue::Whole((place.get)(config)),
            Kind::Real(place) | Kind::Rate(place) | Kind::PerRank(place) => {
                ParameterValue::Real((place.get)(config))
            }
            Kind::Flag(place) => ParameterValue::Flag((place.get)(config)),
            Kind::Choice(choice) => ParameterValue::Name((choice.place.get)(config)),
            Kind::Modules(place) => ParameterValue::Modules((place.get)(config)),
        }
    }

    /// Its value as every report writes it: rates as `2e-3`.
    pub fn shown(&self, config: &TrialConfig) -> String {
        match (&self.kind, self.get(config)) {
            (Kind::Rate(_), ParameterValue::Real(x)) => format!("{x:e}"),
            (_, value) => value.to_string(),
        }
    }

    /// Gives a configuration the value. A multiple of the rank is taken of the rank that it has.
    pub(crate) fn set(&self, config: &mut TrialConfig, value: ParameterValue) {
        match (&self.kind, value.at_rank(config.rank)) {
            (Kind::Whole(place), ParameterValue::Whole(n)) => (place.set)(config, n as u32),
            (Kind::Seed(place), ParameterValue::Whole(n)) => (place.set)(config, n),
            (
                Kind::Real(place) | Kind::Rate(place) | Kind::PerRank(place),
                ParameterValue::Real(x),
            ) => (place.set)(config, x),
            (Kind::Flag(place), ParameterValue::Flag(flag)) => (place.set)(config, flag),
            (Kind::Choice(choice), ParameterValue::Name(name)) => (choice.place.set)(config, name),
            (Kind::Modules(place), ParameterValue::Modules(set)) => (place.set)(config, set),
            (_, value) => unreachable!("`{}` is never read as {value:?}", self.name),
        }
    }

    /// The value that a distribution's number stands for.
    pub(crate) fn of_number(&self, x: f64) -> ParameterValue {
        match self.kind {
            Kind::Whole(_) | Kind::Seed(_) => ParameterValue::Whole(x.round() as u64),
            _ => ParameterValue::Real(x),
        }
    }

    /// A number for each value: its own, 0 and 1, the place of a word, or the modules' bits.
    pub fn number(&self, config: &TrialConfig) -> f64 {
        match (&self.kind, self.get(config)) {
            (_, ParameterValue::Whole(n)) => n as f64,
            (_, ParameterValue::Real(x) | ParameterValue::PerRank(x)) => x,
            (_, ParameterValue::Flag(flag)) => f64::from(u8::from(flag)),
            (_, ParameterValue::Modules(set)) => f64::from(set.bits()),
            (Kind::Choice(choice), ParameterValue::Name(Some(name))) => {
                choice.words.iter().position(|word| *word == name).unwrap_or_default() as f64
            }
            (_, ParameterValue::Name(_)) => 0.0,
        }
    }

    /// The value as bits, equal for equal values only; a negative zero counts as zero.
    pub(crate) fn bits(&self, config: &TrialConfig) -> u64 {
        match self.get(config) {
            ParameterValue::Whole(n) => n,
            ParameterValue::Name(None) => u64::MAX,
            _ => (self.number(config) + 0.0).to_bits(),
        }
    }

    /// Whether it has a value where the file says nothing of it; if not, what the top level of the file
    /// says counts for all trials.
    pub(crate) fn has_default(&self) -> bool {
        self.default != ParameterValue::Name(None)
    }

    /// What other tools call it.
    pub fn other_names(&self) -> impl Iterator<Item = &'static str> {
        self.aliases.iter().copied().chain(self.peft)
    }

    /// Whether another tool calls it `name`.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.aliases.contains(&name) || self.peft == Some(name)
    }
}

/// The set that a configuration's list of modules is.
pub(super) fn modules(config: &TrialConfig) -> ModuleSet {
    ModuleSet::of(&config.target_modules)
}

/// The same, the other way.
pub(super) fn set_modules(config: &mut TrialConfig, set: ModuleSet) {
    config.target_modules = set.iter().collect::<Vec<TargetModule>>();
    config.target_modules.sort_unstable();
}
