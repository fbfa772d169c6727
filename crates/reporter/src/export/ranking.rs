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
    let scores: Vec<String> = ranking.metrics.iter().flat_map(|name| of_score(name)).collect();
    let header: Vec<&str> = MEASURED
        .into_iter()
        .chain(scores.iter().map(String::as_str))
        .chain(PARAMETERS.iter().map(|parameter| parameter.name))
        .chain(["notes", "explanation", "advice"])
        .collect();
    table("ranking.csv", &header, ranking.rows.iter().map(|row| cells(row, &ranking.metrics)))
}

/// The whole ranking with its verdict, indented.
pub fn ranking_json(ranking: &Ranking) -> Result<String, ReportError> {
    let mut text = serde_json::to_string_pretty(ranking)
        .map_err(|source| ReportError::Json { what: "ranking.json", source })?;
    text.push('\n');
    Ok(text)
}

/// The columns of a metric.
fn of_score(name: &str) -> [String; 4] {
    ["", "_stderr", "_low", "_high"].map(|end| format!("{name}{end}"))
}

fn cells(row: &Row, metrics: &[String]) -> Vec<String> {
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
    for metric in metrics {
        let score = row.score(metric);
        let interval = score.and_then(|score| score.interval);
        cells.push(measured(score.map(|score| score.value)));
        cells.push(measured(score.map(|score| score.stderr)));
        cells.push(measured(interval.map(|interval| interval[0])));
        cells.push(measured(interval.map(|interval| interval[1])));
    }
    cells.extend(PARAMETERS.iter().map(|parameter| {
        row.config.as_ref().map_or_else(String::new, |config| parameter.value(config))
    }));
    let notes: Vec<&str> = row.notes.iter().copied().map(Note::name).collect();
    cells.push(notes.join(" "));
    cells.push(row.explanation.clone());
    cells.push(row.advice.clone().unwrap_or_default());
    cells
}
