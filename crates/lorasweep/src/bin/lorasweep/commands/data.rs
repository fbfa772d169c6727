//! `lorasweep data`: what the model will see, and what is doubtful about it.

use std::fmt::Write as _;

use data::{DataReport, Dataset, Example, Place, PreparedData, TextPiece, Vocabulary};
use serde::Serialize;
use spec::{Sweep, printable, printable_line};

use crate::args::{DataArgs, DataSet};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{self, Output};
use crate::rows;
use crate::sweep_file;

/// Width of the longest bar of a histogram, in characters.
const BAR: usize = 40;

/// What `data` found.
#[derive(Serialize)]
struct Findings<'a> {
    max_seq_len: u32,
    data: &'a DataReport,
    lengths: Vec<Lengths>,
    example: Shown,
    warnings: Vec<String>,
}

/// How long the rows of a set are.
#[derive(Serialize)]
struct Lengths {
    set: DataSet,
    rows: usize,
    tokens: usize,
    shortest: usize,
    median: usize,
    longest: usize,
    bins: Vec<Bin>,
}

/// Rows of `from` to `to` tokens, both included.
#[derive(Debug, PartialEq, Serialize)]
struct Bin {
    from: usize,
    to: usize,
    rows: usize,
}

/// A row as the model sees it.
#[derive(Serialize)]
struct Shown {
    set: DataSet,
    /// Which row of the set, counted from 1.
    number: usize,
    place: Place,
    input_ids: Vec<u32>,
    loss_mask: Vec<bool>,
    pieces: Vec<TextPiece>,
}

pub fn run(args: &DataArgs, output: Output) -> Result<Exit, CliError> {
    let file = sweep_file::load_with_model(&args.sweep)?;
    let sweep = &file.sweep;
    let data = rows::prepare(&sweep.data, &sweep.model, &sweep.train)?;
    let findings = find(args, sweep, &data)?;
    if args.json {
        output::json("the findings", &findings)?;
    } else {
        file.warn();
        output::painted(&render(&findings, output));
    }
    Ok(Exit::Done)
}

fn find<'a>(
    args: &DataArgs,
    sweep: &Sweep,
    data: &'a PreparedData,
) -> Result<Findings<'a>, CliError> {
    let all = [DataSet::Train, DataSet::Validation, DataSet::Retention, DataSet::Test];
    let lengths = all.iter().filter_map(|set| Some(lengths(*set, of_set(data, *set)?.0)));
    Ok(Findings {
        max_seq_len: sweep.train.max_seq_len,
        data: &data.report,
        lengths: lengths.collect(),
        example: shown(args, sweep, data)?,
        warnings: data.report.warnings(),
    })
}

/// A set's rows and where they are; `None` where the sweep has no such set.
fn of_set(data: &PreparedData, set: DataSet) -> Option<(&Dataset, &[Place])> {
    let places = &data.places;
    Some(match set {
        DataSet::Train => (&data.train, &places.train),
        DataSet::Validation => (&data.validation, &places.validation),
        DataSet::Retention => (data.retention.as_ref()?, &places.retention),
        DataSet::Test => (data.test.as_ref()?, &places.test),
    })
}

fn shown(args: &DataArgs, sweep: &Sweep, data: &PreparedData) -> Result<Shown, CliError> {
    let (set, number) = (args.set, args.example);
    let (rows, places) = of_set(data, set).unwrap_or((&data.train, &[]));
    let found = number
        .checked_sub(1)
        .and_then(|index| Some((rows.examples.get(index)?.clone(), *places.get(index)?)));
    let Some((Example { input_ids, loss_mask }, place)) = found else {
        return Err(CliError::NoSuchRow { set: set.name(), number, rows: places.len() });
    };
    let vocabulary = Vocabulary::load(&sweep.model).map_err(CliError::Data)?;
    let pieces = vocabulary.pieces(&input_ids, &loss_mask);
    Ok(Shown { set, number, place, input_ids, loss_mask, pieces })
}

fn lengths(set: DataSet, rows: &Dataset) -> Lengths {
    let mut lengths: Vec<usize> = rows.examples.iter().map(|row| row.input_ids.len()).collect();
    lengths.sort_unstable();
    Lengths {
        set,
        rows: lengths.len(),
        tokens: lengths.iter().sum(),
        shortest: lengths.first().copied().unwrap_or(0),
        median: lengths.get(lengths.len() / 2).copied().unwrap_or(0),
        longest: lengths.last().copied().unwrap_or(0),
        bins: bins(&lengths),
    }
}

/// Bins whose borders are powers of two, from the shortest row's to the longest row's.
fn bins(ascending: &[usize]) -> Vec<Bin> {
    let (Some(first), Some(last)) = (ascending.first(), ascending.last()) else {
        return Vec::new();
    };
    let bit = |length: usize| length.max(1).ilog2();
    (bit(*first)..=bit(*last))
        .map(|bit| {
            let (from, to) = (1 << bit, (2 << bit) - 1);
            let rows = ascending.iter().filter(|length| (from..=to).contains(*length)).count();
            Bin { from, to, rows }
        })
        .collect()
}

fn render(found: &Findings, output: Output) -> String {
    let mut out = format!("{}\n", printable(&found.data.to_string()));
    for lengths in &found.lengths {
        let _ = writeln!(
            out,
            "\n{}: {} rows, {} tokens (shortest {}, median {}, longest {}; max_seq_len {})",
            lengths.set.name(),
            lengths.rows,
            lengths.tokens,
            lengths.shortest,
            lengths.median,
            lengths.longest,
            found.max_seq_len
        );
        out += &histogram(&lengths.bins);
    }
    let Shown { set, number, place, input_ids, loss_mask, .. } = &found.example;
    let targets = loss_mask.iter().filter(|is_target| **is_target).count();
    let _ = writeln!(
        out,
        "\n{} row {number} ({}): {} tokens, {targets} targets {}",
        set.name(),
        printable_line(&found.data.place(*place)),
        input_ids.len(),
        if output.has_stdout_colour() {
            "(green: learnt)"
        } else {
            "(learnt: between ⟦ and ⟧)"
        }
    );
    out + &text(&found.example.pieces, output.has_stdout_colour())
}

fn histogram(bins: &[Bin]) -> String {
    let most = bins.iter().map(|bin| bin.rows).max().unwrap_or(1).max(1);
    bins.iter().fold(String::new(), |mut out, Bin { from, to, rows }| {
        let bar = "█".repeat((rows * BAR).div_ceil(most));
        let range = format!("{from}-{to}");
        let _ = writeln!(out, "  {range:>13} {bar} {rows}");
        out
    })
}

/// The row's text with what is learnt made visible.
fn text(pieces: &[TextPiece], colour: bool) -> String {
    let piece = |piece: &TextPiece| {
        let text = printable(&piece.text);
        match (piece.is_target, colour) {
            (true, true) => format!("\x1b[32m{text}\x1b[0m"),
            (true, false) => format!("⟦{text}⟧"),
            (false, true) => format!("\x1b[2m{text}\x1b[0m"),
            (false, false) => text.into_owned(),
        }
    };
    pieces.iter().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_in_bins_of_powers_of_two() {
        let bin = |from, to, rows| Bin { from, to, rows };
        assert_eq!(
            bins(&[3, 4, 7, 16]),
            [bin(2, 3, 1), bin(4, 7, 2), bin(8, 15, 0), bin(16, 31, 1)]
        );
        assert_eq!(bins(&[]), []);
        assert_eq!(histogram(&[bin(2, 3, 1), bin(4, 7, 0)]).matches('█').count(), BAR);
    }

    #[test]
    fn what_is_learnt_is_marked_and_nothing_commands_the_terminal() {
        let piece = |text: &str, is_target| TextPiece { text: text.to_owned(), is_target };
        let pieces = [piece("ask\n", false), piece("say\x1b[2J", true)];
        assert_eq!(text(&pieces, false), "ask\n⟦say\\u{1b}[2J⟧");
        assert_eq!(text(&pieces, true), "\x1b[2mask\n\x1b[0m\x1b[32msay\\u{1b}[2J\x1b[0m");
    }
}
