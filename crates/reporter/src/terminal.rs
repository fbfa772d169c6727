//! The report on a terminal: the verdict in sentences and the first rows of the ranking.

use std::fmt::Write as _;

use spec::printable_line;

use crate::diagnose::{Flag, Note};
use crate::number;
use crate::parameters::{self, PARAMETERS, Parameter};
use crate::rank::{Ranking, Row};
use crate::text::say;

/// Columns of the screen.
const WIDTH: usize = 100;

/// Rows of the table that findings must leave room for.
const LEAST_ROWS: usize = 6;

/// Lines that the table needs beside its rows: an empty one, the header, the base model's row with
/// the dots before it, and how many rows are left out.
const AROUND: usize = 5;

/// What to print, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalOptions {
    /// Lines in all.
    pub lines: usize,
    /// Mark flags with ANSI colours.
    pub colour: bool,
}

impl Default for TerminalOptions {
    fn default() -> Self {
        Self { lines: 25, colour: false }
    }
}

/// The verdict, as many of the findings as there is room for, and the top of the ranking; at most
/// 100 columns wide.
pub fn terminal(ranking: &Ranking, options: TerminalOptions) -> String {
    let verdict = &ranking.verdict;
    let mut lines: Vec<String> =
        verdict.sentences.iter().flat_map(|sentence| wrapped(sentence, WIDTH)).collect();
    // One line says how many there was no room for.
    let room = options.lines.saturating_sub(AROUND + LEAST_ROWS + 1);
    let mut left = 0;
    for finding in &verdict.findings {
        let text = format!("- {} {}", finding.evidence, finding.advice);
        let more = wrapped(&text, WIDTH);
        if lines.len() + more.len() <= room {
            lines.extend(more);
        } else {
            left += 1;
        }
    }
    if left > 0 {
        lines.push(format!("- {}", say!(ranking.lang, MoreFindings, left.to_string())));
    }
    let top = options.lines.saturating_sub(AROUND + lines.len()).max(LEAST_ROWS);
    let mut out = lines.join("\n");
    out.push_str("\n\n");
    out.push_str(&table(ranking, top, options.colour));
    out.push_str(&failures(ranking));
    out
}

/// The first failures, each in a line or two; the page has the rest, with the logs.
fn failures(ranking: &Ranking) -> String {
    /// More than these are counted.
    const SHOWN: usize = 3;
    let mut out = String::new();
    for failure in ranking.failures.iter().take(SHOWN) {
        let first = failure.cause.lines().next().unwrap_or_default();
        let text = format!("! {}: {first}", failure.whose());
        out.push_str(&wrapped(&text, WIDTH).join("\n"));
        out.push('\n');
    }
    let left = ranking.failures.len().saturating_sub(SHOWN);
    if left > 0 {
        let _ = writeln!(out, "! {}", say!(ranking.lang, MoreFailures, left.to_string()));
    }
    out
}

struct Cell {
    text: String,
    paint: &'static str,
}

impl Cell {
    fn plain(text: impl Into<String>) -> Self {
        Self { text: printable_line(&text.into()).into_owned(), paint: "" }
    }
}

fn table(ranking: &Ranking, top: usize, colour: bool) -> String {
    let parameters = shown_parameters(ranking);
    let metric = printable_line(&ranking.objective.metric);
    let mut header = vec!["#", "trial"];
    header.extend((!ranking.objective.is_loss()).then_some(&*metric));
    header.extend(["eval_loss", "epoch", "gap", "last"]);
    header.extend(parameters.iter().map(|parameter| parameter.name));
    header.push("flag");

    let shown: Vec<&Row> = ranking
        .rows
        .iter()
        .enumerate()
        .filter(|(at, row)| *at < top || row.flag == Flag::Base)
        .map(|(_, row)| row)
        .collect();
    let rows: Vec<Vec<Cell>> = shown
        .iter()
        .map(|row| {
            let mut cells = cells(ranking, row, &parameters);
            let remark = remark(ranking, row);
            if let Some(flag) = cells.last_mut() {
                flag.text.push_str(&remark);
            }
            cells
        })
        .collect();
    let widths = widths(&header, &rows);

    let mut out = String::new();
    let heading: Vec<Cell> = header.iter().map(|name| Cell::plain(*name)).collect();
    out.push_str(&line(&heading, &widths, false));
    let mut previous = 0;
    for (row, cells) in shown.iter().zip(&rows) {
        if row.position > previous + 1 {
            out.push_str("  ...\n");
        }
        previous = row.position;
        out.push_str(&line(cells, &widths, colour));
    }
    let left = ranking.rows.len() - shown.len();
    if left > 0 {
        let _ = writeln!(out, "  {}", say!(ranking.lang, MoreRows, left.to_string()));
    }
    out
}

/// Those the sweep varied, and always rank and learning rate; as many as fit beside the rest.
fn shown_parameters(ranking: &Ranking) -> Vec<&'static Parameter> {
    const ROOM: usize = 38;
    let configs: Vec<_> = ranking.rows.iter().filter_map(|row| row.config.as_ref()).collect();
    let varying = parameters::varying(&configs);
    let mut left = ROOM;
    PARAMETERS
        .iter()
        .filter(|p| {
            matches!(p.name, "rank" | "learning_rate") || varying.iter().any(|v| v.name == p.name)
        })
        .take_while(|parameter| {
            let widest = configs.iter().map(|c| parameter.value(c).len()).max().unwrap_or(0);
            let width = widest.max(parameter.name.len()) + 2;
            let fits = width <= left;
            left = left.saturating_sub(width);
            fits
        })
        .collect()
}

fn cells(ranking: &Ranking, row: &Row, parameters: &[&Parameter]) -> Vec<Cell> {
    let Ranking { lang, objective, .. } = ranking;
    let lang = *lang;
    let optional = |value: Option<f64>, write: fn(f64) -> String| {
        Cell::plain(value.map_or_else(|| "-".to_owned(), |x| lang.number(&write(x)).into_owned()))
    };
    let name = if row.flag == Flag::Base { "base".to_owned() } else { row.trial.to_string() };
    let mut cells = vec![Cell::plain(row.position.to_string()), Cell::plain(name)];
    cells.extend((!objective.is_loss()).then(|| optional(row.value(objective), number::loss)));
    cells.extend([
        optional(row.eval_loss, number::loss),
        optional(row.best_epoch, number::epoch),
        optional(row.gap, number::change),
        optional(row.last_eval_loss, number::loss),
    ]);
    cells.extend(parameters.iter().map(|parameter| {
        Cell::plain(row.config.as_ref().map_or_else(|| "-".to_owned(), |c| parameter.value(c)))
    }));
    let mut flag = row.flag.name().to_owned();
    if row.notes.contains(&Note::WorseThanBase) {
        flag.push_str(" <base");
    }
    if row.notes.contains(&Note::Forgetting) {
        flag.push(' ');
        flag.push_str(&say!(lang, Forgetful));
    }
    if row.notes.contains(&Note::OutsideSpace) {
        flag.push(' ');
        flag.push_str(&say!(lang, OutsideSpace));
    }
    if row.outcome == "stopped" {
        flag.push(' ');
        flag.push_str(&say!(lang, Stopped));
    }
    cells.push(Cell { text: flag, paint: paint(row.flag) });
    cells
}

/// What the comparison says of a run: the one to take, or one as good for all that can be told.
fn remark(ranking: &Ranking, row: &Row) -> String {
    let Some(comparison) = &ranking.comparison else { return String::new() };
    let is_tied = row.against_best.is_some_and(|against| against.is_tied);
    if comparison.choice.trial == row.trial {
        format!(" {}", say!(ranking.lang, Chosen))
    } else if is_tied {
        format!(" {}", say!(ranking.lang, Tied))
    } else {
        String::new()
    }
}

const fn paint(flag: Flag) -> &'static str {
    match flag {
        Flag::Ok => "\x1b[32m",
        Flag::Overfit | Flag::Underfit | Flag::TooSlow => "\x1b[33m",
        Flag::Diverged | Flag::Failed => "\x1b[31m",
        Flag::Base | Flag::Running | Flag::Pending => "\x1b[2m",
    }
}

fn widths(header: &[&str], rows: &[Vec<Cell>]) -> Vec<usize> {
    (0..header.len())
        .map(|column| {
            let widest = rows.iter().map(|row| row[column].text.chars().count()).max();
            widest.unwrap_or(0).max(header[column].len())
        })
        .collect()
}

/// Numbers are set to the right; the flag, which comes last, to the left.
fn line(cells: &[Cell], widths: &[usize], colour: bool) -> String {
    let mut out = String::new();
    for (at, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        out.push_str("  ");
        if at + 1 < cells.len() {
            let _ = write!(out, "{:>width$}", cell.text);
        } else if colour {
            let _ = write!(out, "{}{}\x1b[0m", cell.paint, cell.text);
        } else {
            out.push_str(&cell.text);
        }
    }
    out.push('\n');
    out
}

/// Breaks a sentence at spaces; lines after the first are indented.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in printable_line(text).split(' ') {
        let at = lines.len() - 1;
        let used = lines[at].chars().count();
        if used > 2 && used + 1 + word.chars().count() > width {
            lines.push(format!("  {word}"));
        } else {
            if used > 0 {
                lines[at].push(' ');
            }
            lines[at].push_str(word);
        }
    }
    lines
}
