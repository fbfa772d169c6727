//! The mistakes of a sweep file, with the place of each, rendered as a compiler would.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::mistake::Mistake;

/// A file with more mistakes than these is not meant as a sweep; each holds its line of the file.
pub(crate) const MOST_MISTAKES: usize = 100;

/// All mistakes of one sweep file, in the order of its lines; never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepErrors(Vec<SweepError>);

impl SweepErrors {
    /// Sorts by place; `None` when there is no mistake.
    pub(crate) fn new(mut errors: Vec<SweepError>) -> Option<Self> {
        errors.sort_by_key(|e| (e.line, e.column));
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// The mistakes, in the order of the file's lines.
    pub fn errors(&self) -> &[SweepError] {
        &self.0
    }
}

impl std::error::Error for SweepErrors {}

impl fmt::Display for SweepErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            error.fmt(f)?;
        }
        if let [first, _, ..] = self.0.as_slice() {
            let counted = if self.0.len() < MOST_MISTAKES { "" } else { "the first " };
            write!(f, "\n\n{counted}{} mistakes in {}", self.0.len(), first.file.display())?;
        }
        Ok(())
    }
}

/// One mistake with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepError {
    /// The sweep file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub mistake: Mistake,
    excerpt: Excerpt,
}

impl SweepError {
    pub(crate) fn new(file: &Path, text: &str, place: Place, mistake: Mistake) -> Self {
        Self {
            file: file.to_owned(),
            line: place.line,
            column: place.column,
            mistake,
            excerpt: Excerpt::new(text, place),
        }
    }
}

impl std::error::Error for SweepError {}

impl fmt::Display for SweepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, mistake, excerpt } = self;
        let gutter = " ".repeat(line.to_string().len());
        writeln!(f, "error: {mistake}")?;
        writeln!(f, "{gutter}--> {}:{line}:{column}", file.display())?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{line} | {}", excerpt.line)?;
        let carets = "^".repeat(excerpt.width);
        write!(f, "{gutter} | {}{carets}", " ".repeat(excerpt.indent))?;
        if let Some(help) = mistake.help() {
            write!(f, "\n{gutter} = help: {help}")?;
        }
        Ok(())
    }
}

/// A stretch of characters within one line of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Length in characters; cut to the end of the line when rendered.
    pub length: usize,
}

/// The marked line, as shown in a terminal.
#[derive(Debug, Clone, PartialEq)]
struct Excerpt {
    line: String,
    /// Terminal columns before the mark.
    indent: usize,
    /// Terminal columns of the mark, at least 1.
    width: usize,
}

/// Characters of a long line that are shown before and after the mark.
const AROUND: usize = 100;

impl Excerpt {
    fn new(text: &str, place: Place) -> Self {
        let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
        // A tab or another control character would shift the carets.
        let line: Vec<char> =
            line.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let start = place.column.saturating_sub(1).min(line.len());
        let end = (start + place.length).min(line.len());
        // A line that somebody reads is shown whole; of one that a program wrote, what is near.
        let (from, to) = (start.saturating_sub(AROUND), (end.min(start + AROUND) + AROUND));
        let (from, to) =
            if line.len() <= 2 * AROUND { (0, line.len()) } else { (from, to.min(line.len())) };
        Self {
            indent: columns(&line[from..start]),
            width: columns(&line[start..end.min(to)]).max(1),
            line: line[from..to].iter().collect(),
        }
    }
}

/// Terminal columns that these characters take.
fn columns(chars: &[char]) -> usize {
    use unicode_width::UnicodeWidthChar;
    chars.iter().map(|c| c.width().unwrap_or(0)).sum()
}
