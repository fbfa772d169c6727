//! What was read, what was left out and what to beware of.

mod token_warnings;

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Dataset;
use super::chat::ChatFormat;
use super::model_tokens::ModelTokens;
use super::notes::TokenNotes;
use super::read::FileFormat;
use super::schema::Schema;
use super::skip::{SkippedRow, list_keys};
use super::unwritten::Unwritten;
use token_warnings::token_warnings;

/// Lines named in a rendered report before "and N more".
const SHOWN_LINES: usize = 5;
/// Files of a role shown before "and N more".
const SHOWN_FILES: usize = 8;

/// What a set of rows is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// Where a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Which of [`DataReport::files`] it is in, counted from 0.
    pub file: u32,
    /// Line (of a Parquet file, row) on which it starts, counted from 1.
    pub line: u64,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Rows left out, by line; those that say so themselves included.
    pub skipped: Vec<SkippedRow>,
    /// Lines of the rows that were cut on the right to the length limit.
    pub truncated_lines: Vec<u64>,
    /// What is noticed of the tokens of its rows.
    #[serde(default)]
    pub notes: TokenNotes,
    /// Used rows that are conversations.
    #[serde(default)]
    pub conversations: usize,
    /// Whether some prompts of a schema are conversations, because something is said before them,
    /// and others are plain.
    #[serde(default)]
    pub has_mixed_prompts: bool,
    /// Columns that hold text and are not read.
    #[serde(default)]
    pub unused_columns: Vec<String>,
    /// What the chat template left out of the used rows.
    #[serde(default)]
    pub unwritten: Vec<Unwritten>,
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
    /// Where it is.
    pub at: Place,
    /// The first such row in the other set.
    pub also_at: Place,
}

/// What a set that should be independent shares with another. Only sets that share something are
/// reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OverlapReport {
    /// The set that should be independent; `at` is a place in it.
    pub held_out: DataRole,
    /// The set it is compared with; `also_at` is a place in it.
    pub seen: DataRole,
    /// Rows with the same prompt and completion.
    pub same_row: Vec<SharedRow>,
    /// Rows with the same prompt and another completion.
    pub same_prompt: Vec<SharedRow>,
}

/// All findings about a sweep's data.
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
    /// Whether rows of plain text were joined into sequences of the full length.
    pub packed: bool,
    /// Training rows that repeat an earlier one. They are kept.
    pub repeated_train_rows: Vec<Place>,
    /// Rows shared between sets. They are kept.
    pub overlaps: Vec<OverlapReport>,
    /// How conversations were written, if there were any.
    pub chat_format: Option<ChatFormat>,
    /// What is known of the model's tokens.
    pub model: ModelTokens,
}

impl DataReport {
    /// What a person should look at before trusting the sweep's numbers, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.overlaps.iter().flat_map(|overlap| self.warnings_of(overlap)).collect();
        warnings.extend(self.files.iter().filter_map(FileReport::warning_of_unwritten));
        if !self.repeated_train_rows.is_empty() {
            warnings.push(format!(
                "{} of the train rows repeat an earlier row and weigh more: {}",
                thousands(self.repeated_train_rows.len()),
                self.list_places(&self.repeated_train_rows)
            ));
        }
        if self.split.as_ref().is_some_and(|split| split.forced) {
            warnings.push(format!(
                "{} are few: the split by content hash left one side empty, so the rows with the \
                 smallest hashes validate, and the validation loss will be noisy",
                rows(self.train.rows + self.validation.rows)
            ));
        }
        warnings.extend(self.files.iter().filter_map(FileReport::unused_text));
        warnings.extend(self.files.iter().filter_map(FileReport::mixed_prompts));
        if self.chat_format == Some(ChatFormat::Plain) {
            warnings.push(
                "the model has no chat template: conversations are written as \"### Role:\" \
                 turns, and prompts must be written so too"
                    .to_owned(),
            );
        }
        warnings.extend(token_warnings(self));
        warnings
    }

    /// The report for a terminal: some lines a file, then the warnings.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for role in [DataRole::Train, DataRole::Validation, DataRole::Retention, DataRole::Test] {
            out.push_str(&self.render_files(role));
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
        if self.packed {
            let _ = writeln!(
                out,
                "plain text joined into sequences of max_seq_len tokens: train {}, validation {}",
                thousands(self.train.rows),
                thousands(self.validation.rows)
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

    /// The files of a role; of many, the first ones and a sum.
    fn render_files(&self, role: DataRole) -> String {
        let files: Vec<&FileReport> = self.files.iter().filter(|file| file.role == role).collect();
        let (shown, rest) = files.split_at(files.len().min(SHOWN_FILES));
        let mut out: String = shown.iter().map(|file| file.render()).collect();
        if !rest.is_empty() {
            let sum = |of: fn(&FileReport) -> usize| rest.iter().map(|file| of(file)).sum();
            let _ = writeln!(
                out,
                "{role} and {} more files: {} of {} rows used, {} tokens ({} targets)",
                thousands(rest.len()),
                thousands(sum(|file| file.used)),
                thousands(sum(|file| file.rows)),
                thousands(sum(|file| file.tokens)),
                thousands(sum(|file| file.target_tokens))
            );
        }
        out
    }

    fn warnings_of(&self, overlap: &OverlapReport) -> Vec<String> {
        let OverlapReport { held_out, seen, same_row, same_prompt } = overlap;
        let mut warnings = Vec::new();
        if !same_row.is_empty() {
            warnings.push(format!(
                "leak: {} of {held_out} also in {seen}: {}",
                rows(same_row.len()),
                self.list_shared(same_row, *seen)
            ));
        }
        if !same_prompt.is_empty() {
            warnings.push(format!(
                "{} of {held_out} with a prompt that {seen} has with another completion: {}",
                rows(same_prompt.len()),
                self.list_shared(same_prompt, *seen)
            ));
        }
        warnings
    }

    fn list_shared(&self, shared: &[SharedRow], seen: DataRole) -> String {
        let shown: Vec<String> = shared
            .iter()
            .take(SHOWN_LINES)
            .map(|row| format!("{} ({seen} {})", self.place(row.at), self.place(row.also_at)))
            .collect();
        format!("{}{}", shown.join(", "), and_more(shared.len()))
    }

    /// `line 3`; with the file's path where its role has several.
    pub fn place(&self, place: Place) -> String {
        let Some(file) = self.files.get(place.file as usize) else { return String::new() };
        let unit = file.format.unit();
        if self.files.iter().filter(|other| other.role == file.role).count() > 1 {
            return format!("{} {unit} {}", file.path.display(), place.line);
        }
        format!("{unit} {}", place.line)
    }

    fn list_places(&self, places: &[Place]) -> String {
        let is_single = self.files.iter().filter(|file| file.role == DataRole::Train).count() == 1;
        if is_single {
            let lines: Vec<u64> = places.iter().map(|place| place.line).collect();
            return list_lines(&lines, self.files[0].format.unit());
        }
        let shown = places.iter().take(SHOWN_LINES).map(|place| self.place(*place));
        format!("{}{}", shown.collect::<Vec<_>>().join(", "), and_more(places.len()))
    }
}

impl fmt::Display for DataReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render().trim_end())
    }
}

impl FileReport {
    /// Rows that say themselves that they are not to be learnt.
    pub fn left_out(&self) -> usize {
        self.skipped.iter().filter(|row| row.on_purpose).count()
    }

    fn unused_text(&self) -> Option<String> {
        let columns = &self.unused_columns;
        let (noun, verb) = match columns.len() {
            0 => return None,
            1 => ("column", "holds"),
            _ => ("columns", "hold"),
        };
        Some(format!(
            "{}: {noun} {} {verb} text that is not used; name the columns that are meant under \
             `data.columns`, or remove the others",
            self.path.display(),
            list_keys(columns)
        ))
    }

    fn mixed_prompts(&self) -> Option<String> {
        self.has_mixed_prompts.then(|| {
            format!(
                "{}: rows with `system`, `history` or `tools` are written as conversations, the \
                 others as plain prompts; write all as `messages`, so that the model learns one form",
                self.path.display()
            )
        })
    }

    /// What the chat template leaves out, if anything.
    fn warning_of_unwritten(&self) -> Option<String> {
        let kinds: Vec<String> = self.unwritten.iter().map(ToString::to_string).collect();
        let (path, kinds) = (
            self.path.display(),
            match kinds.as_slice() {
                [] => return None,
                [one] => one.clone(),
                [first @ .., last] => format!("{} and {last}", first.join(", ")),
            },
        );
        Some(format!(
            "{path}: the chat template does not write {kinds}, so nothing of it is learnt or seen"
        ))
    }

    fn render(&self) -> String {
        let unit = self.format.unit();
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
        out.push_str(&self.render_skipped());
        if !self.truncated_lines.is_empty() {
            let _ = writeln!(
                out,
                "  cut {} on the right to max_seq_len: {}",
                rows(self.truncated_lines.len()),
                list_lines(&self.truncated_lines, unit)
            );
        }
        if self.notes.shared_tokens.rows > 0 {
            let _ = writeln!(
                out,
                "  one token has the end of the prompt and the start of the completion in {} (first \
                 {unit} {}); it is learnt",
                rows(self.notes.shared_tokens.rows),
                self.notes.shared_tokens.first_line
            );
        }
        if self.blank_lines > 0 {
            let _ = writeln!(out, "  passed over {} blank line(s)", thousands(self.blank_lines));
        }
        out
    }
}

impl FileReport {
    /// The bad rows, and of those that are left out on purpose why.
    fn render_skipped(&self) -> String {
        let mut out = String::new();
        let unit = self.format.unit();
        let bad: Vec<&SkippedRow> = self.skipped.iter().filter(|row| !row.on_purpose).collect();
        if !bad.is_empty() {
            let _ = writeln!(out, "  skipped {}:", rows(bad.len()));
            for row in bad.iter().take(SHOWN_LINES) {
                let _ = writeln!(out, "    {unit} {}: {}", row.line, row.reason);
            }
            if bad.len() > SHOWN_LINES {
                let _ = writeln!(out, "    and {} more", thousands(bad.len() - SHOWN_LINES));
            }
        }
        let mut reasons: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for row in self.skipped.iter().filter(|row| row.on_purpose) {
            reasons.entry(&row.reason).or_default().push(row.line);
        }
        for (reason, lines) in reasons {
            let (count, lines) = (rows(lines.len()), list_lines(&lines, unit));
            let _ = writeln!(out, "  left out on purpose: {count} ({lines}): {reason}");
        }
        out
    }
}

pub(super) fn rows(count: usize) -> String {
    format!("{} row{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// `line 3`, `lines 3, 4`, `lines 3, 4, 5, 6, 7 and 9 more`.
fn list_lines(lines: &[u64], unit: &str) -> String {
    let shown: Vec<String> = lines.iter().take(SHOWN_LINES).map(u64::to_string).collect();
    let plural = if lines.len() == 1 { "" } else { "s" };
    format!("{unit}{plural} {}{}", shown.join(", "), and_more(lines.len()))
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
