//! A trial's adapter as a folder of its own: PEFT's files, the tokenizer, and where it came from.

mod base;
mod card;
mod files;
mod merged;
pub mod options;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use data::{Dataset, PreparedData};
use reporter::Ranking;
use serde_json::{Value, json};
use spec::{BaseSettings, Evaluation, HubModel, SweepState, TrialId, TrialState, TrialStatus};
use store::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterCheck, Identity, SweepFolder, TOKENIZER_FILES,
};

use self::card::Card;
use crate::error::Error;
use crate::inputs::rows;
use crate::inputs::{self, Settings};

pub use merged::Merged;

use base::BaseName;
use files::{
    BaseFiles, CARD, CHAT_TEMPLATE, GGUF, LOGITS, MODEL_FILES, ORIGIN, OURS, PLOT, Unverified,
    VALIDATION,
};

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
    pub identity: &'a Identity,
    /// The tokenised validation rows, when they are to be added.
    pub validation: Option<Dataset>,
    /// Why the base's weights are not known to be those of the sweep, where that was looked at.
    pub other_weights: Option<String>,
}

/// The trial that the report chose; where that left no adapter, the best one by the sweep's metric
/// among those that did.
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
        .filter_map(|trial| Some((trial.best()?, trial.trial.id)))
        .min_by(|a, b| state.objective.compare(a.0, b.0).then(a.1.cmp(&b.1)))
        .map(|(_, id)| id)
}

/// What to say where `trial`, which [`best_trial`] gave, is not the one that the report chose although
/// that one has ended and should have left its adapter.
pub fn instead_of_choice(state: &SweepState, ranking: &Ranking, trial: TrialId) -> Option<String> {
    let choice = ranking.verdict.choice.as_ref()?.trial;
    let chosen = state.trials.get(&choice).filter(|_| choice != trial)?;
    matches!(chosen.status, TrialStatus::Finished { .. }).then(|| {
        format!(
            "trial {choice}, which the report chose, has no adapter ({}): this is the adapter of \
             trial {trial}, which has the best {} among those that have one",
            why_no_adapter(chosen),
            state.objective.in_words()
        )
    })
}

/// Whether any evaluated trial left an adapter.
pub fn has_adapter(folder: &SweepFolder, state: &SweepState) -> bool {
    state.trials.values().any(|trial| folder.best_adapter(trial).is_some())
}

/// The best evaluation so far by the sweep's metric and whose it is, whether or not its adapter is
/// saved yet.
pub fn best_so_far(state: &SweepState) -> Option<(TrialId, &Evaluation)> {
    let trials = state.trials.values();
    let evaluated = trials.filter_map(|trial| Some((trial.trial.id, trial.best()?)));
    evaluated.min_by(|a, b| state.objective.compare(a.1, b.1).then(a.0.cmp(&b.0)))
}

/// The validation rows of a sweep as it was trained on them.
pub fn validation_rows(identity: &Identity, settings: &Settings) -> Result<Dataset, Error> {
    inputs::check_unchanged(identity)?;
    let PreparedData { validation, .. } =
        rows::prepare(&settings.data, &settings.model, &settings.train)?;
    Ok(validation)
}

/// An export while it is written.
struct Draft<'a> {
    dir: &'a Path,
    /// Where the trial's adapter lies, verified.
    adapter: &'a Path,
    evaluation: &'a Evaluation,
    base: BaseName,
    check: AdapterCheck,
    unverified: Unverified,
    warnings: Vec<String>,
}

/// What there is to say of an export that was written.
#[derive(Debug, Default)]
pub struct Written {
    /// How a merged model compares with base and adapter.
    pub merged: Option<Merged>,
    /// What is not as it should be.
    pub warnings: Vec<String>,
}

impl Export<'_> {
    /// Writes the export into the folder `target`, replacing what an earlier one wrote there, unless
    /// that was changed since.
    pub fn write(&self, target: &Path) -> Result<Written, Error> {
        let Found { adapter, evaluation } = find(self.folder, self.state, self.trial, self.epoch)?;
        let check = verify(self.trial, &adapter)?;
        if self.form == Form::Merged {
            self.ask_for_room(target)?;
        }
        let written = store::replace_dir(target, OURS, |dir| {
            Ok(self.fill(dir, &adapter, evaluation, check)?)
        })?;
        Ok(written)
    }

    /// Refuses to begin where a merged model does not fit: its weights are as large as the base's.
    fn ask_for_room(&self, target: &Path) -> Result<(), Error> {
        let is_weights = |path: &str| path.ends_with(".safetensors");
        let files = self.identity.inputs.iter().filter(|(what, _)| what.starts_with("model's "));
        let weights = files.filter(|(_, file)| is_weights(&file.path)).map(|(_, file)| file.bytes);
        // A stranger's results may say anything.
        let bytes = weights.fold(0, u64::saturating_add);
        Ok(store::ask_for_room(target, bytes, || "the merged model".to_owned())?)
    }

    fn fill(
        &self,
        dir: &Path,
        adapter: &Path,
        evaluation: &Evaluation,
        check: AdapterCheck,
    ) -> Result<Written, Error> {
        let named = files::read_json(&adapter.join(ADAPTER_CONFIG), ADAPTER_CONFIG)?;
        let base = BaseName::of(self.settings, named["base_model_name_or_path"].as_str());
        let (unverified, warnings) = (Unverified::new(), Vec::new());
        let mut draft = Draft { dir, adapter, evaluation, base, check, unverified, warnings };
        let merged = match self.form {
            Form::Merged => Some(self.fill_merged(&mut draft)?),
            Form::Adapter | Form::AdapterAndGguf => {
                self.fill_adapter(&mut draft)?;
                None
            }
        };
        self.fill_tokenizer(&mut draft)?;
        let origin = self.origin(&draft, merged.as_ref());
        files::write_json(&dir.join(ORIGIN), &origin)?;
        if let Some(rows) = &self.validation {
            self.add_validation(dir, adapter, rows)?;
        }
        // In the language of the card beside it.
        let (report, lang) = (&self.settings.report, reporter::Lang::En);
        let plot = reporter::plot::run_plot(self.state, self.trial, report, lang);
        if let Some(plot) = plot {
            files::write(&dir.join(PLOT), plot?.png)?;
        }
        files::write(&dir.join(CARD), self.card(&draft, &named, merged.as_ref()))?;
        files::write_checksums(dir, &draft.unverified)?;
        Ok(Written { merged, warnings: draft.warnings })
    }

    /// PEFT's files.
    fn fill_adapter(&self, draft: &mut Draft<'_>) -> Result<(), Error> {
        let (dir, trial) = (draft.dir, self.trial);
        let copied = store::copy_adapter(draft.adapter, dir, &TOKENIZER_FILES);
        copied.map_err(|error| Error::DamagedAdapter { trial, source: error.into() })?;
        if draft.check == AdapterCheck::NoChecksums {
            draft.warnings.push(format!(
                "an earlier version of lorasweep wrote the adapter of trial {trial}, without \
                 checksums: its file is complete, but nothing says whether it is as it was written"
            ));
            let reason = "an earlier version wrote it without checksums".to_owned();
            draft.unverified.insert(ADAPTER_WEIGHTS.to_owned(), reason);
        }
        draft.warnings.extend(self.other_base());
        self.name_base(&dir.join(ADAPTER_CONFIG))?;
        if self.form == Form::AdapterAndGguf {
            let (model, target) = (&self.settings.model, dir.join(GGUF));
            let name = format!("{} trial {}", self.state.name, self.trial);
            trainer::gguf::write_adapter(model, draft.adapter, &name, &target)
                .map_err(|source| Error::Model { path: model.clone(), source })?;
        }
        Ok(())
    }

    /// What to say of a base model that is not the one that the adapter was trained on.
    fn other_base(&self) -> Option<String> {
        let why = self.other_weights.as_ref()?;
        Some(format!(
            "the adapter belongs to other weights than those in the model's folder: {why}. Beside the \
             weights that are there now it says something else than what was measured: put back \
             those of then, or train it again"
        ))
    }

    /// The base's files with merged weights.
    fn fill_merged(&self, draft: &mut Draft<'_>) -> Result<Merged, Error> {
        let model = &self.settings.model;
        inputs::check_unchanged_weights(self.identity)?;
        trainer::merge::write_merged(model, draft.adapter, draft.dir)
            .map_err(|source| Error::Model { path: model.clone(), source })?;
        // Merging has written what depends on the weights.
        let target = draft.dir;
        let left = MODEL_FILES.iter().copied().filter(|name| !target.join(name).exists());
        let left: Vec<&str> = left.collect();
        self.base_files(draft).copy(&left)?;
        let merged = Merged::compare(self.identity, self.settings, &self.held(), draft)?;
        draft.warnings.extend(merged.warning());
        Ok(merged)
    }

    fn base_files<'d>(&'d self, draft: &'d mut Draft<'_>) -> BaseFiles<'d> {
        BaseFiles {
            model: &self.settings.model,
            identity: self.identity,
            target: draft.dir,
            unverified: &mut draft.unverified,
            warnings: &mut draft.warnings,
        }
    }

    /// The tokenizer and the chat templates: those that a trial's command left beside its adapter,
    /// else the base model's.
    fn fill_tokenizer(&self, draft: &mut Draft<'_>) -> Result<(), Error> {
        let has = |name: &str| draft.dir.join(name).exists();
        if !TOKENIZER_FILES.iter().any(|name| has(name)) {
            let mut base = self.base_files(draft);
            let copied = base.copy(&TOKENIZER_FILES)?;
            base.copy_templates()?;
            let model = &self.settings.model;
            // The name of a model on a hub is no folder, and is not missing.
            if copied == 0 && model.is_absolute() {
                let what = if model.is_dir() { "has none" } else { "is not there any more" };
                draft.warnings.push(format!(
                    "the export has no tokenizer and no chat template: the base model's folder \
                     `{}` {what}; put the model back there and export again, or copy its tokenizer \
                     files into the export",
                    model.display()
                ));
            }
        }
        self.fill_chat_template(draft)
    }

    /// The chat template that writes what was learnt, for a model that has none of its own.
    fn fill_chat_template(&self, draft: &mut Draft<'_>) -> Result<(), Error> {
        let plain = self.state.facts.as_ref().and_then(|facts| facts.plain_chat.as_ref());
        let Some(plain) = plain else { return Ok(()) };
        let Some(template) = &plain.chat_template else {
            draft.warnings.push(
                "the model has no chat template, and its tokenizer does not read its end token from \
                 text, so that no template can write what was learnt: write prompts as \
                 \"### User:\" turns, as `lorasweep data` shows them"
                    .to_owned(),
            );
            return Ok(());
        };
        let path = draft.dir.join(CHAT_TEMPLATE);
        if path.exists() {
            draft.warnings.push(format!(
                "the model had no chat template when the sweep ran; its `{CHAT_TEMPLATE}` of today \
                 is not the form that was learnt, and the export has that form's instead"
            ));
        }
        files::write(&path, template)
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

    fn card(&self, draft: &Draft<'_>, adapter: &Value, merged: Option<&Merged>) -> String {
        let facts = Card {
            state: self.state,
            ranking: self.ranking,
            trial: self.trial,
            form: self.form,
            evaluation: draft.evaluation,
            base: &draft.base,
            held: &self.held(),
            data_sha256: inputs::training_data_sha256(self.identity),
            adapter,
            has_other_base: self.other_weights.is_some(),
            has_tokenizer: TOKENIZER_FILES.iter().any(|name| draft.dir.join(name).exists()),
            merged,
        };
        facts.render()
    }

    /// What another trainer needs to check our losses and logits.
    fn add_validation(&self, dir: &Path, adapter: &Path, rows: &Dataset) -> Result<(), Error> {
        write_rows(&dir.join(VALIDATION), rows)?;
        let model = &self.settings.model;
        trainer::logits_file::write(&dir.join(LOGITS), model, &self.held(), adapter, rows)
            .map(|_| ())
            .map_err(|source| Error::Model { path: model.clone(), source })
    }

    /// Makes the base model's path in `adapter_config.json` absolute, so that PEFT finds it from
    /// any folder; a name that is no folder here is one of a model hub and stays.
    fn name_base(&self, path: &Path) -> Result<(), Error> {
        let mut config = files::read_json(path, ADAPTER_CONFIG)?;
        if let Some(HubModel { repo, revision }) = &self.settings.hub {
            config["base_model_name_or_path"] = repo.clone().into();
            config["revision"] = revision.clone().into();
            return files::write_json(path, &config);
        }
        let named = config["base_model_name_or_path"].as_str().unwrap_or_default();
        let base = if self.settings.model.is_dir() || Path::new(named).is_dir() {
            self.settings.model.display().to_string()
        } else {
            named.to_owned()
        };
        config["base_model_name_or_path"] = base.into();
        files::write_json(path, &config)
    }

    fn origin(&self, draft: &Draft<'_>, merged: Option<&Merged>) -> Value {
        let (trial, evaluation) = (self.trial(), draft.evaluation);
        let scores = evaluation.scores.iter().map(|score| (score.metric.clone(), score.value));
        let scores: BTreeMap<String, f64> = scores.collect();
        let mut origin = json!({
            "sweep": self.state.name,
            "fingerprint": self.state.fingerprint,
            "trial": self.trial,
            "config": trial.map(|trial| &trial.trial.config),
            "eval_loss": evaluation.eval_loss,
            "eval_loss_stderr": evaluation.eval_loss_stderr,
            "train_loss": evaluation.train_loss,
            "retention_loss": evaluation.retention_loss,
            "metric": self.state.objective.metric,
            "scores": scores,
            "step": evaluation.step,
            "epoch": evaluation.epoch,
            "is_best_evaluation": self.is_best(evaluation),
            "base_model": draft.base.shown,
            "base_eval_loss": trial.and_then(|trial| self.state.base_of(trial)).map(|e| e.eval_loss),
            "base_quantization": self.held().quantization,
            "adapter_is_verified": draft.check == AdapterCheck::Verified,
            "base_weights_have_changed": self.other_weights.is_some(),
            "lorasweep": env!("CARGO_PKG_VERSION"),
        });
        if let Some(merged) = merged {
            origin["merged"] = merged.to_json();
        }
        origin
    }
}

/// An adapter and the evaluation that it was measured at.
pub struct Found<'t> {
    /// Its folder.
    pub adapter: PathBuf,
    pub evaluation: &'t Evaluation,
}

/// Where a trial's adapter is: at its best evaluation, or at the end of `epoch`.
pub fn find<'t>(
    folder: &SweepFolder,
    state: &'t SweepState,
    id: TrialId,
    epoch: Option<u32>,
) -> Result<Found<'t>, Error> {
    let Some(trial) = state.trials.get(&id) else {
        return Err(Error::NoSuchTrial { dir: folder.path().to_path_buf(), trial: id });
    };
    if let Some(epoch) = epoch {
        return find_epoch(folder, state, trial, epoch);
    }
    let found = |evaluation: &'t Evaluation| {
        let adapter = folder.adapter_at(state, id, evaluation.step)?;
        Some(Found { adapter, evaluation })
    };
    let best = trial.best().and_then(found);
    best.ok_or_else(|| Error::NoAdapter { trial: id, why: why_no_adapter(trial) })
}

fn find_epoch<'t>(
    folder: &SweepFolder,
    state: &SweepState,
    trial: &'t TrialState,
    epoch: u32,
) -> Result<Found<'t>, Error> {
    let id = trial.trial.id;
    let ends = trial.evaluations.iter().filter_map(|e| Some((e.whole_epoch()?, e)));
    let ends: Vec<(u32, &Evaluation)> = ends.collect();
    let Some((_, evaluation)) = ends.iter().find(|(end, _)| *end == epoch) else {
        let last = ends.last().map_or(0, |(end, _)| *end);
        return Err(Error::NoSuchEpoch { trial: id, epoch, last });
    };
    let adapter = |evaluation: &Evaluation| folder.adapter_at(state, id, evaluation.step);
    if let Some(adapter) = adapter(evaluation) {
        return Ok(Found { adapter, evaluation });
    }
    let kept = ends.iter().filter(|(_, evaluation)| adapter(evaluation).is_some());
    let kept = kept.map(|(end, _)| *end).collect();
    let best = folder.best_adapter(trial).and(trial.best()).map(|best| best.epoch);
    Err(Error::NoEpochAdapter { trial: id, epoch, kept, best })
}

/// Refuses a damaged adapter.
pub fn verify(trial: TrialId, adapter: &Path) -> Result<AdapterCheck, Error> {
    let damaged =
        |source: Box<dyn std::error::Error + Send + Sync>| Error::DamagedAdapter { trial, source };
    if !adapter.join(ADAPTER_WEIGHTS).exists() {
        trainer::peft::check_weights(adapter).map_err(|error| damaged(error.into()))?;
    }
    let check = store::verify_adapter(adapter).map_err(|error| damaged(error.into()))?;
    if check == AdapterCheck::NoChecksums {
        trainer::peft::check_weights(adapter).map_err(|error| damaged(error.into()))?;
    }
    Ok(check)
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
            None => "its adapter folder is gone, or a link is in its place".to_owned(),
        },
    }
}

fn write_rows(path: &Path, rows: &Dataset) -> Result<(), Error> {
    let mut text = String::new();
    for example in &rows.examples {
        let mask: Vec<u8> =
            example.loss_mask.iter().map(|is_target| u8::from(*is_target)).collect();
        text += &json!({ "input_ids": example.input_ids, "loss_mask": mask }).to_string();
        text.push('\n');
    }
    fs::write(path, text).map_err(Error::io("write", path))
}
