//! `lorasweep data`: what the model will see, and what is doubtful about it.

use std::fmt::Write as _;

use lorasweep::data::TextPiece;
use lorasweep::spec::{printable, printable_line};
use lorasweep::{DataFindings, LengthBin, ShownRow};

use crate::args::DataArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{self, Output};
use crate::warn;

/// Width of the longest bar of a histogram, in characters.
const BAR: usize = 40;

pub fn run(args: &DataArgs, output: Output) -> Result<Exit, CliError> {
    let mut sweep = args.sweep.open()?;
    sweep.fetch_model(&mut output::note)?;
    let findings = sweep.data(args.set.into(), args.example)?;
    if args.json {
        output::json("the findings", &findings)?;
    } else {
        warn(&sweep);
        output::painted(&render(&findings, output));
    }
    Ok(Exit::Done)
}

fn render(found: &DataFindings, output: Output) -> String {
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
    let ShownRow { set, number, place, input_ids, loss_mask, .. } = &found.example;
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

fn histogram(bins: &[LengthBin]) -> String {
    let most = bins.iter().map(|bin| bin.rows).max().unwrap_or(1).max(1);
    bins.iter().fold(String::new(), |mut out, LengthBin { from, to, rows }| {
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
    fn the_longest_bar_has_the_full_width() {
        let bin = |from, to, rows| LengthBin { from, to, rows };
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
