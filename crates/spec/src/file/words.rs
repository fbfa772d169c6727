//! The words that settings take, each with what it means. The reader finds values by them, and the
//! schema lists them.

use crate::answer_metrics::{Ignored, MeasureEvery, Score};
use crate::base::Quantization;
use crate::limits::Limits;
use crate::metric::Goal;
use crate::settings::{Dtype, SaveStrategy};
use crate::sweep::Method;
use crate::variant::InitLoraWeights;

/// Words with their meanings.
pub(crate) type Words<T> = &'static [(&'static str, T)];

/// `method`; `None`: known from W&B, but not available.
pub(crate) const METHODS: Words<Option<Method>> = &[
    ("grid", Some(Method::Grid)),
    ("random", Some(Method::Random)),
    ("sobol", Some(Method::Sobol)),
    ("bayes", Some(Method::Bayes)),
    ("rank_ladder", Some(Method::RankLadder)),
    ("custom", None),
    ("hyperband", None),
];

/// A metric that is known by name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MetricWord {
    EvalLoss,
    /// A score of answers, with its usual settings.
    Score(fn() -> Score),
}

/// `metric.name`; those that are not available say what to write.
pub(crate) const METRICS: Words<Result<MetricWord, &'static str>> = &[
    ("eval_loss", Ok(MetricWord::EvalLoss)),
    ("exact_match", Ok(MetricWord::Score(|| Score::ExactMatch { normalise: NOTHING }))),
    ("contains", Ok(MetricWord::Score(|| Score::Contains { normalise: NOTHING }))),
    (
        "regex_match",
        Ok(MetricWord::Score(|| Score::RegexMatch { pattern: String::new(), normalise: NOTHING })),
    ),
    ("number_match", Ok(MetricWord::Score(|| Score::NumberMatch { tolerance: 0.0 }))),
    ("token_f1", Ok(MetricWord::Score(|| Score::TokenF1 { normalise: Ignored::SQUAD }))),
    ("rouge_l", Ok(MetricWord::Score(|| Score::RougeL))),
    ("chrf", Ok(MetricWord::Score(|| Score::Chrf))),
    ("json_match", Ok(MetricWord::Score(|| Score::JsonMatch { fields: Vec::new() }))),
    ("tool_call_match", Ok(MetricWord::Score(|| Score::ToolCallMatch))),
    (
        "perplexity",
        Err("use `eval_loss`: perplexity is exp(eval_loss), and orders trials as it does"),
    ),
    ("choice_accuracy", Err("use `exact_match` or `regex_match` on what is generated")),
];

const NOTHING: Ignored =
    Ignored { case: false, blanks: false, punctuation: false, articles: false };

/// The metric of a name.
pub(crate) fn metric(name: &str) -> Option<MetricWord> {
    METRICS.iter().find(|(word, _)| *word == name).and_then(|(_, metric)| metric.ok())
}

/// The names of the metrics that are available.
pub(crate) fn metrics() -> Vec<&'static str> {
    METRICS.iter().filter(|(_, metric)| metric.is_ok()).map(|(word, _)| *word).collect()
}

/// `metric.goal`.
pub(crate) const GOALS: Words<Goal> = &[("minimize", Goal::Minimize), ("maximize", Goal::Maximize)];

/// `metric.every`.
pub(crate) const EVERY: Words<MeasureEvery> = &[
    ("evaluation", MeasureEvery::Evaluation),
    ("epoch", MeasureEvery::Epoch),
    ("best", MeasureEvery::Best),
];

/// `metric.normalise` as one word.
pub(crate) const NORMALISERS: Words<Ignored> = &[("none", NOTHING), ("squad", Ignored::SQUAD)];

/// Something that two texts may differ in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Difference {
    Case,
    Blanks,
    Punctuation,
    Articles,
}

/// `metric.normalise` as a list.
pub(crate) const IGNORED: Words<Difference> = &[
    ("case", Difference::Case),
    ("blanks", Difference::Blanks),
    ("punctuation", Difference::Punctuation),
    ("articles", Difference::Articles),
];

/// `quantization` at the top level.
pub(crate) const QUANTIZATIONS: [(&str, Option<Quantization>); Quantization::ALL.len()] = {
    let mut words = [("", None); Quantization::ALL.len()];
    let mut i = 0;
    while i < words.len() {
        words[i] = (Quantization::ALL[i].name(), Some(Quantization::ALL[i]));
        i += 1;
    }
    words
};

/// `train.dtype`.
pub(crate) const DTYPES: Words<Option<Dtype>> = &[
    ("auto", Some(Dtype::Auto)),
    ("f32", Some(Dtype::F32)),
    ("float32", Some(Dtype::F32)),
    ("fp32", Some(Dtype::F32)),
    ("bf16", Some(Dtype::Bf16)),
    ("bfloat16", Some(Dtype::Bf16)),
];

/// `train.save_strategy`.
pub(crate) const SAVE_STRATEGIES: Words<Option<SaveStrategy>> =
    &[("best", Some(SaveStrategy::Best)), ("epoch", Some(SaveStrategy::Epoch))];

/// `train.init_lora_weights`; `None`: known from PEFT, but not available.
pub(crate) const INITIALISATIONS: Words<Option<InitLoraWeights>> = &[
    ("default", Some(InitLoraWeights::Default)),
    ("orthogonal", Some(InitLoraWeights::Orthogonal)),
    ("pissa", None),
    ("gaussian", None),
    ("eva", None),
    ("olora", None),
    ("loftq", None),
];

/// A kind of early stop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EarlyStop {
    Hyperband,
    Median,
    Overfit,
    Curve,
}

/// `early_terminate.type`; `None`: known from W&B, but not available.
pub(crate) const EARLY_STOPS: Words<Option<EarlyStop>> = &[
    ("hyperband", Some(EarlyStop::Hyperband)),
    ("asha", Some(EarlyStop::Hyperband)),
    ("median", Some(EarlyStop::Median)),
    ("overfit", Some(EarlyStop::Overfit)),
    ("curve", Some(EarlyStop::Curve)),
    ("envelope", None),
];

/// Who trains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Executor {
    Local,
    Command,
    External,
    Slurm,
}

/// `executor.type`.
pub(crate) const EXECUTORS: Words<Option<Executor>> = &[
    ("local", Some(Executor::Local)),
    ("command", Some(Executor::Command)),
    ("external", Some(Executor::External)),
    ("slurm", Some(Executor::Slurm)),
];

/// A distribution's name in W&B sweeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum DistributionName {
    /// A value; not a range.
    Constant,
    /// Listed values; not a range.
    Listed,
    IntUniform,
    Uniform,
    /// `min` and `max` are exponents of e.
    LogUniform,
    /// `min` and `max` are values.
    LogUniformValues,
    /// `min` and `max` are exponents of 1/x.
    InvLogUniform,
    Normal,
    LogNormal,
    NotAvailable,
}

impl DistributionName {
    /// What its `min` and `max` may be; `None`: it has none.
    pub const fn ends(self) -> Option<Limits> {
        match self {
            Self::IntUniform => Some(Limits::EXACT),
            Self::Uniform => Some(Limits::ANY),
            Self::LogUniformValues => Some(Limits::above(0.0)),
            // Exponents of e whose powers are doubles.
            Self::LogUniform | Self::InvLogUniform => Some(Limits::from(-700.0).to(700.0)),
            Self::Constant | Self::Listed | Self::Normal | Self::LogNormal | Self::NotAvailable => {
                None
            }
        }
    }
}

/// Every name of a distribution, what it is, and whether its values are rounded to multiples of `q`.
pub(crate) const DISTRIBUTIONS: Words<(DistributionName, bool)> = &[
    ("constant", (DistributionName::Constant, false)),
    ("categorical", (DistributionName::Listed, false)),
    ("int_uniform", (DistributionName::IntUniform, false)),
    ("uniform", (DistributionName::Uniform, false)),
    ("q_uniform", (DistributionName::Uniform, true)),
    ("log_uniform", (DistributionName::LogUniform, false)),
    ("log_uniform_values", (DistributionName::LogUniformValues, false)),
    ("q_log_uniform", (DistributionName::LogUniform, true)),
    ("q_log_uniform_values", (DistributionName::LogUniformValues, true)),
    ("inv_log_uniform", (DistributionName::InvLogUniform, false)),
    // log(1/x) uniform between log(1/max) and log(1/min) is log(x) uniform between min and max.
    ("inv_log_uniform_values", (DistributionName::LogUniformValues, false)),
    ("normal", (DistributionName::Normal, false)),
    ("q_normal", (DistributionName::Normal, true)),
    ("log_normal", (DistributionName::LogNormal, false)),
    ("q_log_normal", (DistributionName::LogNormal, true)),
    ("beta", (DistributionName::NotAvailable, false)),
    ("q_beta", (DistributionName::NotAvailable, true)),
    ("categorical_w_probabilities", (DistributionName::Listed, false)),
];

/// The words that are available.
pub(crate) fn available<T>(words: &[(&'static str, Option<T>)]) -> Vec<&'static str> {
    words.iter().filter(|(_, meaning)| meaning.is_some()).map(|(word, _)| *word).collect()
}

/// The words themselves.
pub(crate) fn all<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
    words.iter().map(|(word, _)| *word).collect()
}

/// The names of the distributions that fit `which`.
pub(crate) fn distributions(which: impl Fn(DistributionName, bool) -> bool) -> Vec<&'static str> {
    let fits = DISTRIBUTIONS.iter().filter(|(_, (name, rounded))| which(*name, *rounded));
    fits.map(|(word, _)| *word).collect()
}
