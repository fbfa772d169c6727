//! The sweep as resolved: checked, complete, nothing left to interpret.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::answer_metrics::AnswerMetrics;
use crate::base::BaseSettings;
use crate::hub::HubModel;
use crate::metric::{Goal, Objective};
use crate::settings::{
    BayesSettings, DataSettings, ExecutorKind, ExecutorSettings, RankLadderSettings, Replicates,
    ReportSettings, TrainSettings, ValidationSource,
};
use crate::space::SearchSpace;

/// A sweep that can be run. Only [`crate::resolve`] makes one, so an invalid sweep never reaches
/// a planner; its parts are public to be read.
///
/// It serialises in full (for `results/<name>/`); [`Sweep::fingerprint`] hashes the part of it
/// that changes results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sweep {
    /// Names the sweep and its folder of results: letters, digits, `-`, `_` and `.` only.
    pub name: String,
    /// What the sweep is for, in the user's words.
    pub description: Option<String>,
    /// How trials are chosen.
    pub method: Method,
    /// Settings of the method `bayes`.
    pub bayes: BayesSettings,
    /// Settings of the method `rank_ladder`.
    pub rank_ladder: RankLadderSettings,
    /// What is compared.
    pub metric: Metric,
    /// The configurations to choose from.
    pub space: SearchSpace,
    /// Folder of the base model; of one on a hub, its name until a folder takes its place.
    pub model: PathBuf,
    /// The base model's name on a hub, if it comes from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubModel>,
    /// In which form its weights are held.
    #[serde(skip_serializing_if = "BaseSettings::is_default")]
    pub base: BaseSettings,
    /// Where the rows come from.
    pub data: DataSettings,
    /// Training settings that all trials share.
    pub train: TrainSettings,
    /// How trials are executed on this machine.
    pub executor: ExecutorSettings,
    /// Thresholds of the diagnosis.
    pub report: ReportSettings,
    /// When a running trial is given up, if ever.
    pub early_terminate: Option<EarlyTerminate>,
    /// A trial that it stopped may go on later, when it compares better with those since.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub promote: bool,
    /// At most this many trials.
    pub run_cap: Option<u32>,
    /// Further runs of the best trials under other seeds; they come on top of `run_cap`.
    pub replicates: Option<Replicates>,
    /// Results folders of earlier sweeps that `method: bayes` learns from.
    pub warm_start: Vec<PathBuf>,
    /// Seeds the choice of trials and the split of the data; a trial's own seed is a parameter.
    pub seed: u64,
    /// What the file leaves open to misunderstanding.
    pub warnings: Vec<Warning>,
    /// The paths as the file has them; what makes the type constructible only by this crate.
    #[serde(skip)]
    pub(crate) written: WrittenPaths,
}

/// Paths as the sweep file has them. The fingerprint takes these, so that it does not depend on
/// the folder from which the program was started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WrittenPaths {
    pub model: PathBuf,
    pub base_weights: Option<PathBuf>,
    pub warm_start: Vec<PathBuf>,
    pub data: DataSettings,
}

impl Sweep {
    /// The bases that trials train on, one for each value of `quantization` where that is a
    /// parameter. The first one is what the sweep is measured against.
    pub fn bases(&self) -> Vec<BaseSettings> {
        self.space.base_forms().into_iter().map(|form| self.base.in_form(form)).collect()
    }

    /// SHA-256 (64 lower-case hexadecimal digits) of the canonical JSON of everything that
    /// changes results. Left out: the description, the warnings, the report's thresholds, how
    /// the executor packs and checkpoints, which adapters are kept, and the replicates, which can
    /// be asked for afterwards. Two sweeps with one fingerprint may share results.
    pub fn fingerprint(&self) -> String {
        hash(&self.what_changes_results())
    }

    /// The same of what cannot change while a sweep continues: who trains what on which rows. Left
    /// out as well: the search space, how trials are chosen from it and stopped, and the device.
    pub fn meaning(&self) -> String {
        let mut identity = self.what_changes_results();
        if let Some(identity) = identity.as_object_mut() {
            identity.retain(|key, _| !MAY_CHANGE.contains(&key.as_str()));
        }
        identity["metric"]["target"].take();
        hash(&identity)
    }

    fn what_changes_results(&self) -> Value {
        let mut identity = serde_json::json!({
            "name": self.name,
            "method": self.method,
            "bayes": (self.method == Method::Bayes).then_some(&self.bayes),
            "rank_ladder": (self.method == Method::RankLadder).then_some(&self.rank_ladder),
            "metric": self.metric,
            "space": self.space,
            "model": self.written.model.to_string_lossy(),
            "data": {
                "train": self.written.data.train.to_string_lossy(),
                "validation": match &self.written.data.validation {
                    ValidationSource::File(path) => Value::from(path.to_string_lossy()),
                    ValidationSource::Fraction(fraction) => Value::from(*fraction),
                },
                "retention": self.written.data.retention.as_ref().map(|p| p.to_string_lossy()),
            },
            "train": self.train,
            "device": self.executor.device,
            "early_terminate": self.early_terminate,
            "run_cap": self.run_cap,
            "seed": self.seed,
        });
        if let Some(train) = identity["train"].as_object_mut() {
            train.remove("save_strategy");
        }
        // Not there at all unless given: sweeps of versions that had no such keys keep theirs.
        if let Some(test) = &self.written.data.test {
            identity["data"]["test"] = test.to_string_lossy().into();
        }
        if self.promote {
            identity["promote"] = true.into();
        }
        if let Some(weights) = &self.written.base_weights {
            identity["base_weights"] = weights.to_string_lossy().into();
        }
        if let Some(quantization) = self.base.quantization {
            identity["quantization"] = quantization.name().into();
        }
        if !self.warm_start.is_empty() {
            let paths = self.written.warm_start.iter().map(|path| path.to_string_lossy());
            identity["warm_start"] = paths.collect();
        }
        match &self.executor.kind {
            ExecutorKind::Local | ExecutorKind::Slurm(_) => {}
            ExecutorKind::Command(command) => {
                identity["command"] = serde_json::json!([
                    command.command.to_string(),
                    command.base_command.as_ref().map(ToString::to_string),
                ]);
            }
            ExecutorKind::External => identity["external"] = true.into(),
        }
        let DataSettings { columns, packing, .. } = &self.written.data;
        if !columns.is_empty() {
            identity["data"]["columns"] = serde_json::json!(columns);
        }
        if *packing {
            identity["data"]["packing"] = true.into();
        }
        identity
    }
}

/// Of what changes results, the settings that may change while a sweep continues.
const MAY_CHANGE: [&str; 7] =
    ["bayes", "rank_ladder", "space", "device", "early_terminate", "promote", "run_cap"];

fn hash(identity: &Value) -> String {
    let mut text = String::new();
    write_canonical(identity, &mut text);
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Writes JSON without white space and with the keys of every object in ascending order, whatever
/// order `serde_json` keeps them in (that is a feature which any crate of a build may switch on).
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// How trials are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Every combination of the listed values.
    Grid,
    /// Independent draws from the parameters' distributions.
    Random,
    /// A scrambled Sobol sequence: draws that leave no gaps.
    Sobol,
    /// A Gaussian process over all that was measured proposes what promises most.
    Bayes,
    /// From the lowest rank upwards, as long as a higher rank pays.
    RankLadder,
}

impl Method {
    /// The name used in sweep files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Random => "random",
            Self::Sobol => "sobol",
            Self::Bayes => "bayes",
            Self::RankLadder => "rank_ladder",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What trials are compared by, and what else is measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Name of the quantity that trials are compared by.
    pub name: String,
    /// The better direction.
    pub goal: Goal,
    /// A trial that reaches this value ends, and no further one is proposed.
    pub target: Option<f64>,
    /// What is measured of answers to validation prompts, by whom lorasweep trains itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswerMetrics>,
}

impl Metric {
    /// What trials are compared by.
    pub fn objective(&self) -> Objective {
        Objective { metric: self.name.clone(), goal: self.goal }
    }
}

/// When a running trial is given up. An iteration is one evaluation; they count from 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EarlyTerminate {
    /// Successive halving at growing iterations, as in W&B.
    Hyperband {
        /// Where the brackets lie.
        brackets: Brackets,
        /// The best `1/eta` of the trials at a bracket go on.
        eta: f64,
        /// Judge a trial by its value at the bracket only, not by its best value up to now.
        strict: bool,
    },
    /// Worse than the median of the other trials at the same iteration.
    Median {
        /// No trial is stopped before it has this many evaluations.
        min_iter: u32,
    },
    /// Unlikely, by the model of all curves, to end among the best.
    Curve {
        /// Among so many.
        top: u32,
        /// A trial is stopped below this probability, in (0, 1).
        chance: f64,
        /// No trial is stopped before it has this many evaluations.
        min_iter: u32,
    },
    /// The level of the validation loss has risen from its own lowest one; see [`ReportSettings`] for
    /// the rule.
    Overfit {
        /// So many consecutive evaluations must show the rise.
        patience: u32,
        /// [`ReportSettings::overfit_probability`] of this sweep.
        probability: f64,
        /// [`ReportSettings::overfit_min_rise`] of this sweep.
        min_rise: f64,
    },
}

impl EarlyTerminate {
    /// At which evaluation it may stop a trial for the first time.
    pub fn first_evaluation(&self) -> u32 {
        match self {
            Self::Hyperband { brackets: Brackets::From { min_iter }, .. }
            | Self::Median { min_iter }
            | Self::Curve { min_iter, .. } => *min_iter,
            Self::Hyperband { brackets: Brackets::Below { max_iter, s }, eta, .. } => {
                let first = f64::from(*max_iter) / eta.powi(*s as i32);
                // Brackets below the first evaluation are left out.
                (first.floor() as u32).max(1)
            }
            // The minimum comes before the rise.
            Self::Overfit { patience, .. } => patience + 1,
        }
    }
}

/// Where hyperband compares trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Brackets {
    /// At `min_iter`, `min_iter * eta`, `min_iter * eta^2`, ... without end.
    From {
        /// The first bracket.
        min_iter: u32,
    },
    /// At `max_iter / eta^s`, ..., `max_iter / eta`, rounded down.
    Below {
        /// The iteration at which trials are expected to end.
        max_iter: u32,
        /// Number of brackets.
        s: u32,
    },
}

/// Something in a sweep file that is allowed but may not be meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The sweep file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What was found and what is made of it.
    pub message: String,
    /// What to write to be explicit.
    pub hint: Option<String>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, hint } = self;
        write!(f, "warning: {message}\n  --> {}:{line}:{column}", file.display())?;
        if let Some(hint) = hint {
            write!(f, "\n   = help: {hint}")?;
        }
        Ok(())
    }
}
