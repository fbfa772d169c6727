//! From the text of a sweep file to a sweep that can be run: defaults, paths, and what only shows
//! when sections are seen together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::BaseSettings;
use crate::error::{Place, SweepError, SweepErrors};
use crate::file::{self, At, DataFile, Findings, SweepFile, ValidationFile};
use crate::hub::HubModel;
use crate::mistake::Mistake;
use crate::parameter::{DEFAULT_SEED, Parameter, ParameterValue};
use crate::resolve_metric;
use crate::settings::{DataSettings, ExecutorKind, ExecutorSettings, ValidationSource};
use crate::space::{Axis, SearchSpace};
use crate::sweep::{Method, Sweep, Warning, WrittenPaths};

/// What lies at a path; the caller of [`resolve`] looks, this crate does no input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// Nothing, or nothing that may be read.
    Missing,
}

/// More combinations than this without a `run_cap` are taken for a mistake.
const MOST_UNCAPPED_TRIALS: u128 = 100_000;

/// Reads and checks a sweep file.
///
/// `text` is its content and `file` its path, which names it in messages; relative paths in it are
/// taken from its folder. `look` tells what lies at a path. All mistakes are listed at once,
/// except that text which is not YAML at all stops at the first.
pub fn resolve(
    text: &str,
    file: &Path,
    look: &dyn Fn(&Path) -> PathKind,
) -> Result<Sweep, SweepErrors> {
    let mut findings = Findings::default();
    let sweep = file::parse(text, &mut findings)
        .and_then(|root| SweepFile::read(&root, &mut findings))
        .and_then(|written| {
            Resolver { file, look, looks: true, findings: &mut findings }.sweep(written)
        });
    let errors = findings
        .mistakes
        .into_iter()
        .map(|at| SweepError::new(file, text, at.place, at.value))
        .collect();
    let warnings = findings.warnings.into_iter().map(|at| Warning {
        file: file.to_owned(),
        line: at.place.line,
        column: at.place.column,
        message: at.value.message,
        hint: Some(at.value.hint),
    });
    match (sweep, SweepErrors::new(errors)) {
        (Some(sweep), None) => Ok(Sweep { warnings: warnings.collect(), ..sweep }),
        (_, Some(errors)) => Err(errors),
        (None, None) => unreachable!("what cannot be read is reported where it is read"),
    }
}

struct Resolver<'a> {
    file: &'a Path,
    look: &'a dyn Fn(&Path) -> PathKind,
    /// The model and the data must lie there: lorasweep itself reads them.
    looks: bool,
    findings: &'a mut Findings,
}

impl Resolver<'_> {
    /// `None` when something needed is missing; that has been reported.
    fn sweep(&mut self, written: SweepFile) -> Option<Sweep> {
        let name = self.name(written.name.as_ref());
        self.looks = written.executor.kind.is_own();
        let named = written.model.as_ref().filter(|_| self.looks);
        let hub = named.and_then(|path| self.hub(path));
        let model = match (&written.model, &hub) {
            // Not a path: whoever runs the sweep puts the folder in its place.
            (Some(name), Some(_)) => Some(name.value.clone()),
            (path, _) => path.as_ref().and_then(|path| self.model(path)),
        };
        let base = self.base(&written);
        let data = written.data.as_ref().and_then(|data| self.data(data));
        let places = written.parameters.places.clone();
        let space = SearchSpace::new(&written.parameters.axes, written.variant);
        if let Some(method) = &written.method {
            let capped = written.has_run_cap;
            self.check_size(method, &space, &places, capped, written.parameters_place);
        }
        self.check_dora(&space, &places);
        if let Some(place) = places.get(&Parameter::Quantization) {
            let is_given = [written.quantization.is_some(), written.base_weights.is_some()];
            self.check_swept_base(*place, is_given);
        }
        let metric = written.metric.and_then(|metric| {
            let dir = self.folder();
            resolve_metric::resolve(metric, &dir, &written.executor.kind, self.findings)
        });
        let warm_start = self.warm_start(written.method.as_ref(), &written.warm_start);
        let early = written.early_terminate;
        if let Some(place) = early.as_ref().and_then(|early| early.promote)
            && written.executor.kind == ExecutorKind::External
        {
            let mistake = Mistake::Conflict {
                both: "`early_terminate.promote` and `executor: {type: external}`".to_owned(),
                help: "remove `promote`: whoever trains elsewhere keeps no checkpoint here"
                    .to_owned(),
            };
            self.findings.mistake::<()>(place, mistake)?;
        }
        let (written_data, model_path) = (written.data?, written.model?.value);
        Some(Sweep {
            name: name?,
            description: written.description,
            method: written.method?.value,
            bayes: written.bayes,
            rank_ladder: written.rank_ladder,
            metric: metric?,
            space,
            model: model?,
            hub,
            base: base?,
            data: data?,
            train: written.train,
            executor: self.executor(written.executor),
            report: written.report,
            promote: early.as_ref().is_some_and(|early| early.promote.is_some()),
            early_terminate: early.map(|early| early.rule),
            run_cap: written.run_cap,
            replicates: written.replicates,
            warm_start: warm_start?,
            seed: written.seed.unwrap_or(DEFAULT_SEED),
            warnings: Vec::new(),
            written: WrittenPaths {
                model: model_path,
                base_weights: written.base_weights.map(|path| path.value),
                warm_start: written.warm_start.into_iter().map(|path| path.value).collect(),
                data: as_written(&written_data),
            },
        })
    }

    fn name(&mut self, written: Option<&At<String>>) -> Option<String> {
        let (name, place) = if let Some(at) = written {
            (at.value.clone(), at.place)
        } else {
            let stem = self.file.file_stem().unwrap_or_default();
            (stem.to_string_lossy().into_owned(), Place { line: 1, column: 1, length: 1 })
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if first && name.chars().all(allowed) && name.len() <= 100 {
            return Some(name);
        }
        self.findings.mistake(place, Mistake::BadName { found: name })
    }

    /// The folders of earlier sweeps, if there is a use for them.
    fn warm_start(
        &mut self,
        method: Option<&At<Method>>,
        written: &[At<PathBuf>],
    ) -> Option<Vec<PathBuf>> {
        let help = "`warm_start` names results folders of sweeps that have ended (results/<name>); \
                    relative paths start at the sweep file's folder";
        if let (Some(first), Some(method)) = (written.first(), method)
            && method.value != Method::Bayes
        {
            let both = format!("`warm_start` and `method: {}`", method.value);
            let help = "only `method: bayes` learns from results".to_owned();
            return self.findings.mistake(first.place, Mistake::Conflict { both, help });
        }
        let looks = std::mem::replace(&mut self.looks, true);
        let found: Vec<Option<PathBuf>> = written
            .iter()
            .map(|path| self.existing("warm_start", path, PathKind::Folder, help))
            .collect();
        self.looks = looks;
        found.into_iter().collect()
    }

    /// The sweep file's folder.
    fn folder(&self) -> PathBuf {
        match self.file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Commands run in the sweep file's folder.
    fn executor(&self, mut executor: ExecutorSettings) -> ExecutorSettings {
        if let ExecutorKind::Command(command) = &mut executor.kind {
            command.dir = self.folder();
        }
        executor
    }

    fn model(&mut self, path: &At<PathBuf>) -> Option<PathBuf> {
        let help = "`model` is the folder of a base model on this machine, with config.json, \
                    tokenizer.json and *.safetensors files, or a model of the Hugging Face hub as \
                    `organisation/name`; relative paths start at the sweep file";
        self.existing("model", path, PathKind::Folder, help)
    }

    /// The form of the base's weights, if it is lorasweep that loads them.
    fn base(&mut self, written: &SweepFile) -> Option<BaseSettings> {
        let (weights, quantization) =
            (written.base_weights.as_ref(), written.quantization.as_ref());
        let place = quantization.map(|at| at.place).or(weights.map(|at| at.place));
        let both = match (weights, quantization) {
            (Some(_), Some(_)) => Some("`base_weights` and `quantization`"),
            (Some(_), None) if !self.looks => Some("`base_weights` and an executor that trains"),
            (None, Some(_)) if !self.looks => Some("`quantization` and an executor that trains"),
            _ => None,
        };
        if let (Some(place), Some(both)) = (place, both) {
            let help = if self.looks {
                "a GGUF file's weights are used as it stores them; keep one of the two"
            } else {
                "another trainer loads the model by itself: tell it in its command"
            };
            let mistake = Mistake::Conflict { both: both.to_owned(), help: help.to_owned() };
            return self.findings.mistake(place, mistake);
        }
        let help = "`base_weights` is a GGUF file of the model whose folder (config.json, \
                    tokenizer.json) `model` names; relative paths start at the sweep file's folder";
        let weights = match weights {
            Some(path) => Some(self.existing("base_weights", path, PathKind::File, help)?),
            None => None,
        };
        Some(BaseSettings { weights, quantization: quantization.map(|at| at.value) })
    }

    /// The parameter `quantization` at `place`, beside what the top level says of the base:
    /// `quantization`, `base_weights`.
    fn check_swept_base(&mut self, place: Place, is_given: [bool; 2]) {
        let (both, help) = match is_given {
            _ if !self.looks => (
                "`parameters.quantization` and an executor that trains",
                "another trainer loads the model by itself: tell it in its command",
            ),
            [true, _] => (
                "`parameters.quantization` and `quantization`",
                "keep the parameter to compare its values, or the top level's for all trials",
            ),
            [_, true] => (
                "`parameters.quantization` and `base_weights`",
                "a GGUF file's weights are used as it stores them; keep one of the two",
            ),
            [false, false] => return,
        };
        let mistake = Mistake::Conflict { both: both.to_owned(), help: help.to_owned() };
        self.findings.mistake::<()>(place, mistake);
    }

    /// The model's name on a hub, where that is meant: a path at which something lies goes before.
    fn hub(&self, path: &At<PathBuf>) -> Option<HubModel> {
        let name = HubModel::parse(path.value.to_str()?)?;
        let resolved = self.file.parent().unwrap_or(Path::new("")).join(&path.value);
        ((self.look)(&resolved) == PathKind::Missing).then_some(name)
    }

    fn data(&mut self, data: &DataFile) -> Option<DataSettings> {
        let train = self.rows("data.train", &data.train);
        let retention = data.retention.as_ref().map(|path| self.rows("data.retention", path));
        let validation = match &data.validation {
            ValidationFile::Fraction(fraction) => Some(ValidationSource::Fraction(*fraction)),
            ValidationFile::Path(path) => {
                let resolved = self.rows("data.validation", path);
                if resolved.is_some() && resolved == train {
                    self.findings
                        .mistake::<()>(path.place, Mistake::SameFile { what: "validation" });
                }
                resolved.map(ValidationSource::File)
            }
        };
        let retention = match retention {
            Some(path) => Some(path?),
            None => None,
        };
        let test = match &data.test {
            Some(path) => Some(self.test_rows(path, train.as_ref(), validation.as_ref())?),
            None => None,
        };
        let (columns, packing) = (data.columns.clone(), data.packing);
        let (train, validation) = (train?, validation?);
        Some(DataSettings { train, validation, retention, test, columns, packing })
    }

    /// Rows that were trained on or chosen by hold nothing out.
    fn test_rows(
        &mut self,
        path: &At<PathBuf>,
        train: Option<&PathBuf>,
        validation: Option<&ValidationSource>,
    ) -> Option<PathBuf> {
        let resolved = self.rows("data.test", path)?;
        let validates =
            matches!(validation, Some(ValidationSource::File(file)) if *file == resolved);
        if train == Some(&resolved) || validates {
            return self.findings.mistake(path.place, Mistake::TestIsSeen);
        }
        Some(resolved)
    }

    fn rows(&mut self, what: &'static str, path: &At<PathBuf>) -> Option<PathBuf> {
        let help = "rows are a file (.jsonl, .json, .csv, .parquet or .txt, also with .gz or .zst \
                    behind), a folder of such files, or a pattern such as `rows/*.jsonl`; relative \
                    paths start at the sweep file's folder";
        let resolved = self.file.parent().unwrap_or(Path::new("")).join(&path.value);
        let found = (self.look)(&resolved);
        // What a pattern matches is seen when the rows are read.
        let is_pattern = path.value.to_string_lossy().contains(['*', '?', '[']);
        if found == PathKind::Folder || (found == PathKind::Missing && is_pattern) {
            return Some(resolved);
        }
        self.existing(what, path, PathKind::File, help)
    }

    /// The path from the sweep file's folder, if the right thing lies there. For other trainers
    /// it may be a name that only they can read.
    fn existing(
        &mut self,
        what: &'static str,
        path: &At<PathBuf>,
        wanted: PathKind,
        help: &'static str,
    ) -> Option<PathBuf> {
        let resolved = self.file.parent().unwrap_or(Path::new("")).join(&path.value);
        let problem = match ((self.look)(&resolved), wanted) {
            (found, wanted) if found == wanted => return Some(resolved),
            (PathKind::Missing, _) if !self.looks => return Some(path.value.clone()),
            (PathKind::Missing, PathKind::Folder) => "there is no such folder",
            (PathKind::Missing, _) => "there is no such file",
            (_, PathKind::Folder) => "this is a file, not a folder",
            (_, _) => "this is a folder, not a file",
        };
        self.findings.mistake(path.place, Mistake::BadPath { what, problem, path: resolved, help })
    }

    /// PEFT drops what `DoRA`'s own copy of the frozen product reads, too: that product would have
    /// to be computed a second time for every trial.
    fn check_dora(&mut self, space: &SearchSpace, places: &BTreeMap<Parameter, Place>) {
        let drops = match space.axis(Parameter::LoraDropout) {
            Axis::Choice(choice) => choice.values().iter().any(|p| *p != ParameterValue::Real(0.0)),
            Axis::Distribution(_) => true,
        };
        if let Some(place) = places.get(&Parameter::UseDora).filter(|_| drops)
            && space.axis(Parameter::UseDora).values().contains(&ParameterValue::Flag(true))
        {
            let mistake = Mistake::Conflict {
                both: "`use_dora` and a `lora_dropout` above 0".to_owned(),
                help: "DoRA is trained without dropout here; set `lora_dropout: 0`, or compare \
                       them in two sweeps"
                    .to_owned(),
            };
            self.findings.mistake::<()>(*place, mistake);
        }
    }

    /// Whether the method and the space fit each other, and the number of trials is meant.
    fn check_size(
        &mut self,
        method: &At<Method>,
        space: &SearchSpace,
        places: &BTreeMap<Parameter, Place>,
        capped: bool,
        whole_space: Place,
    ) {
        let spread =
            Parameter::ALL.into_iter().filter_map(|p| Some((p, space.axis(p).distribution()?)));
        match method.value {
            Method::Grid => {
                for (parameter, distribution) in spread.filter(|(_, d)| d.size().is_none()) {
                    let place = places.get(&parameter).copied().unwrap_or(whole_space);
                    let mistake = Mistake::ContinuousInGrid {
                        what: parameter.to_string(),
                        distribution: distribution.in_words().to_owned(),
                    };
                    self.findings.mistake::<()>(place, mistake);
                }
                self.warn_of_probabilities(space, places);
            }
            Method::Random | Method::Sobol | Method::Bayes => {
                if let (Some((parameter, _)), false) = (spread.into_iter().next(), capped) {
                    let (what, method_name) = (parameter.to_string(), method.value.name());
                    let mistake = Mistake::EndlessDraws { method: method_name, what };
                    self.findings.mistake::<()>(method.place, mistake);
                    return;
                }
            }
            // Its rungs and the trials on each are counted.
            Method::RankLadder => return,
        }
        match space.grid_size() {
            Some(combinations) if combinations > MOST_UNCAPPED_TRIALS && !capped => {
                self.findings.mistake::<()>(whole_space, Mistake::TooManyTrials { combinations });
            }
            _ => {}
        }
    }

    fn warn_of_probabilities(&mut self, space: &SearchSpace, places: &BTreeMap<Parameter, Place>) {
        for (parameter, place) in places {
            if space.axis(*parameter).probabilities().is_some() {
                self.findings.warning(
                    *place,
                    format!("`{parameter}` has probabilities, which a grid does not use"),
                    "a grid tries every value; remove them, or write `method: random`",
                );
            }
        }
    }
}

fn as_written(data: &DataFile) -> DataSettings {
    DataSettings {
        train: data.train.value.clone(),
        validation: match &data.validation {
            ValidationFile::Path(path) => ValidationSource::File(path.value.clone()),
            ValidationFile::Fraction(fraction) => ValidationSource::Fraction(*fraction),
        },
        retention: data.retention.as_ref().map(|path| path.value.clone()),
        test: data.test.as_ref().map(|path| path.value.clone()),
        columns: data.columns.clone(),
        packing: data.packing,
    }
}
