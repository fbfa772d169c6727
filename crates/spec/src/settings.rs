//! Settings of a sweep that all of its trials share, resolved and checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::command::CommandTemplate;
use crate::slurm::SlurmSettings;

/// Where the rows come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSettings {
    /// Training rows: a file, a folder of files, or a pattern such as `rows/*.jsonl`.
    pub train: PathBuf,
    /// Validation rows.
    pub validation: ValidationSource,
    /// Rows the base model already handles; their loss shows forgetting.
    pub retention: Option<PathBuf>,
    /// Held-out rows that nothing is chosen by; evaluated once, with the chosen adapter.
    #[serde(default)]
    pub test: Option<PathBuf>,
    /// Names that the files have for our fields: `prompt` -> `question`. Where it is not empty, a
    /// row is made of these columns alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// Whether rows of plain text are joined, and cut, into sequences of `max_seq_len` tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub packing: bool,
}

impl DataSettings {
    /// The fields that rows are made of: what `columns` may name.
    pub const FIELDS: [&str; 14] = [
        "messages",
        "conversations",
        "prompt",
        "completion",
        "instruction",
        "input",
        "output",
        "text",
        "chosen",
        "rejected",
        "system",
        "tools",
        "history",
        "label",
    ];

    /// Settings that name nothing but the training rows and what validates them.
    pub fn new(train: impl Into<PathBuf>, validation: ValidationSource) -> Self {
        Self {
            train: train.into(),
            validation,
            retention: None,
            test: None,
            columns: BTreeMap::new(),
            packing: false,
        }
    }
}

/// Where validation rows come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidationSource {
    /// A file of its own; also a folder or a pattern.
    File(PathBuf),
    /// This share of the training rows, in `(0, 1)`, chosen by content hash.
    Fraction(f64),
}

/// `AdamW`'s constants (Loshchilov & Hutter 2019, arXiv:1711.05101), named as in transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OptimizerSettings {
    /// Decay of the first moment.
    pub adam_beta1: f64,
    /// Decay of the second moment.
    pub adam_beta2: f64,
    /// Added to the root of the second moment.
    pub adam_epsilon: f64,
    /// Gradients are scaled down to this global norm; `None` leaves them alone.
    pub max_grad_norm: Option<f64>,
}

impl Default for OptimizerSettings {
    fn default() -> Self {
        Self { adam_beta1: 0.9, adam_beta2: 0.999, adam_epsilon: 1e-8, max_grad_norm: Some(1.0) }
    }
}

/// When and on what to evaluate. Every epoch's end is always an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalSettings {
    /// Additionally evaluate every this many optimizer steps.
    pub eval_steps: Option<u32>,
    /// Size of the fixed training subset on which the train loss of the gap is measured;
    /// `None`: as many rows as the validation set has.
    pub train_subset: Option<u32>,
}

/// Number format of the frozen base and of the activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// bf16 where the device computes in it, else f32.
    Auto,
    /// 32-bit floats.
    F32,
    /// bfloat16 base and activations; adapters and optimizer stay f32.
    Bf16,
}

/// Which adapters of a trial are kept, named as in transformers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveStrategy {
    /// That of its best evaluation.
    #[default]
    Best,
    /// Also that of each epoch's end.
    Epoch,
}

/// Training settings shared by all trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainSettings {
    /// Longest sequence in tokens; longer rows are cut and counted.
    pub max_seq_len: u32,
    /// Sequences per forward pass; a larger `batch_size` accumulates gradients over several.
    /// `None`: chosen by the engine.
    pub micro_batch_size: Option<u32>,
    /// Share of the steps at the end in which `warmup_stable_decay` decays, in `(0, 1]`.
    pub decay_ratio: f64,
    /// Optimizer steps of linear warmup, whatever the number of epochs; it replaces the trials'
    /// `warmup_ratio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u32>,
    /// Recompute activations in the backward pass instead of keeping them; `None`: only where
    /// memory is short.
    pub gradient_checkpointing: Option<bool>,
    /// Number format of base and activations.
    pub dtype: Dtype,
    /// A trial has diverged when its train loss stays above this many times the base model's.
    pub divergence_factor: f64,
    /// Optimizer constants.
    pub optimizer: OptimizerSettings,
    /// Evaluation cadence.
    pub eval: EvalSettings,
    /// Which adapters are kept.
    #[serde(default)]
    pub save_strategy: SaveStrategy,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            max_seq_len: 1024,
            micro_batch_size: None,
            decay_ratio: 0.2,
            warmup_steps: None,
            gradient_checkpointing: None,
            dtype: Dtype::Auto,
            divergence_factor: 2.0,
            optimizer: OptimizerSettings::default(),
            eval: EvalSettings { eval_steps: None, train_subset: None },
            save_strategy: SaveStrategy::Best,
        }
    }
}

/// A device to train on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceChoice {
    /// The first GPU when there is one and the binary can use it, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU with this index.
    Cuda(u32),
}

/// Several devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Devices {
    /// So many of the kind that `device` says: GPUs, or workers that share the CPU's cores.
    Count(u32),
    /// Every GPU that is visible; the CPU where there is none.
    All,
    /// These.
    List(Vec<DeviceChoice>),
}

/// Who trains the trials.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExecutorKind {
    /// lorasweep itself, on this machine.
    #[default]
    Local,
    /// lorasweep itself, as jobs of a Slurm cluster that shares the results folder with this machine.
    Slurm(Box<SlurmSettings>),
    /// A command for each trial.
    Command(CommandSettings),
    /// Whoever asks for trials with `lorasweep ask` and gives their results with `tell`.
    External,
}

impl ExecutorKind {
    /// What is asked of a Slurm cluster, if workers are its jobs.
    pub const fn slurm(&self) -> Option<&SlurmSettings> {
        match self {
            Self::Slurm(settings) => Some(settings),
            _ => None,
        }
    }

    /// Whether lorasweep trains: if not, the base model and the data are names that it passes on.
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Local | Self::Slurm(_))
    }
}

/// How a command trains a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandSettings {
    /// What the shell runs for a trial.
    pub command: CommandTemplate,
    /// What it runs for the untouched base model; `None`: its losses are not known.
    pub base_command: Option<CommandTemplate>,
    /// Where it runs: the sweep file's folder.
    pub dir: PathBuf,
    /// Trials at a time.
    pub max_parallel: u32,
    /// Seconds between asking a command to end and ending it.
    pub grace_seconds: u32,
}

/// How trials are executed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutorSettings {
    /// Who trains.
    #[serde(default)]
    pub kind: ExecutorKind,
    /// The device to use.
    pub device: DeviceChoice,
    /// Trials that train in the same step; `None`: chosen from the model's size.
    pub max_packed: Option<u32>,
    /// Seconds between checkpoints of a running trial.
    pub checkpoint_seconds: u32,
    /// Bytes that a worker may take on the CPU; `None`: what is free.
    pub memory_limit: Option<u64>,
    /// Several devices, each with a worker process and a base model of its own; `None`: `device`
    /// alone.
    pub devices: Option<Devices>,
    /// How often a trial is tried again after its worker died, as long as it gets no further.
    pub max_retries: u32,
    /// A worker that gives no sign of life for so many seconds is ended.
    pub heartbeat_seconds: u32,
    /// So many trials that fail one after another end the sweep: the cause is likely not theirs.
    pub max_consecutive_failures: u32,
}

impl Default for ExecutorSettings {
    fn default() -> Self {
        Self {
            kind: ExecutorKind::Local,
            device: DeviceChoice::Auto,
            max_packed: None,
            checkpoint_seconds: 60,
            memory_limit: None,
            devices: None,
            max_retries: 2,
            heartbeat_seconds: 900,
            max_consecutive_failures: 3,
        }
    }
}

/// Thresholds of the diagnosis; see the reporter's `diagnose` module for the rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportSettings {
    /// Differences of losses count from so many of their standard errors on: that a run was still
    /// falling, or that another one got further.
    pub overfit_sigma: f64,
    /// Overfit: the level of the validation loss rose above its lowest one by at least this share
    /// of it ...
    pub overfit_min_rise: f64,
    /// ... with at least this probability. Absent in sweeps that were launched before it was a
    /// setting.
    #[serde(default = "ReportSettings::likely")]
    pub overfit_probability: f64,
    /// Too slow: the run took back less than this share of the best run's improvement over the
    /// base model while its loss was still falling at the end.
    pub too_slow_share: f64,
    /// Underfit: the run took back less than this share of the best run's improvement although
    /// its loss had levelled off.
    pub underfit_share: f64,
    /// Forgetting: the retention loss rose by more than this share of the base model's.
    pub forgetting_share: f64,
}

impl ReportSettings {
    /// What [`Self::overfit_probability`] is by default: more likely than not.
    pub(crate) const fn likely() -> f64 {
        0.5
    }
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self {
            overfit_sigma: 2.0,
            overfit_min_rise: 0.01,
            overfit_probability: Self::likely(),
            too_slow_share: 0.8,
            underfit_share: 0.8,
            forgetting_share: 0.1,
        }
    }
}

/// What `method: bayes` may use besides the trials' results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BayesSettings {
    /// Use what is known of LoRA in general: features that correct the learning rate for the
    /// batch size and for alpha, and a weak expectation that the data overrule.
    pub lora_prior: bool,
    /// Weigh the expected improvement of a trial against its predicted time.
    pub cost_aware: bool,
}

impl Default for BayesSettings {
    fn default() -> Self {
        Self { lora_prior: true, cost_aware: false }
    }
}

/// Runs of the best trials under other seeds, once the search is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicates {
    /// Further runs of each of them.
    pub seeds: u32,
    /// How many of the best trials are run again.
    pub top: u32,
}

impl Replicates {
    /// How many of the best are run again by default: as many as a person would look at.
    pub const TOP: u32 = 3;
}

/// How `method: rank_ladder` climbs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankLadderSettings {
    /// Trials at each rank, all else re-tuned near the last best.
    pub trials_per_rung: u32,
    /// A higher rank must lower the validation loss by more than this many standard errors.
    pub sigma: f64,
}

impl Default for RankLadderSettings {
    fn default() -> Self {
        Self { trials_per_rung: 4, sigma: 1.0 }
    }
}
