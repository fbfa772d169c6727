//! A trial's adapter as a folder of its own: PEFT's files, the tokenizer, and where it came from.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use data::{Dataset, PreparedData};
use reporter::Ranking;
use serde_json::{Value, json};
use spec::{BaseSettings, Evaluation, HubModel, SweepState, TrialId, TrialState, TrialStatus};
use store::SweepFolder;

use crate::card::Card;
use crate::error::CliError;
use crate::inputs::{self, Settings};
use crate::rows;

const ADAPTER_CONFIG: &str = "adapter_config.json";
/// Logits of some validation examples, read by `scripts/check_peft.py`.
const LOGITS: &str = "lorasweep_check.safetensors";
/// Says where an export comes from; its presence is what `--force` may replace.
pub const ORIGIN: &str = "lorasweep.json";
/// The adapter in llama.cpp's form.
pub const GGUF: &str = "adapter.gguf";
/// Checksums as `sha256sum -c` reads them.
const CHECKSUMS: &str = "SHA256SUMS";
/// What a whole model needs beside weights and tokenizer.
const MODEL_FILES: [&str; 2] = ["config.json", "generation_config.json"];
/// Copied from the base model, so that the export is complete without it.
const TOKENIZER_FILES: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];

/// In which form an adapter leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A PEFT folder.
    Adapter,
    /// A PEFT folder with llama.cpp's form of it.
    AdapterAndGguf,
    /// A whole model, the adapter merged into its weights.
    Merged,
}

/// What to export, and what it is made of.
pub struct Export<'a> {
    pub folder: &'a SweepFolder,
    pub state: &'a SweepState,
    pub settings: &'a Settings,
    pub trial: TrialId,
    /// As it was at the end of this epoch; `None`: at its best evaluation.
    pub epoch: Option<u32>,
    pub ranking: &'a Ranking,
    pub form: Form,
    /// Hash of the training file, if it is known.
    pub data_sha256: Option<String>,
    /// The tokenised validation rows, when they are to be added.
    pub validation: Option<Dataset>,
}

/// The trial that the report chose; where that left no adapter, the one with the lowest validation
/// loss among those that did.
pub fn best_trial(folder: &SweepFolder, state: &SweepState, ranking: &Ranking) -> Option<TrialId> {
    let choice = ranking.verdict.choice.as_ref().map(|choice| choice.trial);
    let choice = choice.and_then(|choice| state.trials.get(&choice));
    if let Some(choice) = choice.filter(|choice| folder.best_adapter(choice).is_some()) {
        return Some(choice.trial.id);
    }
    state
        .trials
        .values()
        .filter(|trial| folder.best_adapter(trial).is_some())
        .filter_map(|trial| Some((trial.best()?.eval_loss, trial.trial.id)))
        .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
        .map(|(_, id)| id)
}

/// Whether any evaluated trial left an adapter.
pub fn has_adapter(folder: &SweepFolder, state: &SweepState) -> bool {
    state.trials.values().any(|trial| folder.best_adapter(trial).is_some())
}

/// The lowest validation loss so far and whose it is, whether or not its adapter is saved yet.
pub fn best_so_far(state: &SweepState) -> Option<(TrialId, f64)> {
    let best = |trial: &TrialState| Some((trial.trial.id, trial.best()?.eval_loss));
    state.trials.values().filter_map(best).min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)))
}

/// Hash of the training file as it was when the sweep ran.
pub fn data_sha256(identity: &store::Identity) -> Option<String> {
    identity.inputs.get(inputs::TRAINING_DATA)?.sha256.clone()
}

/// The validation rows of a sweep as it was trained on them.
pub fn validation_rows(
    identity: &store::Identity,
    settings: &Settings,
) -> Result<Dataset, CliError> {
    inputs::check_unchanged(identity)?;
    let PreparedData { validation, .. } =
        rows::prepare(&settings.data, &settings.model, &settings.train)?;
    Ok(validation)
}

impl Export<'_> {
    /// Writes the export into the folder `target`, replacing what is there.
    pub fn write(&self, target: &Path) -> Result<(), CliError> {
        let (adapter, evaluation) = self.find()?;
        Ok(store::replace_dir(target, |dir| Ok(self.fill(dir, &adapter, evaluation)?))?)
    }

    fn find(&self) -> Result<(PathBuf, &Evaluation), CliError> {
        let id = self.trial;
        let Some(trial) = self.state.trials.get(&id) else {
            let dir = self.folder.path().to_path_buf();
            return Err(CliError::NoSuchTrial { dir, trial: id });
        };
        if let Some(epoch) = self.epoch {
            return self.find_epoch(trial, epoch);
        }
        let kept = |best: &Evaluation| self.folder.adapter_at(self.state, id, best.step);
        let found = trial.best().and_then(|best| Some((kept(best)?, best)));
        found.ok_or_else(|| CliError::NoAdapter { trial: id, why: why_no_adapter(trial) })
    }

    fn find_epoch<'t>(
        &self,
        trial: &'t TrialState,
        epoch: u32,
    ) -> Result<(PathBuf, &'t Evaluation), CliError> {
        let id = trial.trial.id;
        let ends = trial.evaluations.iter().filter_map(|e| Some((e.whole_epoch()?, e)));
        let ends: Vec<(u32, &Evaluation)> = ends.collect();
        let Some((_, evaluation)) = ends.iter().find(|(end, _)| *end == epoch) else {
            let last = ends.last().map_or(0, |(end, _)| *end);
            return Err(CliError::NoSuchEpoch { trial: id, epoch, last });
        };
        let adapter =
            |evaluation: &Evaluation| self.folder.adapter_at(self.state, id, evaluation.step);
        if let Some(found) = adapter(evaluation) {
            return Ok((found, evaluation));
        }
        let kept = ends.iter().filter(|(_, evaluation)| adapter(evaluation).is_some());
        let kept = kept.map(|(end, _)| *end).collect();
        let best = self.folder.best_adapter(trial).and(trial.best()).map(|best| best.epoch);
        Err(CliError::NoEpochAdapter { trial: id, epoch, kept, best })
    }

    fn fill(&self, dir: &Path, adapter: &Path, evaluation: &Evaluation) -> Result<(), CliError> {
        let base = match self.form {
            Form::Merged => self.fill_merged(dir, adapter)?,
            Form::Adapter | Form::AdapterAndGguf => self.fill_adapter(dir, adapter)?,
        };
        for name in TOKENIZER_FILES {
            let path = self.settings.model.join(name);
            if path.is_file() {
                copy_into(&path, dir)?;
            }
        }
        write_json(&dir.join(ORIGIN), &self.origin(evaluation, &base))?;
        if let Some(rows) = &self.validation {
            self.add_validation(dir, adapter, rows)?;
        }
        let plot = reporter::plot::run_plot(self.state, self.trial, &self.settings.report);
        if let Some(plot) = plot {
            let path = dir.join("training.png");
            fs::write(&path, plot?.png).map_err(CliError::io("write", &path))?;
        }
        let card = self.card(evaluation, &base);
        let path = dir.join("README.md");
        fs::write(&path, card).map_err(CliError::io("write", &path))?;
        write_checksums(dir)
    }

    /// PEFT's files; returns the base model's name.
    fn fill_adapter(&self, dir: &Path, adapter: &Path) -> Result<String, CliError> {
        for path in list(adapter)? {
            copy_into(&path, dir)?;
        }
        let base = self.name_base(&dir.join(ADAPTER_CONFIG))?;
        if self.form == Form::AdapterAndGguf {
            let (model, target) = (&self.settings.model, dir.join(GGUF));
            let name = format!("{} trial {}", self.state.name, self.trial);
            trainer::gguf::write_adapter(model, adapter, &name, &target)
                .map_err(|source| CliError::Model { path: model.clone(), source })?;
        }
        Ok(base)
    }

    /// The base's files with merged weights; returns the base model's name.
    fn fill_merged(&self, dir: &Path, adapter: &Path) -> Result<String, CliError> {
        let model = &self.settings.model;
        trainer::merge::write_merged(model, adapter, dir)
            .map_err(|source| CliError::Model { path: model.clone(), source })?;
        for name in MODEL_FILES {
            let path = model.join(name);
            // Merging has written what depends on the weights.
            if path.is_file() && !dir.join(name).exists() {
                copy_into(&path, dir)?;
            }
        }
        Ok(model.display().to_string())
    }

    fn trial(&self) -> Option<&TrialState> {
        self.state.trials.get(&self.trial)
    }

    /// How the base's weights were held when the trial was trained.
    fn held(&self) -> BaseSettings {
        self.settings.base.in_form(self.trial().and_then(|trial| trial.trial.config.quantization))
    }

    /// Whether an evaluation is the one that the trial is ranked by.
    fn is_best(&self, evaluation: &Evaluation) -> bool {
        let trial = self.trial();
        trial.and_then(TrialState::best).is_some_and(|best| best.step == evaluation.step)
    }

    fn card(&self, evaluation: &Evaluation, base: &str) -> String {
        let facts = Card {
            state: self.state,
            ranking: self.ranking,
            trial: self.trial,
            form: self.form,
            evaluation,
            base,
            held: &self.held(),
            data_sha256: self.data_sha256.as_deref(),
        };
        facts.render()
    }

    /// What another trainer needs to check our losses and logits.
    fn add_validation(&self, dir: &Path, adapter: &Path, rows: &Dataset) -> Result<(), CliError> {
        write_rows(&dir.join("validation_tokens.jsonl"), rows)?;
        let model = &self.settings.model;
        trainer::logits_file::write(&dir.join(LOGITS), model, &self.held(), adapter, rows)
            .map(|_| ())
            .map_err(|source| CliError::Model { path: model.clone(), source })
    }

    /// Makes the base model's path in `adapter_config.json` absolute, so that PEFT finds it from
    /// any folder; a name that is no folder here is one of a model hub and stays.
    fn name_base(&self, path: &Path) -> Result<String, CliError> {
        let text = fs::read_to_string(path).map_err(CliError::io("read", path))?;
        let mut config: Value = serde_json::from_str(&text)
            .map_err(|source| CliError::Json { what: ADAPTER_CONFIG, source })?;
        if let Some(HubModel { repo, revision }) = &self.settings.hub {
            config["base_model_name_or_path"] = repo.clone().into();
            config["revision"] = revision.clone().into();
            write_json(path, &config)?;
            return Ok(repo.clone());
        }
        let named = config["base_model_name_or_path"].as_str().unwrap_or_default();
        let base = if self.settings.model.is_dir() || Path::new(named).is_dir() {
            self.settings.model.display().to_string()
        } else {
            named.to_owned()
        };
        config["base_model_name_or_path"] = base.clone().into();
        write_json(path, &config)?;
        Ok(base)
    }

    fn origin(&self, evaluation: &Evaluation, base: &str) -> Value {
        let trial = self.trial();
        json!({
            "sweep": self.state.name,
            "fingerprint": self.state.fingerprint,
            "trial": self.trial,
            "config": trial.map(|trial| &trial.trial.config),
            "eval_loss": evaluation.eval_loss,
            "eval_loss_stderr": evaluation.eval_loss_stderr,
            "train_loss": evaluation.train_loss,
            "retention_loss": evaluation.retention_loss,
            "step": evaluation.step,
            "epoch": evaluation.epoch,
            "is_best_evaluation": self.is_best(evaluation),
            "base_model": base,
            "base_eval_loss": trial.and_then(|trial| self.state.base_of(trial)).map(|e| e.eval_loss),
            "base_quantization": self.held().quantization,
            "lorasweep": env!("CARGO_PKG_VERSION"),
        })
    }
}

/// One line a file, sorted by name.
fn write_checksums(dir: &Path) -> Result<(), CliError> {
    let mut files = list(dir)?;
    files.sort();
    let mut text = String::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sha256 = store::hash_file(&path)?.sha256.unwrap_or_default();
        let _ = writeln!(text, "{sha256}  {name}");
    }
    let path = dir.join(CHECKSUMS);
    fs::write(&path, text).map_err(CliError::io("write", path))
}

fn why_no_adapter(trial: &TrialState) -> String {
    match (&trial.status, trial.best()) {
        (TrialStatus::Pending, _) => "it has not begun".to_owned(),
        (TrialStatus::Running, _) => {
            "it has not ended; adapters are written when a trial ends".to_owned()
        }
        (TrialStatus::Finished { .. }, None) => "it ended before its first evaluation".to_owned(),
        (TrialStatus::Finished { .. }, Some(_)) => match trial.continues {
            Some(shared) => format!(
                "its losses were read off trial {}, which trained on past its best evaluation \
                 without keeping that adapter",
                shared.trial
            ),
            None => "its adapter folder is gone".to_owned(),
        },
    }
}

fn write_rows(path: &Path, rows: &Dataset) -> Result<(), CliError> {
    let mut text = String::new();
    for example in &rows.examples {
        let mask: Vec<u8> = example.loss_mask.iter().map(|&is_target| is_target.into()).collect();
        text += &json!({ "input_ids": example.input_ids, "loss_mask": mask }).to_string();
        text.push('\n');
    }
    fs::write(path, text).map_err(CliError::io("write", path))
}

fn write_json(path: &Path, value: &Value) -> Result<(), CliError> {
    fs::write(path, format!("{value:#}\n")).map_err(CliError::io("write", path))
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, CliError> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(CliError::io("list", dir))
}

fn copy_into(path: &Path, dir: &Path) -> Result<(), CliError> {
    let target = dir.join(path.file_name().unwrap_or_default());
    fs::copy(path, &target).map(|_| ()).map_err(CliError::io("copy", path))
}
