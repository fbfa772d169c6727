//! Warnings about what will go wrong although nothing is refused.

use std::collections::BTreeSet;
use std::path::Path;

use data::PreparedData;
use spec::Sweep;
use trainer::model::{ShortToken, short_tokens};

use super::base::Base;
use super::workload::Workload;
use crate::error::Error;

/// Special tokens of the training rows that the base in `model` has hardly trained.
pub fn warnings(model: &Path, base: &Base, data: &PreparedData) -> Result<Vec<String>, Error> {
    let names = &data.report.model.names;
    let tokens = data.train.examples.iter().flat_map(|example| &example.input_ids);
    // Few tokens are special, so few are collected.
    let special: BTreeSet<u32> = tokens.copied().filter(|id| names.contains_key(id)).collect();
    let special: Vec<u32> = special.into_iter().collect();
    // Tables are the same in every form.
    let Some(source) = base.forms().first() else { return Ok(Vec::new()) };
    let short = short_tokens(source, &special)
        .map_err(|source| Error::Model { path: model.to_owned(), source })?;
    Ok(short
        .into_iter()
        .map(|ShortToken { id, table, norm, median }| {
            let name = names.get(&id).map_or("", String::as_str);
            format!(
                "the base has hardly trained the token `{name}` (id {id}), which the training rows \
                 contain: its row of `{table}` has the norm {norm:.3}, the median is {median:.3}; \
                 LoRA does not train that table, so take a model that knows the token (the \
                 instruct model of the family, for instance), or a chat template without it"
            )
        })
        .collect())
}

/// What no trial is long enough for.
pub fn beyond_the_end(sweep: &Sweep, work: &Workload) -> impl Iterator<Item = String> {
    [idle_rule(sweep, work), endless_warmup(sweep, work)].into_iter().flatten()
}

/// A warmup that the shortest trial does not end.
fn endless_warmup(sweep: &Sweep, work: &Workload) -> Option<String> {
    let warmup = sweep.train.warmup_steps?;
    let least = work.trials().map(|(_, work)| work.steps).min()?;
    (warmup >= least).then(|| {
        format!(
            "a trial of {least} steps never reaches its learning rate: `train.warmup_steps` is \
             {warmup}; lower it, or write `warmup_ratio`, a share of the steps"
        )
    })
}

/// A stopping rule that no trial is long enough for.
fn idle_rule(sweep: &Sweep, work: &Workload) -> Option<String> {
    let first = sweep.early_terminate.as_ref()?.first_evaluation();
    let most = work.trials().map(|(_, work)| work.all_evaluations()).max()?;
    (first >= most).then(|| {
        format!(
            "`early_terminate` never stops a trial: it acts from evaluation {first} on, and a \
             trial has {most} evaluation{}; an iteration is one evaluation and not a training \
             step: lower `min_iter` (or `max_iter`), or set `train.eval_steps`",
            if most == 1 { "" } else { "s" }
        )
    })
}
