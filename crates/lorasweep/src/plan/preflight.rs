//! Weights, rows and trials, held against each other before anything is trained: `check` says what
//! does not fit, and `run` and its workers refuse it in the same words.

use std::path::Path;

use data::{Dataset, Place, PreparedData, Vocabulary};
use spec::{Parameter, Sweep, Trial, TrialConfig};
use trainer::TrainerError;
use trainer::adapter::LoraShape;
use trainer::model::DecoderConfig;

use super::base::Base;
use super::{scoring, workload};
use crate::error::Error;
use crate::inputs::rows;

/// Opens the base, reads the rows, and holds both and the trials against each other. The error says
/// everything that is wrong with them.
pub fn prepare(sweep: &Sweep) -> Result<(Base, PreparedData), Error> {
    let data = rows::prepare(&sweep.data, &sweep.model, &sweep.train);
    let (base, data) = match (Base::open(sweep), data) {
        (Ok(base), Ok(data)) => (base, data),
        (base, data) => {
            let errors = [base.err(), data.err()].into_iter().flatten();
            return Err(Error::all(errors.collect()));
        }
    };
    let mut mistakes = adapters(sweep, base.config());
    mistakes.extend(tokens(sweep, base.config(), &data)?);
    if mistakes.is_empty() {
        scoring::of_sweep(sweep, &data)?;
        return Ok((base, data));
    }
    let unusable = |source| Error::Model { path: sweep.model.clone(), source };
    Err(Error::all(mistakes.into_iter().map(unusable).collect()))
}

/// What the model cannot carry of the adapters that trials may ask for.
fn adapters(sweep: &Sweep, config: &DecoderConfig) -> Vec<TrainerError> {
    let planner = planner::for_sweep(sweep);
    let all = workload::all_trials(&*planner);
    let trials = workload::known_trials(sweep, all.as_deref());
    let mut configs: Vec<TrialConfig> =
        trials.into_iter().map(|Trial { config, .. }| config).collect();
    // A sample of trials need not have every value.
    if let Some(first) = configs.first().cloned() {
        configs.extend(sweep.space.with_each_value(Parameter::TargetModules, &first));
    }
    let mut mistakes: Vec<String> = configs
        .iter()
        .filter_map(|config_of_trial| LoraShape::of_trial(config_of_trial).check(config).err())
        .collect();
    mistakes.sort();
    mistakes.dedup();
    mistakes.into_iter().map(TrainerError::Targets).collect()
}

/// The first token of each set that the embedding table does not have, with its row's place.
fn tokens(
    sweep: &Sweep,
    config: &DecoderConfig,
    data: &PreparedData,
) -> Result<Option<TrainerError>, Error> {
    let PreparedData { places, report, .. } = data;
    let sets: [(&str, Option<&Dataset>, &[Place]); 4] = [
        ("train", Some(&data.train), &places.train),
        ("validation", Some(&data.validation), &places.validation),
        ("retention", data.retention.as_ref(), &places.retention),
        ("test", data.test.as_ref(), &places.test),
    ];
    let rows = config.vocab_size;
    let mut found = Vec::new();
    for (set, dataset, places) in sets {
        let examples = dataset.map_or(&[][..], |dataset| &dataset.examples);
        let beyond = |ids: &[u32]| ids.iter().copied().max().filter(|id| *id as usize >= rows);
        let mut bad = examples
            .iter()
            .zip(places)
            .filter_map(|(row, place)| Some((beyond(&row.input_ids)?, *place)));
        let Some((id, place)) = bad.next() else { continue };
        let text = text_of(&sweep.model, id)?;
        let more = match bad.count() {
            0 => String::new(),
            1 => " and 1 more row".to_owned(),
            more => format!(" and {more} more rows"),
        };
        found.push(format!("{id} (`{text}`) in {set} {}{more}", report.place(place)));
    }
    if found.is_empty() {
        return Ok(None);
    }
    Ok(Some(TrainerError::Weights {
        path: sweep.model.join("tokenizer.json"),
        message: format!(
            "gives the token {}, but the model has {rows} embeddings, the last of which is token \
             {}: tokenizer and model do not belong together, or the model was not resized when \
             tokens were added (`model.resize_token_embeddings(len(tokenizer))`)",
            found.join(", "),
            rows - 1
        ),
    }))
}

/// A token as text.
fn text_of(model: &Path, id: u32) -> Result<String, Error> {
    let vocabulary = Vocabulary::load(model).map_err(Error::Data)?;
    let pieces = vocabulary.pieces(&[id], &[false]);
    Ok(pieces.into_iter().map(|piece| piece.text.escape_debug().to_string()).collect())
}
