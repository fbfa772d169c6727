//! The commented sweep that `lorasweep init` writes.

use std::fmt::Write as _;

use crate::parameter::{Row, TABLE};

/// The file with a mark where the parameters stand.
const TEMPLATE: &str = include_str!("example.yaml");
const MARK: &str = "  {{parameters}}\n";

/// The widest line.
const WIDTH: usize = 100;

/// A complete sweep file in which every key is explained; valid when the paths it names exist.
pub fn example() -> String {
    TEMPLATE.replace(MARK, &TABLE.iter().map(entry).collect::<String>())
}

/// A parameter with its explanation. One that has no default of its own would change the sweep: it
/// stands in a comment.
fn entry(row: &Row) -> String {
    let Row { name, about, example, .. } = row;
    let (default, off) =
        if row.has_default() { (format!(" [{}]", row.default), "") } else { (String::new(), "# ") };
    let mut text = String::new();
    for line in wrapped(&format!("{about}{default}."), WIDTH - "  # ".len()) {
        let _ = writeln!(text, "  # {line}");
    }
    let _ = writeln!(text, "  {off}{name}: {example}");
    text
}

/// The words in lines that are no wider, as far as that goes.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                *line += " ";
                *line += word;
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
