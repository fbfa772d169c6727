//! The sweep file as written.

use std::path::PathBuf;

use super::early_terminate::{self, EarlyTerminateFile};
use super::findings::{At, Findings};
use super::keys;
use super::metric::MetricFile;
use super::parameters::ParametersFile;
use super::scalar;
use super::section::Section;
use super::settings::{self, DataFile, placed};
use super::variant;
use super::words;
use super::yaml::Node;
use crate::base::Quantization;
use crate::error::Place;
use crate::mistake::Mistake;
use crate::settings::{
    BayesSettings, ExecutorSettings, RankLadderSettings, Replicates, ReportSettings, TrainSettings,
};
use crate::sweep::Method;
use crate::variant::LoraVariant;

/// A sweep file as written: sections read and their values checked one by one; paths not looked
/// up, nothing checked across sections. What could not be read is `None` and has been reported.
#[derive(Debug)]
pub(crate) struct SweepFile {
    pub name: Option<At<String>>,
    pub description: Option<String>,
    pub method: Option<At<Method>>,
    pub bayes: BayesSettings,
    pub rank_ladder: RankLadderSettings,
    pub metric: Option<MetricFile>,
    pub parameters: ParametersFile,
    /// The key `parameters`, for mistakes of the whole space.
    pub parameters_place: Place,
    pub early_terminate: Option<EarlyTerminateFile>,
    pub run_cap: Option<u32>,
    /// A `run_cap` is written, even if it is wrong.
    pub has_run_cap: bool,
    pub replicates: Option<Replicates>,
    pub warm_start: Vec<At<PathBuf>>,
    pub seed: Option<u64>,
    pub model: Option<At<PathBuf>>,
    pub base_weights: Option<At<PathBuf>>,
    pub quantization: Option<At<Quantization>>,
    pub data: Option<DataFile>,
    pub train: TrainSettings,
    pub variant: LoraVariant,
    pub executor: ExecutorSettings,
    pub report: ReportSettings,
}

impl SweepFile {
    /// Reads the whole file; `None` when it is not a mapping.
    pub fn read(root: &Node, findings: &mut Findings) -> Option<Self> {
        let top = Section::open("", root, keys::TOP, findings)?;
        let mut parameters = ParametersFile::default();
        let mut parameters_place = top.place;
        if let Some((key, node)) = top.entry("parameters") {
            parameters_place = key.place;
            parameters.read_section(node, findings);
        } else {
            top.require("parameters", "parameters: {rank: [4, 16]}", findings);
        }
        let train = top
            .get("train")
            .and_then(|node| Section::open("train", node, &keys::train(), findings));
        let report =
            top.get("report").and_then(|node| settings::report(node, findings)).unwrap_or_default();
        let executor = top
            .get("executor")
            .and_then(|node| settings::executor(node, findings))
            .unwrap_or_default();
        settings::check_save_strategy(train.as_ref(), &executor, findings);
        let method = top.require("method", "method: grid", findings);
        let model = top.require("model", "model: path/to/base-model", findings);
        let data = top.require("data", "data: {train: data/train.jsonl}", findings);
        Some(Self {
            name: placed(&top, "name", findings, |what, node, findings| {
                scalar::text(what, "a name", node, findings)
            }),
            description: top.read("description", findings, |what, node, findings| {
                scalar::text(what, "a text", node, findings)
            }),
            method: method.and_then(|node| read_method(node, findings)),
            bayes: top
                .get("bayes")
                .and_then(|node| settings::bayes(node, findings))
                .unwrap_or_default(),
            rank_ladder: top
                .get("rank_ladder")
                .and_then(|node| settings::rank_ladder(node, findings))
                .unwrap_or_default(),
            metric: match top.get("metric") {
                Some(node) => MetricFile::read(node, findings),
                None => Some(MetricFile::default()),
            },
            parameters: match &train {
                Some(train) => {
                    parameters.read_fixed(train, findings);
                    parameters
                }
                None => parameters,
            },
            parameters_place,
            early_terminate: top
                .get("early_terminate")
                .and_then(|node| early_terminate::read(node, &report, findings)),
            run_cap: top.whole("run_cap", findings),
            has_run_cap: top.get("run_cap").is_some(),
            replicates: top.get("replicates").and_then(|node| settings::replicates(node, findings)),
            warm_start: top
                .get("warm_start")
                .map_or_else(Vec::new, |node| settings::paths("warm_start", node, findings)),
            seed: top.read("seed", findings, scalar::seed),
            model: model.and_then(|node| settings::path("model", node, findings)),
            base_weights: top
                .get("base_weights")
                .and_then(|node| settings::path("base_weights", node, findings)),
            quantization: placed(&top, "quantization", findings, |what, node, findings| {
                scalar::word(what, "quantization", &words::QUANTIZATIONS, node, findings).flatten()
            }),
            data: data.and_then(|node| settings::data(node, findings)),
            variant: train
                .as_ref()
                .map(|section| variant::read(section, findings))
                .unwrap_or_default(),
            train: train
                .map_or_else(TrainSettings::default, |section| settings::train(&section, findings)),
            executor,
            report,
        })
    }
}

fn read_method(node: &Node, findings: &mut Findings) -> Option<At<Method>> {
    match scalar::word("method", "method", words::METHODS, node, findings)? {
        Some(value) => Some(At { value, place: node.place }),
        None => findings.mistake(
            node.place,
            Mistake::NotAvailable {
                what: "method",
                found: node.raw.clone(),
                instead: "use `grid`, `random`, `sobol`, `bayes` or `rank_ladder`; `hyperband` is a \
                          `type` of `early_terminate`",
            },
        ),
    }
}
