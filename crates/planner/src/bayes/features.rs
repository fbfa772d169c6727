//! What the model sees of a configuration: coordinates whose distances mean something.
//!
//! With LoRA knowledge the learning rate enters as what it amounts to at batch size 16 and alpha
//! 32: the best rate grows about as the root of the batch size, and with alpha = r it is about 5.6
//! times larger at r = 4 than at r = 256, whereas with a fixed alpha it hardly depends on the rank
//! ("LoRA Without Regret", Schulman et al. 2025). Both follow from `lr * (s r / 32)^0.41`, where s
//! is the scale of the low-rank product.
//!
//! Notation: D coordinates.

use spec::{Feature, LrScheduler, Parameter, SearchSpace, TrialConfig};

use crate::sobol;

/// Exponent of the product of scale and rank in the corrected rate: ln 5.6 / ln 64.
const ALPHA_EXPONENT: f64 = 0.414;
/// Where a first guess lies: the corrected learning rate.
pub(super) const USUAL_RATE: f64 = 2e-4;
/// How far from there the best rate may well lie, as a standard deviation in decades.
const RATE_SPREAD: f64 = 0.6;
/// How far below the highest rank of the space the best may well lie, as a standard deviation in
/// doublings: at the right rate a higher rank mostly does no worse (Schulman et al. 2025), but rows may
/// be too few for it.
const RANK_SPREAD: f64 = 2.0;
/// Configurations drawn to see over which range a coordinate goes.
const RANGE_DRAWS: u64 = 512;

/// One evaluation (or what it would be) as the model sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    /// Coordinates, D.
    pub x: Vec<f64>,
    /// Evaluations of one trial share its random effect.
    pub trial: u32,
    /// Which problem the loss is of: 0 is this sweep's, others are those of earlier sweeps.
    pub problem: u16,
}

/// A coordinate of the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Coordinate {
    what: What,
    /// Different or equal, nothing between.
    pub nominal: bool,
    /// The length scale to expect, in the coordinate's unit.
    pub length: f64,
    /// The coordinate is `(raw - origin) / unit`.
    origin: f64,
    unit: f64,
}

/// What a coordinate measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// A parameter by itself.
    Parameter(Parameter),
    /// The learning rate corrected for batch size and alpha, in decades.
    CorrectedRate,
    /// Binary logarithm of the epochs trained.
    Epochs,
    /// Share of the schedule that is still to come, where the schedule decays.
    Remaining,
}

/// Turns configurations into points.
#[derive(Debug, Clone)]
pub(crate) struct Features {
    coordinates: Vec<Coordinate>,
    lora_prior: bool,
    highest_rank: u32,
}

impl Features {
    pub fn new(space: &SearchSpace, lora_prior: bool) -> Self {
        let highest_rank = highest_rank(space);
        let mut features = Self { coordinates: Vec::new(), lora_prior, highest_rank };
        let varied = space.varied();
        for &parameter in &varied {
            let what = match parameter {
                other if other.row().feature == Feature::Apart => continue,
                Parameter::LearningRate if lora_prior => What::CorrectedRate,
                other => What::Parameter(other),
            };
            features.coordinates.push(Coordinate::new(what, lora_prior));
        }
        features.coordinates.push(Coordinate::new(What::Epochs, lora_prior));
        if (space.axis(Parameter::LrScheduler).values().iter())
            .any(|schedule| schedule.name() != Some(LrScheduler::Constant.name()))
        {
            features.coordinates.push(Coordinate::new(What::Remaining, lora_prior));
        }
        if !lora_prior {
            features.scale_to(space);
        }
        features
    }

    /// Scales every coordinate so that the space fills the unit interval.
    fn scale_to(&mut self, space: &SearchSpace) {
        let draws: Vec<TrialConfig> =
            (0..RANGE_DRAWS).map(|index| sobol::config(space, 0, index)).collect();
        for coordinate in &mut self.coordinates {
            if coordinate.nominal || coordinate.what == What::Remaining {
                continue;
            }
            let mut values: Vec<f64> = draws
                .iter()
                .map(|config| raw(coordinate.what, config, f64::from(config.epochs)))
                .collect();
            if coordinate.what == What::Epochs {
                // Curves begin at the first epoch.
                values.push(0.0);
            }
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            coordinate.origin = low;
            coordinate.unit = if high > low { high - low } else { 1.0 };
        }
    }

    pub fn coordinates(&self) -> &[Coordinate] {
        &self.coordinates
    }

    /// Logarithm of how likely the best configuration is to have this learning rate and this rank,
    /// before any data and up to a constant; 0 without LoRA knowledge.
    pub fn log_prior(&self, config: &TrialConfig) -> f64 {
        if !self.lora_prior {
            return 0.0;
        }
        let decades = corrected_rate(config) - USUAL_RATE.log10();
        let doublings = (f64::from(self.highest_rank) / f64::from(config.rank)).log2().max(0.0);
        -0.5 * ((decades / RATE_SPREAD).powi(2) + (doublings / RANK_SPREAD).powi(2))
    }

    /// With LoRA knowledge: gives the configuration the learning rate at the share `u` of those
    /// that are likely to be the best for it; a normal distribution is close to a logistic one
    /// with its deviation.
    pub fn likely_rate(&self, config: TrialConfig, u: f64) -> TrialConfig {
        if self.lora_prior { likely_rate(config, u) } else { config }
    }

    /// The configuration after `epoch` of its epochs (which may be a fraction).
    pub fn point(&self, config: &TrialConfig, epoch: f64, trial: u32) -> Point {
        let x = self.coordinates.iter().map(|c| (raw(c.what, config, epoch) - c.origin) / c.unit);
        Point { x: x.collect(), trial, problem: 0 }
    }
}

/// About the highest rank of a space; of an unbounded distribution one that few draws exceed.
fn highest_rank(space: &SearchSpace) -> u32 {
    space.sample(&[0.95; Parameter::COUNT]).rank
}

/// The configuration with the learning rate at the share `u` of those that are likely the best.
pub(super) fn likely_rate(config: TrialConfig, u: f64) -> TrialConfig {
    let decades = RATE_SPREAD * 3_f64.sqrt() / std::f64::consts::PI * (u / (1.0 - u)).ln();
    let correction = corrected_rate(&config) - config.learning_rate.log10();
    let learning_rate = 10_f64.powf(USUAL_RATE.log10() + decades - correction);
    TrialConfig { learning_rate, ..config }
}

impl Coordinate {
    fn new(what: What, lora_prior: bool) -> Self {
        let feature = match what {
            What::Parameter(parameter) => Some(parameter.row().feature),
            What::CorrectedRate | What::Epochs | What::Remaining => None,
        };
        let nominal = feature == Some(Feature::Categorical);
        let length = match feature {
            _ if nominal => 1.5,
            _ if what == What::Remaining => 0.5,
            // In the unit interval.
            _ if !lora_prior => 0.5,
            Some(
                Feature::Linear { length }
                | Feature::Doublings { length }
                | Feature::Decades { length, .. },
            ) => length,
            _ => 1.5,
        };
        Self { what, nominal, length, origin: 0.0, unit: 1.0 }
    }
}

/// Whether the learning rate of this schedule depends on the total number of steps.
pub(crate) fn decays(schedule: LrScheduler) -> bool {
    !matches!(schedule, LrScheduler::Constant)
}

/// A coordinate before scaling.
fn raw(what: What, config: &TrialConfig, epoch: f64) -> f64 {
    match what {
        What::CorrectedRate => corrected_rate(config),
        What::Epochs => doublings(epoch),
        What::Remaining if decays(config.lr_scheduler) => {
            (1.0 - epoch / f64::from(config.epochs)).max(0.0)
        }
        What::Remaining => 0.0,
        What::Parameter(parameter) => {
            let x = parameter.row().number(config);
            match parameter.row().feature {
                Feature::Linear { .. } | Feature::Categorical => x,
                Feature::Doublings { .. } => x.log2(),
                Feature::Decades { from, .. } => (x + from).log10(),
                Feature::Apart => 0.0,
            }
        }
    }
}

/// Decades of the learning rate that would do the same at batch size 16 and alpha 32.
fn corrected_rate(config: &TrialConfig) -> f64 {
    let alpha = config.scale() * f64::from(config.rank) / 32.0;
    let batch = f64::from(config.batch_size) / 16.0;
    config.learning_rate.log10() + ALPHA_EXPONENT * alpha.log10() - 0.5 * batch.log10()
}

/// Binary logarithm of the epochs; the first eighth of an epoch is as good as the start.
fn doublings(epoch: f64) -> f64 {
    epoch.max(0.125).log2()
}
