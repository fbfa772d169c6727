//! The search space: for every parameter of a trial, what it can be.
//!
//! A point of the space is given either by shares (one number in (0, 1) a parameter, through
//! [`SearchSpace::sample`]) or by the number of a grid cell ([`SearchSpace::grid_config`]); both
//! give a complete [`TrialConfig`].

use std::collections::HashSet;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::base::BaseForm;
use crate::distribution::Distribution;
use crate::parameter::{Parameter, ParameterValue, Row, TABLE};
use crate::trial::{LrScheduler, TrialConfig};
use crate::variant::LoraVariant;

/// What every parameter of a trial can be.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchSpace {
    /// One a parameter, in the order of [`Parameter::ALL`].
    axes: [Axis; Parameter::COUNT],
    /// What the adapters of all trials are beside the parameters.
    pub variant: LoraVariant,
}

/// One axis of the space: what a parameter can be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Listed values.
    Choice(Choice),
    /// A range or another distribution of a number; of a whole one it has a whole `q`.
    Distribution(Distribution),
}

/// Parameters from here on were added when sweeps had been begun: one that a sweep does not use is not
/// written, so that the sweep's fingerprint stays.
const FIRST_ADDED: usize = Parameter::LoraplusLrRatio.index();

impl Serialize for SearchSpace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (row, axis) in TABLE.iter().zip(&self.axes) {
            if row.parameter.index() >= FIRST_ADDED && axis.values() == [row.default] {
                continue;
            }
            match axis {
                Axis::Choice(choice) if !row.kind.is_number() => {
                    map.serialize_entry(row.name, choice)?;
                }
                axis => map.serialize_entry(row.name, axis)?,
            }
        }
        if !self.variant.is_default() {
            map.serialize_entry("variant", &self.variant)?;
        }
        map.end()
    }
}

/// One of several listed values; a single one is a fixed setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// In the order of the file; different, and at least one.
    values: Vec<ParameterValue>,
    /// One for each value, above 0, adding up to 1; `None`: all equal.
    probabilities: Option<Vec<f64>>,
}

impl Choice {
    /// A fixed setting.
    pub(crate) fn fixed(value: ParameterValue) -> Self {
        Self { values: vec![value], probabilities: None }
    }

    /// `None` without any value; `probabilities` are one a value and sum to 1.
    pub(crate) fn listed(
        values: Vec<ParameterValue>,
        probabilities: Option<Vec<f64>>,
    ) -> Option<Self> {
        (!values.is_empty()).then_some(Self { values, probabilities })
    }

    /// The values, in the order of the file; at least one.
    pub fn values(&self) -> &[ParameterValue] {
        &self.values
    }

    /// The share below the value at `index`, and its own.
    pub(crate) fn share_range(&self, index: usize) -> (f64, f64) {
        if let Some(probabilities) = &self.probabilities {
            return (probabilities[..index].iter().sum(), probabilities[index]);
        }
        let own = 1.0 / self.values.len() as f64;
        (index as f64 * own, own)
    }

    /// Which value lies at the share `u`.
    fn index_at(&self, u: f64) -> usize {
        let last = self.values.len() - 1;
        let Some(probabilities) = &self.probabilities else {
            return ((u * self.values.len() as f64) as usize).min(last);
        };
        let mut upto = 0.0;
        let found = probabilities.iter().position(|p| {
            upto += p;
            u < upto
        });
        found.unwrap_or(last)
    }
}

/// Where on one axis of the space.
#[derive(Debug, Clone, Copy)]
enum Coordinate {
    /// At this share of the distribution, in (0, 1).
    Share(f64),
    /// At this one of the axis' values.
    Index(u64),
}

impl Axis {
    /// Number of different values; `None` when there is no end to them.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Choice(choice) => Some(choice.values.len() as u64),
            Self::Distribution(distribution) => distribution.size(),
        }
    }

    /// The listed values; none for a distribution.
    pub fn values(&self) -> &[ParameterValue] {
        match self {
            Self::Choice(choice) => &choice.values,
            Self::Distribution(_) => &[],
        }
    }

    /// The range or other distribution; `None` for listed values.
    pub fn distribution(&self) -> Option<&Distribution> {
        match self {
            Self::Choice(_) => None,
            Self::Distribution(distribution) => Some(distribution),
        }
    }

    /// The probabilities of listed values; `None` when they are equal, and for a distribution.
    pub fn probabilities(&self) -> Option<&[f64]> {
        match self {
            Self::Choice(choice) => choice.probabilities.as_deref(),
            Self::Distribution(_) => None,
        }
    }

    /// Whether it has the configuration's value of its parameter.
    fn has(&self, row: &Row, config: &TrialConfig) -> bool {
        match self {
            Self::Choice(choice) => choice.values.iter().any(|value| {
                let mut same = config.clone();
                row.set(&mut same, *value);
                row.bits(&same) == row.bits(config)
            }),
            Self::Distribution(distribution) => distribution.contains(row.number(config)),
        }
    }

    fn pick(&self, row: &Row, at: Coordinate) -> ParameterValue {
        match (self, at) {
            (Self::Choice(choice), Coordinate::Share(u)) => choice.values[choice.index_at(u)],
            (Self::Choice(choice), Coordinate::Index(index)) => {
                choice.values[(index as usize).min(choice.values.len() - 1)]
            }
            (Self::Distribution(d), Coordinate::Share(u)) => row.of_number(d.quantile(u)),
            (Self::Distribution(d), Coordinate::Index(index)) => row.of_number(d.nth(index)),
        }
    }
}

impl SearchSpace {
    /// Fills in what the file does not say.
    pub(crate) fn new(written: &[Option<Axis>; Parameter::COUNT], variant: LoraVariant) -> Self {
        let axis = |parameter: Parameter| {
            let default = || Axis::Choice(Choice::fixed(parameter.row().default));
            written[parameter.index()].clone().unwrap_or_else(default)
        };
        Self { axes: Parameter::ALL.map(axis), variant }
    }

    /// The configuration at a point of the unit cube, one share a parameter in the order of
    /// [`Parameter::ALL`].
    pub fn sample(&self, shares: &[f64; Parameter::COUNT]) -> TrialConfig {
        self.build(|parameter| Coordinate::Share(shares[parameter.index()]))
    }

    /// Number of grid cells, the product of the axes' sizes; `None` when an axis is continuous.
    pub fn grid_size(&self) -> Option<u128> {
        Parameter::ALL
            .iter()
            .try_fold(1_u128, |n, p| Some(n.saturating_mul(u128::from(self.axis(*p).size()?))))
    }

    /// Number of different configurations: grid cells less those that become equal once alpha is
    /// worked out (rank 8 with `lora_alpha: [16, 2r]`). `None` when an axis is continuous. Exact
    /// up to 100,000 combinations of rank and alpha; beyond, the number of cells.
    pub fn distinct_size(&self) -> Option<u128> {
        const MOST_COUNTED: u64 = 100_000;
        let cells = self.grid_size()?;
        let (rank, alpha) = (Parameter::Rank, Parameter::LoraAlpha);
        let (ranks, alphas) = (self.axis(rank).size()?, self.axis(alpha).size()?);
        let combined = ranks.saturating_mul(alphas);
        if combined > MOST_COUNTED || alphas == 1 {
            return Some(cells);
        }
        let different: HashSet<(u64, u64)> = (0..combined)
            .map(|i| {
                let mut config = TrialConfig::unset(LoraVariant::default());
                for (parameter, index) in [(rank, i / alphas), (alpha, i % alphas)] {
                    let value =
                        self.axis(parameter).pick(parameter.row(), Coordinate::Index(index));
                    parameter.row().set(&mut config, value);
                }
                (rank.row().bits(&config), alpha.row().bits(&config))
            })
            .collect();
        Some(cells / u128::from(combined) * different.len() as u128)
    }

    /// The configuration that comes at `position` (below [`Self::grid_size`]) of the grid.
    ///
    /// The order is chosen so that the first few trials say something about every parameter: cells
    /// are numbered with the last parameter of [`Parameter::ALL`] counting fastest, and visited
    /// with a constant stride, the number nearest to the golden section of the grid's size that
    /// has no divisor in common with it. Such a walk meets every cell once and leaves no large gap
    /// at any time. It depends on the axes alone: not on a seed, nor on what ran before.
    ///
    /// Where a schedule lets trials that differ in `epochs` alone share their steps, these come
    /// one after the other, fewest epochs first, so that each goes on where the one before it
    /// ended.
    pub fn grid_config(&self, position: u128) -> TrialConfig {
        let size = self.grid_size().unwrap_or(1).max(1);
        let ascending = self.epochs_in_turn();
        let turns = ascending.len().max(1) as u128;
        let mut cell = stride_position(position / turns, size / turns);
        let mut index = [0_u64; Parameter::COUNT];
        for parameter in Parameter::ALL.iter().rev() {
            if *parameter == Parameter::Epochs && !ascending.is_empty() {
                index[parameter.index()] = ascending[(position % turns) as usize];
                continue;
            }
            let axis = u128::from(self.axis(*parameter).size().unwrap_or(1));
            index[parameter.index()] = (cell % axis) as u64;
            cell /= axis;
        }
        self.build(|parameter| Coordinate::Index(index[parameter.index()]))
    }

    /// Places of the listed numbers of epochs, fewest first; empty where there is one number, a
    /// range, or no schedule that does not depend on it.
    fn epochs_in_turn(&self) -> Vec<u64> {
        let epochs = self.axis(Parameter::Epochs).values();
        let is_open = |value: &ParameterValue| {
            value.name().and_then(LrScheduler::from_name).is_some_and(LrScheduler::is_open_ended)
        };
        if epochs.len() < 2 || !self.axis(Parameter::LrScheduler).values().iter().any(is_open) {
            return Vec::new();
        }
        let mut places: Vec<u64> = (0..epochs.len() as u64).collect();
        places.sort_by(|a, b| {
            let [a, b] = [a, b].map(|place| epochs[*place as usize].number().unwrap_or_default());
            a.total_cmp(&b)
        });
        places
    }

    /// The largest number of epochs a trial can have; `None` when there is no limit.
    pub fn most_epochs(&self) -> Option<u32> {
        match self.axis(Parameter::Epochs) {
            Axis::Choice(epochs) => {
                let numbers = epochs.values.iter().filter_map(|value| value.number());
                numbers.reduce(f64::max).map(|most| most as u32)
            }
            Axis::Distribution(d) => d.size().map(|n| d.nth(n - 1).round() as u32),
        }
    }

    /// The axis of one parameter.
    pub fn axis(&self, parameter: Parameter) -> &Axis {
        &self.axes[parameter.index()]
    }

    /// The configuration with each listed value of one parameter.
    pub fn with_each_value(
        &self,
        parameter: Parameter,
        config: &TrialConfig,
    ) -> impl Iterator<Item = TrialConfig> {
        self.axis(parameter).values().iter().map(move |value| {
            let mut config = config.clone();
            parameter.row().set(&mut config, *value);
            config
        })
    }

    /// Whether a configuration is one of the space: each of its values is listed or within the range.
    pub fn contains(&self, config: &TrialConfig) -> bool {
        self.contains_but_seed(config)
            && self.axis(Parameter::Seed).has(Parameter::Seed.row(), config)
    }

    /// The same whatever its seed is.
    pub fn contains_but_seed(&self, config: &TrialConfig) -> bool {
        let mut axes = TABLE.iter().zip(&self.axes);
        self.variant == config.variant
            && axes.all(|(row, axis)| row.parameter == Parameter::Seed || axis.has(row, config))
    }

    /// The parameters with more than one possible value.
    pub fn varied(&self) -> Vec<Parameter> {
        Parameter::ALL.into_iter().filter(|p| self.axis(*p).size() != Some(1)).collect()
    }

    fn build(&self, at: impl Fn(Parameter) -> Coordinate) -> TrialConfig {
        let mut config = TrialConfig::unset(self.variant.clone());
        // The rank comes first: alpha may be a multiple of it.
        for (row, axis) in TABLE.iter().zip(&self.axes) {
            row.set(&mut config, axis.pick(row, at(row.parameter)));
        }
        config
    }

    /// The forms of the base that trials can ask for, each once. The first one is what the sweep is
    /// measured against: the weights as they are stored, where they are among them.
    pub fn base_forms(&self) -> Vec<Option<BaseForm>> {
        let values = self.axis(Parameter::Quantization).values().iter();
        let mut forms: Vec<Option<BaseForm>> =
            values.map(|value| value.name().and_then(BaseForm::from_name)).collect();
        forms.sort_by_key(|form| *form != Some(BaseForm::AsStored));
        forms
    }
}

/// The cell visited at `position` of a walk through `size` cells; see
/// [`SearchSpace::grid_config`]. Sizes beyond 2^64 are walked in plain order, which keeps the
/// product below within 128 bits; no sweep gets far enough into one to tell.
fn stride_position(position: u128, size: u128) -> u128 {
    if size > u128::from(u64::MAX) {
        return position;
    }
    let golden = ((size as f64) * 0.618_033_988_749_894_9).round() as u128;
    let coprime = |n: &u128| *n >= 1 && *n <= size && gcd(*n, size) == 1;
    let stride =
        (0..size).flat_map(|d| [golden + d, golden.saturating_sub(d)]).find(coprime).unwrap_or(1);
    position % size * stride % size
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}
