//! The sections `data`, `train`, `executor` and `report`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::executor;
use super::findings::{At, Findings};
use super::keys;
use super::scalar::{self, wrong_type};
use super::section::Section;
use super::words;
use super::yaml::{Key, Node, Value};
use crate::error::Place;
use crate::limits::Limits;
use crate::mistake::Mistake;
use crate::settings::{
    BayesSettings, DataSettings, DeviceChoice, Devices, EvalSettings, ExecutorSettings,
    OptimizerSettings, RankLadderSettings, Replicates, ReportSettings, TrainSettings,
};

/// The section `data`, with paths as written.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub train: At<PathBuf>,
    pub validation: ValidationFile,
    pub retention: Option<At<PathBuf>>,
    pub test: Option<At<PathBuf>>,
    pub columns: BTreeMap<String, String>,
    pub packing: bool,
}

/// Where validation rows come from, as written.
#[derive(Debug)]
pub(crate) enum ValidationFile {
    Path(At<PathBuf>),
    Fraction(f64),
}

/// Share of the training rows that is set aside when the file says nothing of validation.
const DEFAULT_VALIDATION_FRACTION: f64 = 0.1;

pub(crate) fn data(node: &Node, findings: &mut Findings) -> Option<DataFile> {
    let section = Section::open("data", node, keys::DATA, findings)?;
    let train = section.require("train", "train: data/train.jsonl", findings);
    let train = train.and_then(|node| path("data.train", node, findings));
    let validation = validation(&section, findings);
    let retention = section.read("retention", findings, path);
    let test = section.read("test", findings, path);
    let columns = section.get("columns").map(|node| columns(node, findings)).unwrap_or_default();
    let packing = section.read("packing", findings, scalar::truth).unwrap_or(false);
    Some(DataFile { train: train?, validation: validation?, retention, test, columns, packing })
}

/// Our fields with the names that the files have for them.
fn columns(node: &Node, findings: &mut Findings) -> BTreeMap<String, String> {
    let what = "data.columns";
    let Some(section) = Section::open(what, node, &DataSettings::FIELDS, findings) else {
        return BTreeMap::new();
    };
    let read = |(key, node): (&Key, &Node)| {
        let name = scalar::text(&section.full(&key.name), "the name of a column", node, findings)?;
        Some((key.name.clone(), name))
    };
    section.iter().filter_map(read).collect()
}

fn validation(section: &Section, findings: &mut Findings) -> Option<ValidationFile> {
    let (given, fraction) = (section.get("validation"), section.get("validation_fraction"));
    match (given, fraction) {
        (Some(_), Some(node)) => findings.mistake(
            node.place,
            Mistake::Conflict {
                both: "`data.validation` and `data.validation_fraction`".to_owned(),
                help: "keep the file, or the share of the training rows to set aside".to_owned(),
            },
        ),
        (None, None) => Some(ValidationFile::Fraction(DEFAULT_VALIDATION_FRACTION)),
        (None, Some(node)) => share("data.validation_fraction", node, findings),
        (Some(node), None) => match node.value {
            Value::Map(_) => {
                let inner = Section::open("data.validation", node, keys::VALIDATION, findings)?;
                let node = inner.require("fraction", "fraction: 0.1", findings)?;
                share("data.validation.fraction", node, findings)
            }
            Value::Int(_) | Value::Float(_) => share("data.validation", node, findings),
            _ => path("data.validation", node, findings).map(ValidationFile::Path),
        },
    }
}

fn share(what: &str, node: &Node, findings: &mut Findings) -> Option<ValidationFile> {
    scalar::number(what, node, Limits::above(0.0).below(1.0), findings)
        .map(ValidationFile::Fraction)
}

/// A path as written.
pub(crate) fn path(what: &str, node: &Node, findings: &mut Findings) -> Option<At<PathBuf>> {
    let text = scalar::text(what, "a path", node, findings)?;
    if text.is_empty() {
        return findings.mistake(node.place, wrong_type(what, &"a path", node));
    }
    Some(At { value: PathBuf::from(text), place: node.place })
}

/// One path or a list of them.
pub(crate) fn paths(what: &str, node: &Node, findings: &mut Findings) -> Vec<At<PathBuf>> {
    match &node.value {
        Value::List(nodes) => nodes.iter().filter_map(|node| path(what, node, findings)).collect(),
        _ => path(what, node, findings).into_iter().collect(),
    }
}

/// The settings of `train` that all trials share; trial parameters there are read elsewhere.
pub(crate) fn train(section: &Section, findings: &mut Findings) -> TrainSettings {
    let defaults = TrainSettings::default();
    let optimizer = defaults.optimizer;
    TrainSettings {
        max_seq_len: section.whole("max_seq_len", findings).unwrap_or(defaults.max_seq_len),
        micro_batch_size: section.whole("micro_batch_size", findings),
        decay_ratio: section.number("decay_ratio", findings).unwrap_or(defaults.decay_ratio),
        warmup_steps: warmup_steps(section, findings),
        gradient_checkpointing: section.read(
            "gradient_checkpointing",
            findings,
            |what, node, findings| match &node.value {
                Value::Text(word) if word == "auto" => None,
                _ => scalar::truth(what, node, findings),
            },
        ),
        dtype: section
            .read("dtype", findings, |what, node, findings| {
                scalar::word(what, "number format", words::DTYPES, node, findings).flatten()
            })
            .unwrap_or(defaults.dtype),
        divergence_factor: section
            .number("divergence_factor", findings)
            .unwrap_or(defaults.divergence_factor),
        optimizer: OptimizerSettings {
            adam_beta1: section.number("adam_beta1", findings).unwrap_or(optimizer.adam_beta1),
            adam_beta2: section.number("adam_beta2", findings).unwrap_or(optimizer.adam_beta2),
            adam_epsilon: section
                .number("adam_epsilon", findings)
                .unwrap_or(optimizer.adam_epsilon),
            max_grad_norm: max_grad_norm(section, optimizer.max_grad_norm, findings),
        },
        eval: EvalSettings {
            eval_steps: section.whole("eval_steps", findings),
            train_subset: section.whole("eval_train_examples", findings),
        },
        save_strategy: section
            .read("save_strategy", findings, |what, node, findings| {
                scalar::word(what, "strategy", words::SAVE_STRATEGIES, node, findings).flatten()
            })
            .unwrap_or_default(),
    }
}

/// Other trainers keep their adapters themselves: only that of the best evaluation is copied.
pub(crate) fn check_save_strategy(
    train: Option<&Section>,
    executor: &ExecutorSettings,
    findings: &mut Findings,
) {
    let node = train.and_then(|section| section.get("save_strategy"));
    if let Some(node) = node.filter(|_| !executor.kind.is_own()) {
        let mistake = Mistake::Conflict {
            both: "`train.save_strategy` and an `executor` that trains elsewhere".to_owned(),
            help: "remove `save_strategy`: your trainer keeps the adapters, and the one that it \
                   names with its best evaluation is copied"
                .to_owned(),
        };
        findings.mistake::<()>(node.place, mistake);
    }
}

/// Steps of warmup; with a ratio beside them it could not be told which is meant.
fn warmup_steps(section: &Section, findings: &mut Findings) -> Option<u32> {
    let steps = section.whole("warmup_steps", findings)?;
    if section.get("warmup_ratio").is_some() {
        let place = section.get("warmup_steps")?.place;
        let mistake = Mistake::Conflict {
            both: "`train.warmup_steps` and `train.warmup_ratio`".to_owned(),
            help: "keep the number of steps, or the share of all steps".to_owned(),
        };
        return findings.mistake(place, mistake);
    }
    Some(steps)
}

/// `null` and 0 both leave gradients alone, as in transformers.
fn max_grad_norm(section: &Section, default: Option<f64>, findings: &mut Findings) -> Option<f64> {
    let Some((_, node)) = section.entry("max_grad_norm") else { return default };
    if node.value == Value::Null {
        return None;
    }
    let norm = section.number("max_grad_norm", findings)?;
    (norm > 0.0).then_some(norm)
}

pub(crate) fn executor(node: &Node, findings: &mut Findings) -> Option<ExecutorSettings> {
    let section = Section::open("executor", node, &keys::executor(), findings)?;
    let kind = executor::kind(&section, findings);
    let (device, devices) = devices(&section, findings);
    let defaults = ExecutorSettings::default();
    let mut count =
        |key: &'static str, default: u32| section.whole(key, findings).unwrap_or(default);
    Some(ExecutorSettings {
        kind: kind.unwrap_or(defaults.kind),
        device: device.unwrap_or(defaults.device),
        checkpoint_seconds: count("checkpoint_seconds", defaults.checkpoint_seconds),
        max_retries: count("max_retries", defaults.max_retries),
        heartbeat_seconds: count("heartbeat_seconds", defaults.heartbeat_seconds),
        max_consecutive_failures: count(
            "max_consecutive_failures",
            defaults.max_consecutive_failures,
        ),
        devices,
        max_packed: section.whole("max_packed", findings),
        memory_limit: section.read("memory_limit", findings, bytes),
    })
}

/// `device`, and what `devices` says: a number of them, `all`, a list, or one device.
fn devices(section: &Section, findings: &mut Findings) -> (Option<DeviceChoice>, Option<Devices>) {
    let one = section.get("device").and_then(|node| device("executor.device", node, findings));
    let Some(node) = section.get("devices") else { return (one, None) };
    let several = match &node.value {
        Value::Text(text) if text == "all" => Some(Devices::All),
        Value::Int(_) | Value::Float(_) => {
            scalar::whole("executor.devices", node, Limits::whole(1), findings).map(Devices::Count)
        }
        Value::List(items) if items.is_empty() => {
            let what = "executor.devices".to_owned();
            findings.mistake(node.place, Mistake::EmptyList { what })
        }
        Value::List(items) => {
            let list = items.iter().filter_map(|item| device("executor.devices", item, findings));
            Some(Devices::List(list.collect()))
        }
        _ => device("executor.devices", node, findings).map(|one| Devices::List(vec![one])),
    };
    let first = match &several {
        Some(Devices::List(list)) => list.first().copied(),
        _ => None,
    };
    if let (Some(_), Some(_)) = (one, first) {
        let mistake = Mistake::Conflict {
            both: "`executor.device` and `executor.devices`".to_owned(),
            help: "they mean the same; keep one".to_owned(),
        };
        findings.mistake::<()>(node.place, mistake);
    }
    (first.or(one), several)
}

/// A number of bytes with its unit.
fn bytes(what: &str, node: &Node, findings: &mut Findings) -> Option<u64> {
    const UNITS: [(&str, f64); 6] = [
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
    ];
    let text = if let Value::Text(text) = &node.value { text.trim() } else { "" };
    let parsed = UNITS.iter().find_map(|(unit, size)| {
        let number: f64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        (number.is_finite() && number > 0.0).then_some((number * size) as u64)
    });
    match parsed {
        Some(bytes) => Some(bytes),
        None => findings.mistake(
            node.place,
            wrong_type(what, &"a size with its unit, such as `8GiB` or `500MB`", node),
        ),
    }
}

const DEVICE: &str = "`auto`, `cpu` or `cuda:0` (the index of a GPU)";

fn device(what: &str, node: &Node, findings: &mut Findings) -> Option<DeviceChoice> {
    let Value::Text(name) = &node.value else {
        return findings.mistake(node.place, wrong_type(what, &DEVICE, node));
    };
    let index = match name.as_str() {
        "auto" => return Some(DeviceChoice::Auto),
        "cpu" => return Some(DeviceChoice::Cpu),
        "cuda" => return Some(DeviceChoice::Cuda(0)),
        other => other.strip_prefix("cuda:").and_then(|index| index.parse().ok()),
    };
    match index {
        Some(index) => Some(DeviceChoice::Cuda(index)),
        None => findings.mistake(node.place, wrong_type(what, &DEVICE, node)),
    }
}

pub(crate) fn bayes(node: &Node, findings: &mut Findings) -> Option<BayesSettings> {
    let section = Section::open("bayes", node, keys::BAYES, findings)?;
    let defaults = BayesSettings::default();
    let mut truth =
        |key: &str, default: bool| section.read(key, findings, scalar::truth).unwrap_or(default);
    Some(BayesSettings {
        lora_prior: truth("lora_prior", defaults.lora_prior),
        cost_aware: truth("cost_aware", defaults.cost_aware),
    })
}

pub(crate) fn rank_ladder(node: &Node, findings: &mut Findings) -> Option<RankLadderSettings> {
    let section = Section::open("rank_ladder", node, keys::RANK_LADDER, findings)?;
    let defaults = RankLadderSettings::default();
    Some(RankLadderSettings {
        trials_per_rung: section
            .whole("trials_per_rung", findings)
            .unwrap_or(defaults.trials_per_rung),
        sigma: section.number("sigma", findings).unwrap_or(defaults.sigma),
    })
}

/// The number of further seeds, or a section with that and `top`.
pub(crate) fn replicates(node: &Node, findings: &mut Findings) -> Option<Replicates> {
    if !matches!(node.value, Value::Map(_)) {
        let seeds = scalar::whole("replicates", node, Limits::whole(1), findings)?;
        return Some(Replicates { seeds, top: Replicates::TOP });
    }
    let section = Section::open("replicates", node, keys::REPLICATES, findings)?;
    section.require("seeds", "seeds: 2", findings)?;
    Some(Replicates {
        seeds: section.whole("seeds", findings)?,
        top: section.whole("top", findings).unwrap_or(Replicates::TOP),
    })
}

pub(crate) fn report(node: &Node, findings: &mut Findings) -> Option<ReportSettings> {
    let section = Section::open("report", node, keys::REPORT, findings)?;
    let defaults = ReportSettings::default();
    let mut read =
        |key: &'static str, default: f64| section.number(key, findings).unwrap_or(default);
    Some(ReportSettings {
        overfit_sigma: read("overfit_sigma", defaults.overfit_sigma),
        overfit_min_rise: read("overfit_min_rise", defaults.overfit_min_rise),
        overfit_probability: read("overfit_probability", defaults.overfit_probability),
        too_slow_share: read("too_slow_share", defaults.too_slow_share),
        underfit_share: read("underfit_share", defaults.underfit_share),
        forgetting_share: read("forgetting_share", defaults.forgetting_share),
    })
}

/// A key as given, with its place.
pub(crate) fn placed<T>(
    section: &Section,
    key: &str,
    findings: &mut Findings,
    read: impl FnOnce(&str, &Node, &mut Findings) -> Option<T>,
) -> Option<At<T>> {
    let place: Place = section.get(key)?.place;
    section.read(key, findings, read).map(|value| At { value, place })
}
