//! Data files to token sequences: read, tokenised, split, compared.
//!
//! [`prepare`] is the whole of it: rows of JSONL or CSV (`format`, `row`) become tokens with a
//! loss mask (`tokenise`, `chat`, `jinja`, `model_files`), a training file is split by content hash where
//! no validation file is named (`split`), and everything that was left out or looks wrong is told
//! by line number (`skip`, `report`). Nothing here depends on a seed, the clock or the order of
//! threads.

mod chat;
mod error;
mod format;
mod jinja;
mod model_files;
mod report;
mod row;
mod skip;
mod split;
mod tokenise;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use spec::{DataSettings, ValidationSource};

pub use chat::ChatFormat;
pub use error::DataError;
pub use format::FileFormat;
pub use report::{
    DataReport, DataRole, FileReport, OverlapReport, SetReport, SharedRow, SplitReport,
};
pub use row::Schema;
pub use skip::{SkipReason, SkippedRow};

use format::{FileRows, LocatedRow, read_rows};
use split::{PreparedRow, Shared, repeated_lines, shared, split_by_fraction};
use tokenise::Tokeniser;

/// One tokenised row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Token ids, at least two, at most the length limit.
    pub input_ids: Vec<u32>,
    /// As long as `input_ids`: whether token `i` is a target, predicted from position `i - 1`.
    /// The first is always `false`, and at least one is `true`.
    pub loss_mask: Vec<bool>,
}

impl Example {
    /// Number of target tokens.
    pub fn targets(&self) -> usize {
        self.loss_mask.iter().filter(|&&is_target| is_target).count()
    }
}

/// Tokenised rows, in the order of their file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dataset {
    /// The rows.
    pub examples: Vec<Example>,
}

impl Dataset {
    /// Tokens of all rows.
    pub fn tokens(&self) -> usize {
        self.examples.iter().map(|example| example.input_ids.len()).sum()
    }

    /// Target tokens of all rows.
    pub fn targets(&self) -> usize {
        self.examples.iter().map(Example::targets).sum()
    }

    /// SHA-256 over all ids and masks in order, in hexadecimal: equal for two datasets exactly
    /// when training on them is the same.
    pub fn content_hash(&self) -> String {
        let mut hasher = Sha256::new();
        for example in &self.examples {
            hasher.update((example.input_ids.len() as u64).to_le_bytes());
            for (id, is_target) in example.input_ids.iter().zip(&example.loss_mask) {
                hasher.update(id.to_le_bytes());
                hasher.update([u8::from(*is_target)]);
            }
        }
        format!("{:x}", hasher.finalize())
    }

    fn of(rows: Vec<PreparedRow>) -> Self {
        Self { examples: rows.into_iter().map(|row| row.example).collect() }
    }
}

/// The rows of a sweep, and what is to be told about them.
#[derive(Debug)]
pub struct PreparedData {
    /// What weights learn from; never empty.
    pub train: Dataset,
    /// What runs are ranked by; never empty.
    pub validation: Dataset,
    /// What the base model could do already.
    pub retention: Option<Dataset>,
    /// What nothing is chosen by.
    pub test: Option<Dataset>,
    /// What was read, left out and noticed.
    pub report: DataReport,
}

/// Reads, tokenises and splits the files of `settings` with the tokenizer in `model_dir`. Rows of
/// more than `max_seq_len` tokens are cut on the right.
pub fn prepare(
    settings: &DataSettings,
    model_dir: &Path,
    max_seq_len: usize,
) -> Result<PreparedData, DataError> {
    let tokeniser = Tokeniser::load(model_dir)?;
    let load = |role, path: &Path| load_file(role, path, &tokeniser, max_seq_len);
    let (mut train, train_file) = load(DataRole::Train, &settings.train)?;
    let mut files = vec![train_file];

    let mut split_report = None;
    let validation = match &settings.validation {
        ValidationSource::File(path) => {
            let (rows, file) = load(DataRole::Validation, path)?;
            files.push(file);
            rows
        }
        ValidationSource::Fraction(fraction) => {
            let split = checked_split(train, *fraction, &settings.train)?;
            split_report = Some(SplitReport { fraction: *fraction, forced: split.forced });
            train = split.train;
            split.validation
        }
    };
    let mut load_optional = |role, path: Option<&PathBuf>| match path {
        Some(path) => {
            let (rows, file) = load(role, path)?;
            files.push(file);
            Ok(Some(rows))
        }
        None => Ok(None),
    };
    let retention = load_optional(DataRole::Retention, settings.retention.as_ref())?;
    let test = load_optional(DataRole::Test, settings.test.as_ref())?;

    let has_messages = files.iter().any(|file| file.schemas.contains(&Schema::Messages));
    let overlaps = overlaps(&train, &validation, retention.as_deref(), test.as_deref());
    let repeated_train_lines = repeated_lines(&train);
    let (train, validation) = (Dataset::of(train), Dataset::of(validation));
    let (retention, test) = (retention.map(Dataset::of), test.map(Dataset::of));
    let report = DataReport {
        files,
        split: split_report,
        train: SetReport::of(&train),
        validation: SetReport::of(&validation),
        retention: retention.as_ref().map(SetReport::of),
        repeated_train_lines,
        overlaps,
        chat_format: has_messages.then(|| tokeniser.chat_format()),
    };
    Ok(PreparedData { train, validation, retention, test, report })
}

fn checked_split(
    rows: Vec<PreparedRow>,
    fraction: f64,
    path: &Path,
) -> Result<split::Split, DataError> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(DataError::Fraction { fraction });
    }
    split_by_fraction(rows, fraction)
        .ok_or_else(|| DataError::OneDistinctRow { path: path.to_owned() })
}

/// Reads and tokenises one file; an error when more than half of its rows are bad.
fn load_file(
    role: DataRole,
    path: &Path,
    tokeniser: &Tokeniser,
    max_seq_len: usize,
) -> Result<(Vec<PreparedRow>, FileReport), DataError> {
    let FileRows { format, rows, mut skipped, blank_lines } = read_rows(path)?;
    let row_count = rows.len() + skipped.len();
    // Collected in the order of the file, whichever thread is done first.
    let tokenised: Vec<_> =
        rows.par_iter().map(|located| tokeniser.tokenise(&located.row, max_seq_len)).collect();

    let mut prepared = Vec::new();
    let mut schemas = std::collections::BTreeSet::new();
    let mut truncated_lines = Vec::new();
    let mut longest = 0;
    for (LocatedRow { line, schema, row }, tokenised) in rows.into_iter().zip(tokenised) {
        let tokenised = match tokenised {
            Ok(tokenised) => tokenised,
            Err(reason) => {
                skipped.push(SkippedRow { line, reason });
                continue;
            }
        };
        if tokenised.full_tokens > max_seq_len {
            truncated_lines.push(line);
        }
        longest = longest.max(tokenised.full_tokens);
        schemas.insert(schema);
        let (hash, prompt_hash) = (row.content_hash(), row.prompt_hash());
        prepared.push(PreparedRow { line, hash, prompt_hash, example: tokenised.example });
    }
    skipped.sort_by_key(|row| row.line);
    if skipped.len() * 2 > row_count {
        return Err(DataError::TooManyBadRows { path: path.to_owned(), rows: row_count, skipped });
    }
    let report = FileReport {
        role,
        path: path.to_owned(),
        format,
        schemas: schemas.into_iter().collect(),
        rows: row_count,
        used: prepared.len(),
        blank_lines,
        tokens: prepared.iter().map(|row| row.example.input_ids.len()).sum(),
        target_tokens: prepared.iter().map(|row| row.example.targets()).sum(),
        longest,
        skipped,
        truncated_lines,
    };
    Ok((prepared, report))
}

/// Every pair of sets that shares something it should not.
fn overlaps(
    train: &[PreparedRow],
    validation: &[PreparedRow],
    retention: Option<&[PreparedRow]>,
    test: Option<&[PreparedRow]>,
) -> Vec<OverlapReport> {
    let (retention, test) = (retention.unwrap_or_default(), test.unwrap_or_default());
    [
        (DataRole::Validation, validation, DataRole::Train, train),
        (DataRole::Retention, retention, DataRole::Train, train),
        (DataRole::Retention, retention, DataRole::Validation, validation),
        (DataRole::Test, test, DataRole::Train, train),
        (DataRole::Test, test, DataRole::Validation, validation),
    ]
    .into_iter()
    .filter_map(|(held_out, rows, seen, seen_rows)| {
        let Shared { rows: same_row, prompts: same_prompt } = shared(seen_rows, rows);
        let is_shared = !same_row.is_empty() || !same_prompt.is_empty();
        is_shared.then_some(OverlapReport { held_out, seen, same_row, same_prompt })
    })
    .collect()
}
