//! The search space: for every parameter of a trial, what it can be.
//!
//! A point of the space is given either by shares (one number in (0, 1) a parameter, through
//! [`SearchSpace::sample`]) or by the number of a grid cell ([`SearchSpace::grid_config`]); both
//! give a complete [`TrialConfig`].

use std::collections::HashSet;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::base::BaseForm;
use crate::distribution::Distribution;
use crate::parameter::Parameter;
use crate::trial::{LrScheduler, TargetModule, TrialConfig};
use crate::variant::LoraVariant;

/// What every parameter of a trial can be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchSpace {
    /// LoRA rank r.
    pub rank: Numeric<u32>,
    /// LoRA alpha, as a number or as a multiple of the rank.
    pub lora_alpha: Numeric<Alpha>,
    /// Dropout probability on the adapter's input.
    pub lora_dropout: Numeric<f64>,
    /// Rank-stabilised scaling.
    pub use_rslora: Choice<bool>,
    /// Layers that carry an adapter: each value sorted, unique, not empty.
    pub target_modules: Choice<Vec<TargetModule>>,
    /// Peak learning rate.
    pub learning_rate: Numeric<f64>,
    /// Sequences per optimizer step.
    pub batch_size: Numeric<u32>,
    /// Passes over the training set.
    pub epochs: Numeric<u32>,
    /// Schedule after the warmup.
    pub lr_scheduler: Choice<LrScheduler>,
    /// Share of the steps that warm up.
    pub warmup_ratio: Numeric<f64>,
    /// Decoupled weight decay.
    pub weight_decay: Numeric<f64>,
    /// Seed of the trial.
    pub seed: Numeric<u64>,
    /// LoRA+: learning rate of B as a multiple of A's.
    #[serde(skip_serializing_if = "is_one")]
    pub loraplus_lr_ratio: Numeric<f64>,
    /// `DoRA`.
    #[serde(skip_serializing_if = "is_off")]
    pub use_dora: Choice<bool>,
    /// The form of the base; `None` alone: that of the sweep.
    #[serde(skip_serializing_if = "is_the_sweeps")]
    pub quantization: Choice<Option<BaseForm>>,
    /// What the adapters of all trials are beside the parameters above.
    #[serde(skip_serializing_if = "LoraVariant::is_default")]
    pub variant: LoraVariant,
}

/// Nothing to write, and the same fingerprint as before the parameter was there.
fn is_one(ratio: &Numeric<f64>) -> bool {
    matches!(ratio, Numeric::Choice(Choice { values, .. }) if values[..] == [1.0])
}

/// As [`is_one`].
fn is_off(choice: &Choice<bool>) -> bool {
    choice.values[..] == [false]
}

/// As [`is_one`].
fn is_the_sweeps(choice: &Choice<Option<BaseForm>>) -> bool {
    choice.values[..] == [None]
}

/// LoRA alpha before the rank is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Alpha {
    /// This number, whatever the rank.
    Fixed(f64),
    /// This many times the rank (`2r`).
    PerRank(f64),
}

impl Alpha {
    /// Alpha of a trial with this rank.
    pub fn at_rank(self, rank: u32) -> f64 {
        match self {
            Self::Fixed(alpha) => alpha,
            Self::PerRank(factor) => factor * f64::from(rank),
        }
    }
}

impl fmt::Display for Alpha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(alpha) => write!(f, "{alpha}"),
            Self::PerRank(factor) => write!(f, "{factor}r"),
        }
    }
}

impl Serialize for Alpha {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(alpha) => serializer.serialize_f64(*alpha),
            Self::PerRank(_) => serializer.collect_str(self),
        }
    }
}

/// One of several listed values; a single one is a fixed setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice<T> {
    /// In the order of the file; different, and at least one.
    values: Vec<T>,
    /// One for each value, above 0, adding up to 1; `None`: all equal.
    probabilities: Option<Vec<f64>>,
}

impl<T> Choice<T> {
    /// A fixed setting.
    pub(crate) fn fixed(value: T) -> Self {
        Self { values: vec![value], probabilities: None }
    }

    /// `None` without any value; `probabilities` are one a value and sum to 1.
    pub(crate) fn listed(values: Vec<T>, probabilities: Option<Vec<f64>>) -> Option<Self> {
        (!values.is_empty()).then_some(Self { values, probabilities })
    }

    /// The values, in the order of the file; at least one.
    pub fn values(&self) -> &[T] {
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

/// What a numeric parameter can be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Numeric<T> {
    /// Listed values.
    Choice(Choice<T>),
    /// A range or another distribution; whole-number parameters have a whole `q`.
    Distribution(Distribution),
}

/// A value that a [`Distribution`] can give.
pub trait FromNumber {
    /// From a number that the parameter's limits allow.
    fn from_number(x: f64) -> Self;
}

impl FromNumber for f64 {
    fn from_number(x: f64) -> Self {
        x
    }
}

impl FromNumber for u32 {
    fn from_number(x: f64) -> Self {
        x.round() as Self
    }
}

impl FromNumber for u64 {
    fn from_number(x: f64) -> Self {
        x.round() as Self
    }
}

impl FromNumber for Alpha {
    fn from_number(x: f64) -> Self {
        Self::Fixed(x)
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

impl<T: Clone> Choice<T> {
    fn pick(&self, at: Coordinate) -> T {
        let index = match at {
            Coordinate::Share(u) => self.index_at(u),
            Coordinate::Index(index) => (index as usize).min(self.values.len() - 1),
        };
        self.values[index].clone()
    }
}

impl<T: Clone + FromNumber> Numeric<T> {
    fn pick(&self, at: Coordinate) -> T {
        match (self, at) {
            (Self::Choice(choice), at) => choice.pick(at),
            (Self::Distribution(d), Coordinate::Share(u)) => T::from_number(d.quantile(u)),
            (Self::Distribution(d), Coordinate::Index(index)) => T::from_number(d.nth(index)),
        }
    }
}

/// One axis of the space, whatever the type of its values.
pub trait Axis {
    /// Number of different values; `None` when there is no end to them.
    fn size(&self) -> Option<u64>;

    /// The range or other distribution; `None` for listed values.
    fn distribution(&self) -> Option<&Distribution>;

    /// The probabilities of listed values; `None` when they are equal, and for a distribution.
    fn probabilities(&self) -> Option<&[f64]>;
}

impl<T> Axis for Choice<T> {
    fn size(&self) -> Option<u64> {
        Some(self.values.len() as u64)
    }

    fn distribution(&self) -> Option<&Distribution> {
        None
    }

    fn probabilities(&self) -> Option<&[f64]> {
        self.probabilities.as_deref()
    }
}

impl<T> Axis for Numeric<T> {
    fn size(&self) -> Option<u64> {
        match self {
            Self::Choice(choice) => choice.size(),
            Self::Distribution(distribution) => distribution.size(),
        }
    }

    fn distribution(&self) -> Option<&Distribution> {
        match self {
            Self::Choice(_) => None,
            Self::Distribution(distribution) => Some(distribution),
        }
    }

    fn probabilities(&self) -> Option<&[f64]> {
        match self {
            Self::Choice(choice) => choice.probabilities(),
            Self::Distribution(_) => None,
        }
    }
}

impl SearchSpace {
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
        let (ranks, alphas) = (self.rank.size()?, self.lora_alpha.size()?);
        let combined = ranks.saturating_mul(alphas);
        if combined > MOST_COUNTED || alphas == 1 {
            return Some(cells);
        }
        let different: HashSet<(u32, u64)> = (0..combined)
            .map(|i| {
                let rank = self.rank.pick(Coordinate::Index(i / alphas));
                let alpha = self.lora_alpha.pick(Coordinate::Index(i % alphas));
                (rank, alpha.at_rank(rank).to_bits())
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
        let Numeric::Choice(epochs) = &self.epochs else { return Vec::new() };
        if epochs.values.len() < 2 || !self.lr_scheduler.values.iter().any(|s| s.is_open_ended()) {
            return Vec::new();
        }
        let mut places: Vec<u64> = (0..epochs.values.len() as u64).collect();
        places.sort_by_key(|place| epochs.values[*place as usize]);
        places
    }

    /// The largest number of epochs a trial can have; `None` when there is no limit.
    pub fn most_epochs(&self) -> Option<u32> {
        match &self.epochs {
            Numeric::Choice(epochs) => epochs.values.iter().max().copied(),
            Numeric::Distribution(d) => d.size().map(|n| u32::from_number(d.nth(n - 1))),
        }
    }

    /// The axis of one parameter.
    pub fn axis(&self, parameter: Parameter) -> &dyn Axis {
        match parameter {
            Parameter::Rank => &self.rank,
            Parameter::LoraAlpha => &self.lora_alpha,
            Parameter::LoraDropout => &self.lora_dropout,
            Parameter::UseRslora => &self.use_rslora,
            Parameter::TargetModules => &self.target_modules,
            Parameter::LearningRate => &self.learning_rate,
            Parameter::BatchSize => &self.batch_size,
            Parameter::Epochs => &self.epochs,
            Parameter::LrScheduler => &self.lr_scheduler,
            Parameter::WarmupRatio => &self.warmup_ratio,
            Parameter::WeightDecay => &self.weight_decay,
            Parameter::Seed => &self.seed,
            Parameter::LoraplusLrRatio => &self.loraplus_lr_ratio,
            Parameter::UseDora => &self.use_dora,
            Parameter::Quantization => &self.quantization,
        }
    }

    /// The parameters with more than one possible value.
    pub fn varied(&self) -> Vec<Parameter> {
        Parameter::ALL.into_iter().filter(|p| self.axis(*p).size() != Some(1)).collect()
    }

    fn build(&self, at: impl Fn(Parameter) -> Coordinate) -> TrialConfig {
        let rank = self.rank.pick(at(Parameter::Rank));
        TrialConfig {
            rank,
            lora_alpha: self.lora_alpha.pick(at(Parameter::LoraAlpha)).at_rank(rank),
            lora_dropout: self.lora_dropout.pick(at(Parameter::LoraDropout)),
            use_rslora: self.use_rslora.pick(at(Parameter::UseRslora)),
            target_modules: self.target_modules.pick(at(Parameter::TargetModules)),
            learning_rate: self.learning_rate.pick(at(Parameter::LearningRate)),
            batch_size: self.batch_size.pick(at(Parameter::BatchSize)),
            epochs: self.epochs.pick(at(Parameter::Epochs)),
            lr_scheduler: self.lr_scheduler.pick(at(Parameter::LrScheduler)),
            warmup_ratio: self.warmup_ratio.pick(at(Parameter::WarmupRatio)),
            weight_decay: self.weight_decay.pick(at(Parameter::WeightDecay)),
            seed: self.seed.pick(at(Parameter::Seed)),
            variant: LoraVariant {
                loraplus_lr_ratio: self.loraplus_lr_ratio.pick(at(Parameter::LoraplusLrRatio)),
                use_dora: self.use_dora.pick(at(Parameter::UseDora)),
                ..self.variant.clone()
            },
            quantization: self.quantization.pick(at(Parameter::Quantization)),
        }
    }

    /// The forms of the base that trials can ask for, each once. The first one is what the sweep is
    /// measured against: the weights as they are stored, where they are among them.
    pub fn base_forms(&self) -> Vec<Option<BaseForm>> {
        let mut forms = self.quantization.values.clone();
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
