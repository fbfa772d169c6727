//! What was read, what was left out and what to beware of.

use std::fmt::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::Dataset;
use super::chat::ChatFormat;
use super::format::FileFormat;
use super::row::Schema;
use super::skip::SkippedRow;

/// Lines named in a rendered report before "and N more".
const SHOWN_LINES: usize = 5;

/// What a set of rows is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DataRole {
    /// Weights learn from it.
    Train,
    /// Runs are ranked by it.
    Validation,
    /// What the base model could do already.
    Retention,
    /// Nothing is chosen by it.
    Test,
}

impl fmt::Display for DataRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Retention => "retention",
            Self::Test => "test",
        })
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileReport {
    /// What the file is for.
    pub role: DataRole,
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: FileFormat,
    /// The schemas of its used rows.
    pub schemas: Vec<Schema>,
    /// Rows, good or bad, without blank lines.
    pub rows: usize,
    /// Rows that are used.
    pub used: usize,
    /// Blank lines of a JSONL file.
    pub blank_lines: usize,
    /// Tokens of the used rows, after cutting.
    pub tokens: usize,
    /// Of these, the ones the loss is taken on.
    pub target_tokens: usize,
    /// Tokens of the longest used row, before cutting.
    pub longest: usize,
    /// Rows left out, by line.
    pub skipped: Vec<SkippedRow>,
    /// Lines of the rows that were cut on the right to the length limit.
    pub truncated_lines: Vec<u64>,
}

/// How the training file was split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitReport {
    /// Share of rows asked for.
    pub fraction: f64,
    /// Whether chance had left a side empty, so that the smallest hashes were taken instead.
    pub forced: bool,
}

/// Size of a set of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SetReport {
    /// Rows.
    pub rows: usize,
    /// Tokens.
    pub tokens: usize,
    /// Tokens the loss is taken on.
    pub target_tokens: usize,
}

impl SetReport {
    pub(super) fn of(dataset: &Dataset) -> Self {
        Self {
            rows: dataset.examples.len(),
            tokens: dataset.tokens(),
            target_tokens: dataset.targets(),
        }
    }
}

/// A row of one set that is also known to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SharedRow {
    /// Its line.
    pub line: u64,
    /// Line of the first such row in the other set.
    pub also_at: u64,
}

/// What a set that should be independent shares with another. Only sets that share something are
/// reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OverlapReport {
    /// The set that should be independent; `line` is a line of its file.
    pub held_out: DataRole,
    /// The set it is compared with; `also_at` is a line of its file.
    pub seen: DataRole,
    /// Rows with the same prompt and completion.
    pub same_row: Vec<SharedRow>,
    /// Rows with the same prompt and another completion.
    pub same_prompt: Vec<SharedRow>,
}

/// All that is to be told about a sweep's data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataReport {
    /// Each file: train, then validation, retention and test where there are such.
    pub files: Vec<FileReport>,
    /// How the training file was split, if it was.
    pub split: Option<SplitReport>,
    /// The training set, after splitting.
    pub train: SetReport,
    /// The validation set.
    pub validation: SetReport,
    /// The retention set.
    pub retention: Option<SetReport>,
    /// Lines of training rows that repeat an earlier one. They are kept.
    pub repeated_train_lines: Vec<u64>,
    /// Rows shared between sets. They are kept.
    pub overlaps: Vec<OverlapReport>,
    /// How conversations were written, if there were any.
    pub chat_format: Option<ChatFormat>,
}

impl DataReport {
    /// What a person should look at before trusting the sweep's numbers, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.overlaps.iter().flat_map(OverlapReport::warnings).collect();
        if !self.repeated_train_lines.is_empty() {
            warnings.push(format!(
                "{} of {} train rows repeat an earlier row and weigh more: {}",
                thousands(self.repeated_train_lines.len()),
                thousands(self.train.rows),
                list_lines(&self.repeated_train_lines)
            ));
        }
        if self.split.as_ref().is_some_and(|split| split.forced) {
            warnings.push(format!(
                "{} are few: the split by content hash left one side empty, so the rows with the \
                 smallest hashes validate, and the validation loss will be noisy",
                rows(self.train.rows + self.validation.rows)
            ));
        }
        if self.chat_format == Some(ChatFormat::Plain) {
            warnings.push(
                "the model has no chat template: `messages` rows are written as \"### Role:\" \
                 turns, and prompts must be written so too"
                    .to_owned(),
            );
        }
        warnings
    }

    /// The report for a terminal: some lines a file, then the warnings.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for file in &self.files {
            out.push_str(&file.render());
        }
        if let Some(split) = &self.split {
            let _ = writeln!(
                out,
                "split by content hash at {}: train {} ({} target tokens), validation {} ({} \
                 target tokens)",
                split.fraction,
                rows(self.train.rows),
                thousands(self.train.target_tokens),
                rows(self.validation.rows),
                thousands(self.validation.target_tokens)
            );
        }
        if let Some(format @ ChatFormat::Template { .. }) = &self.chat_format {
            let _ = writeln!(out, "conversations by {format}");
        }
        for warning in self.warnings() {
            let _ = writeln!(out, "warning: {warning}");
        }
        out
    }
}

impl fmt::Display for DataReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render().trim_end())
    }
}

impl FileReport {
    fn render(&self) -> String {
        let schemas: Vec<String> = self.schemas.iter().map(ToString::to_string).collect();
        let mut out = format!(
            "{} {} ({}, {}): {} of {} rows used, {} tokens ({} targets), longest row {} tokens\n",
            self.role,
            self.path.display(),
            self.format,
            schemas.join(" + "),
            thousands(self.used),
            thousands(self.rows),
            thousands(self.tokens),
            thousands(self.target_tokens),
            thousands(self.longest)
        );
        if !self.skipped.is_empty() {
            let _ = writeln!(out, "  skipped {}:", rows(self.skipped.len()));
            for row in self.skipped.iter().take(SHOWN_LINES) {
                let _ = writeln!(out, "    line {}: {}", row.line, row.reason);
            }
            if self.skipped.len() > SHOWN_LINES {
                let more = self.skipped.len() - SHOWN_LINES;
                let _ = writeln!(out, "    and {} more", thousands(more));
            }
        }
        if !self.truncated_lines.is_empty() {
            let _ = writeln!(
                out,
                "  cut {} on the right to max_seq_len: {}",
                rows(self.truncated_lines.len()),
                list_lines(&self.truncated_lines)
            );
        }
        if self.blank_lines > 0 {
            let _ = writeln!(out, "  passed over {} blank line(s)", thousands(self.blank_lines));
        }
        out
    }
}

impl OverlapReport {
    fn warnings(&self) -> Vec<String> {
        let Self { held_out, seen, same_row, same_prompt } = self;
        let mut warnings = Vec::new();
        if !same_row.is_empty() {
            warnings.push(format!(
                "leak: {} of {held_out} also in {seen}: {}",
                rows(same_row.len()),
                list_shared(same_row, *seen)
            ));
        }
        if !same_prompt.is_empty() {
            warnings.push(format!(
                "{} of {held_out} with a prompt that {seen} has with another completion: {}",
                rows(same_prompt.len()),
                list_shared(same_prompt, *seen)
            ));
        }
        warnings
    }
}

fn rows(count: usize) -> String {
    format!("{} row{}", thousands(count), if count == 1 { "" } else { "s" })
}

fn list_shared(shared: &[SharedRow], seen: DataRole) -> String {
    let shown: Vec<String> = shared
        .iter()
        .take(SHOWN_LINES)
        .map(|row| format!("line {} ({seen} line {})", row.line, row.also_at))
        .collect();
    format!("{}{}", shown.join(", "), and_more(shared.len()))
}

/// `line 3`, `lines 3, 4`, `lines 3, 4, 5, 6, 7 and 9 more`.
fn list_lines(lines: &[u64]) -> String {
    let shown: Vec<String> = lines.iter().take(SHOWN_LINES).map(u64::to_string).collect();
    let plural = if lines.len() == 1 { "" } else { "s" };
    format!("line{plural} {}{}", shown.join(", "), and_more(lines.len()))
}

fn and_more(count: usize) -> String {
    match count.saturating_sub(SHOWN_LINES) {
        0 => String::new(),
        more => format!(" and {} more", thousands(more)),
    }
}

/// `1234567` as `1,234,567`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
