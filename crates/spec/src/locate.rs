//! From a configuration back to a point of the unit cube (the inverse of [`SearchSpace::sample`]),
//! and to configurations that people would write.

use crate::distribution::Distribution;
use crate::parameter::Parameter;
use crate::space::{Choice, Numeric, SearchSpace};
use crate::trial::TrialConfig;
use crate::variant::LoraVariant;

impl SearchSpace {
    /// The shares, one a parameter in the order of [`Parameter::ALL`], at which
    /// [`Self::sample`] gives `config`, or what lies nearest to it in this space. Listed values
    /// have the middle of their range of shares; numbers are compared by their ratio.
    pub fn shares_of(&self, config: &TrialConfig) -> [f64; Parameter::COUNT] {
        let mut shares = [0.5; Parameter::COUNT];
        let mut set = |parameter: Parameter, share: f64| shares[parameter.index()] = share;
        let alpha = |listed: &crate::Alpha| apart(listed.at_rank(config.rank), config.lora_alpha);
        set(Parameter::Rank, number(&self.rank, f64::from(config.rank)));
        set(Parameter::LoraAlpha, self.lora_alpha.share_by(config.lora_alpha, alpha));
        set(Parameter::LoraDropout, number(&self.lora_dropout, config.lora_dropout));
        set(Parameter::UseRslora, self.use_rslora.share_of(&config.use_rslora));
        set(Parameter::TargetModules, self.target_modules.share_of(&config.target_modules));
        set(Parameter::LearningRate, number(&self.learning_rate, config.learning_rate));
        set(Parameter::BatchSize, number(&self.batch_size, f64::from(config.batch_size)));
        set(Parameter::Epochs, number(&self.epochs, f64::from(config.epochs)));
        set(Parameter::LrScheduler, self.lr_scheduler.share_of(&config.lr_scheduler));
        set(Parameter::WarmupRatio, number(&self.warmup_ratio, config.warmup_ratio));
        set(Parameter::WeightDecay, number(&self.weight_decay, config.weight_decay));
        let seed = |listed: &u64| apart(*listed as f64, config.seed as f64);
        set(Parameter::Seed, self.seed.share_by(config.seed as f64, seed));
        let ratio = config.variant.loraplus_lr_ratio;
        set(Parameter::LoraplusLrRatio, number(&self.loraplus_lr_ratio, ratio));
        set(Parameter::UseDora, self.use_dora.share_of(&config.variant.use_dora));
        set(Parameter::Quantization, self.quantization.share_of(&config.quantization));
        shares
    }

    /// What lies nearest to `config` in this space, readable.
    pub fn nearest(&self, config: &TrialConfig) -> TrialConfig {
        self.readable(self.sample(&self.shares_of(config)))
    }

    /// Rounds the continuous settings of a configuration to three digits, where the space allows
    /// it: nobody wants to type a learning rate of 0.000213748.
    pub fn readable(&self, config: TrialConfig) -> TrialConfig {
        let round = |parameter: Parameter, x: f64| {
            let Some(distribution) = self.axis(parameter).distribution() else { return x };
            if distribution.size().is_some() || distribution.q.is_some() {
                return x;
            }
            let rounded: f64 = format!("{x:.2e}").parse().unwrap_or(x);
            let (low, high) =
                distribution.range().unwrap_or((distribution.lowest, distribution.highest));
            if (low..=high).contains(&rounded) { rounded } else { x }
        };
        TrialConfig {
            learning_rate: round(Parameter::LearningRate, config.learning_rate),
            lora_dropout: round(Parameter::LoraDropout, config.lora_dropout),
            warmup_ratio: round(Parameter::WarmupRatio, config.warmup_ratio),
            weight_decay: round(Parameter::WeightDecay, config.weight_decay),
            variant: LoraVariant {
                loraplus_lr_ratio: round(
                    Parameter::LoraplusLrRatio,
                    config.variant.loraplus_lr_ratio,
                ),
                ..config.variant
            },
            ..config
        }
    }
}

/// The share of a number on a numeric axis.
fn number<T: Clone + Into<f64>>(axis: &Numeric<T>, x: f64) -> f64 {
    axis.share_by(x, |listed| apart(listed.clone().into(), x))
}

impl<T> Numeric<T> {
    /// The share of `x`, where `distance` tells how far a listed value is from it.
    fn share_by(&self, x: f64, distance: impl Fn(&T) -> f64) -> f64 {
        match self {
            Self::Choice(choice) => choice.share_by(distance),
            Self::Distribution(distribution) => share_in(distribution, x),
        }
    }
}

impl<T: PartialEq> Choice<T> {
    fn share_of(&self, value: &T) -> f64 {
        self.share_by(|listed| f64::from(u8::from(listed != value)))
    }
}

impl<T> Choice<T> {
    /// The middle of the shares of the listed value that is nearest, the first of equals.
    fn share_by(&self, distance: impl Fn(&T) -> f64) -> f64 {
        let distances = self.values().iter().map(distance).enumerate();
        let (index, _) = distances.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
        let (before, own) = self.share_range(index);
        before + own / 2.0
    }
}

/// How far two numbers are from each other: by their ratio where both are above 0.
fn apart(a: f64, b: f64) -> f64 {
    if a > 0.0 && b > 0.0 { (a / b).ln().abs() } else { (a - b).abs() }
}

/// Bisects for the middle of the shares that give `x`, since a quantile function never falls.
fn share_in(distribution: &Distribution, x: f64) -> f64 {
    let bisect = |is_below: &dyn Fn(f64) -> bool| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if is_below(distribution.quantile(middle)) {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    };
    f64::midpoint(bisect(&|value| value < x), bisect(&|value| value <= x))
}
