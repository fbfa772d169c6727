//! `ranking.csv` for spreadsheets and data frames, `ranking.json` for programs.

use super::{counted, measured, table};
use crate::diagnose::Note;
use crate::error::ReportError;
use crate::parameters::PARAMETERS;
use crate::rank::{Ranking, Row};

const MEASURED: [&str; 30] = [
    "position",
    "trial",
    "outcome",
    "flag",
    "eval_loss",
    "eval_loss_stderr",
    "eval_loss_low",
    "eval_loss_high",
    "behind",
    "behind_low",
    "behind_high",
    "is_tied",
    "is_tied_on_rows",
    "best_step",
    "best_epoch",
    "train_loss",
    "gap",
    "last_eval_loss",
    "last_gap",
    "retention_loss",
    "retention_change",
    "improvement_share",
    "overfit_probability",
    "shared_improvement",
    "last_shared_improvement",
    "memorizes_from",
    "tokens",
    "seconds",
    "steps",
    "total_steps",
];

/// One row a run and one for the base model, in the order of the ranking. Absent values are empty
/// cells; several notes in a cell are separated by a space.
pub fn ranking_csv(ranking: &Ranking) -> Result<String, ReportError> {
    let header: Vec<&str> = MEASURED
        .into_iter()
        .chain(PARAMETERS.iter().map(|parameter| parameter.name))
        .chain(["notes", "explanation", "advice"])
        .collect();
    table("ranking.csv", &header, ranking.rows.iter().map(cells))
}

/// The whole ranking with its verdict, indented.
pub fn ranking_json(ranking: &Ranking) -> Result<String, ReportError> {
    let mut text = serde_json::to_string_pretty(ranking)
        .map_err(|source| ReportError::Json { what: "ranking.json", source })?;
    text.push('\n');
    Ok(text)
}

fn cells(row: &Row) -> Vec<String> {
    let mut cells = vec![
        row.position.to_string(),
        row.trial.0.to_string(),
        row.outcome.to_owned(),
        row.flag.name().to_owned(),
        measured(row.eval_loss),
        measured(row.eval_loss_stderr),
        measured(row.eval_loss_interval.map(|interval| interval[0])),
        measured(row.eval_loss_interval.map(|interval| interval[1])),
        measured(row.against_best.map(|against| against.difference)),
        measured(row.against_best.map(|against| against.low)),
        measured(row.against_best.map(|against| against.high)),
        row.against_best.map_or_else(String::new, |against| against.is_tied.to_string()),
        row.against_best.map_or_else(String::new, |against| against.is_tied_on_rows.to_string()),
        counted(row.best_step),
        measured(row.best_epoch),
        measured(row.train_loss),
        measured(row.gap),
        measured(row.last_eval_loss),
        measured(row.last_gap),
        measured(row.retention_loss),
        measured(row.retention_change),
        measured(row.improvement_share),
        measured(row.overfit_probability),
        measured(row.shared_improvement),
        measured(row.last_shared_improvement),
        measured(row.memorizes_from),
        row.tokens.to_string(),
        measured(row.seconds),
        counted(row.steps),
        counted(row.total_steps),
    ];
    cells.extend(PARAMETERS.iter().map(|parameter| {
        row.config.as_ref().map_or_else(String::new, |config| parameter.value(config))
    }));
    let notes: Vec<&str> = row.notes.iter().copied().map(Note::name).collect();
    cells.push(notes.join(" "));
    cells.push(row.explanation.clone());
    cells.push(row.advice.clone().unwrap_or_default());
    cells
}
