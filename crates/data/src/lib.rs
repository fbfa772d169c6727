//! Data files to token sequences: read, tokenised, split, compared.
//!
//! Place on the flow line: beside it; the engine trains and evaluates on what this crate prepares.
//!
//! [`prepare`] is the whole of it: rows of JSONL or CSV (`format`, `row`) become tokens with a
//! loss mask (`tokenise`, `chat`, `jinja`, `model_files`), a training file is split by content hash where
//! no validation file is named (`split`), and everything that was left out or looks wrong is reported
//! by line number (`skip`, `report`). Nothing here depends on a seed, the clock or the order of
//! threads.

mod added_tokens;
mod answers;
mod cache;
mod chat;
mod chat_text;
mod error;
mod field;
mod flags;
mod instruction;
mod jinja;
mod json;
mod load;
mod masks;
mod messages;
mod model_files;
mod model_tokens;
mod notes;
mod pack;
mod plain;
mod preference;
mod read;
mod report;
mod row;
mod said;
mod schema;
mod skip;
mod split;
mod tokenise;
mod tokenizer_growth;
mod turn;
mod unused;
mod unwritten;
mod vocabulary;

use std::path::Path;

use sha2::{Digest, Sha256};
use spec::{DataSettings, PlainChat, ValidationSource};

pub use answers::{AnswerText, Answers, AskedPrompt};
pub use chat::ChatFormat;
pub use chat_text::{ChatText, ChatWriter};
pub use error::DataError;
pub use model_tokens::{ModelTokens, StopTokens};
pub use notes::{Noticed, TokenNotes};
pub use read::{FileFormat, data_files};
pub use report::{
    DataReport, DataRole, FileReport, OverlapReport, Place, SetReport, SharedRow, SplitReport,
};
pub use schema::Schema;
pub use skip::SkippedRow;
pub use unwritten::{Kind as UnwrittenKind, Unwritten};
pub use vocabulary::{TextPiece, Vocabulary};

use cache::TokenCache;
use load::Loader;
use model_files::ModelFiles;
use pack::pack;
use schema::Columns;
use split::{PreparedRow, Shared, repeated, shared, split_by_fraction};
use tokenise::Tokeniser;

/// Guides to what this crate does, by name, in Markdown; `lorasweep guide` shows them.
pub const GUIDES: &[(&str, &str)] = &[("data", include_str!("../guides/data.md"))];

/// One tokenised row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Example {
    /// Token ids, at least two, at most the length limit.
    pub input_ids: Vec<u32>,
    /// As long as `input_ids`: whether token `i` is a target, predicted from position `i - 1`.
    /// The first is always `false`, and at least one is `true`.
    pub loss_mask: Vec<bool>,
}

impl Example {
    /// A row of which everything is learnt that something predicts.
    fn of_text(input_ids: Vec<u32>) -> Self {
        let loss_mask = (0..input_ids.len()).map(|index| index > 0).collect();
        Self { input_ids, loss_mask }
    }

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
}

/// The rows of a sweep, and the findings about them.
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
    /// Where the rows of each set are.
    pub places: SetPlaces,
    /// Set where conversations were written without a chat template.
    pub plain_chat: Option<PlainChat>,
    /// What was read, left out and noticed.
    pub report: DataReport,
}

/// Where the rows of each set are, in its order; of joined rows, where the first one is.
#[derive(Debug, Default)]
pub struct SetPlaces {
    /// Of the training set.
    pub train: Vec<Place>,
    /// Of the validation set.
    pub validation: Vec<Place>,
    /// Of the retention set.
    pub retention: Vec<Place>,
    /// Of the test set.
    pub test: Vec<Place>,
}

/// Reads, tokenises and splits the files of `settings` with the tokenizer in `model_dir`. Rows of
/// more than `max_seq_len` tokens are cut on the right.
pub fn prepare(
    settings: &DataSettings,
    model_dir: &Path,
    max_seq_len: usize,
) -> Result<PreparedData, DataError> {
    prepare_cached(settings, model_dir, max_seq_len, None)
}

/// The same; tokens of large files are taken from the folder `cache`, or kept there for next time.
pub fn prepare_cached(
    settings: &DataSettings,
    model_dir: &Path,
    max_seq_len: usize,
    cache: Option<&Path>,
) -> Result<PreparedData, DataError> {
    let tokeniser = Tokeniser::load(model_dir)?;
    let columns = Columns::new(&settings.columns);
    let packing = settings.packing;
    let cache = match cache {
        Some(folder) => Some(token_cache(folder, settings, model_dir, max_seq_len)?),
        None => None,
    };
    let cache = cache.as_ref();
    let loader = Loader { tokeniser: &tokeniser, columns: &columns, max_seq_len, packing, cache };
    let mut files = Vec::new();
    let mut train = load(&loader, DataRole::Train, &settings.train, &mut files)?;
    let mut split_report = None;
    let validation = match &settings.validation {
        ValidationSource::File(path) => load(&loader, DataRole::Validation, path, &mut files)?,
        ValidationSource::Fraction(fraction) => {
            let split = checked_split(train, *fraction, &settings.train)?;
            split_report = Some(SplitReport { fraction: *fraction, forced: split.forced });
            train = split.train;
            split.validation
        }
    };
    let mut load_optional = |role, path: Option<&Path>| {
        path.map(|path| load(&loader, role, path, &mut files)).transpose()
    };
    let retention = load_optional(DataRole::Retention, settings.retention.as_deref())?;
    let test = load_optional(DataRole::Test, settings.test.as_deref())?;

    let has_chat = files.iter().any(|file| file.conversations > 0);
    let overlaps = overlaps(&train, &validation, retention.as_deref(), test.as_deref());
    let repeated_train_rows = repeated(&train);
    let mut places = SetPlaces::default();
    let set = |rows, places: &mut Vec<Place>| {
        let rows = if packing { pack(rows, max_seq_len) } else { rows };
        places.extend(rows.iter().map(|row| row.place));
        let mut examples: Vec<Example> = rows.into_iter().map(|row| row.example).collect();
        // The list may have taken over the room of the larger one that it was made of.
        examples.shrink_to_fit();
        Dataset { examples }
    };
    let train = set(train, &mut places.train);
    let validation = set(validation, &mut places.validation);
    let retention = retention.map(|rows| set(rows, &mut places.retention));
    let test = test.map(|rows| set(rows, &mut places.test));
    let report = DataReport {
        files,
        split: split_report,
        train: SetReport::of(&train),
        validation: SetReport::of(&validation),
        retention: retention.as_ref().map(SetReport::of),
        packed: packing,
        repeated_train_rows,
        overlaps,
        chat_format: has_chat.then(|| tokeniser.chat_format()),
        model: tokeniser.model().clone(),
    };
    let is_plain = report.chat_format == Some(ChatFormat::Plain);
    let plain_chat = is_plain.then(|| PlainChat { chat_template: tokeniser.plain_chat_template() });
    Ok(PreparedData { train, validation, retention, test, places, plain_chat, report })
}

/// Entries depend on all that makes tokens of a file's rows.
fn token_cache(
    folder: &Path,
    settings: &DataSettings,
    model_dir: &Path,
    max_seq_len: usize,
) -> Result<TokenCache, DataError> {
    let model = ModelFiles::new(model_dir).fingerprint()?;
    let columns: Vec<String> =
        settings.columns.iter().map(|(field, column)| format!("{field}\n{column}")).collect();
    let limits = format!("{max_seq_len} {}", settings.packing);
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let columns = columns.join("\n");
    Ok(TokenCache::new(folder, &[version, limits.as_bytes(), columns.as_bytes(), &model]))
}

/// Reads all files that `path` means, and adds their reports to `files`.
fn load(
    loader: &Loader,
    role: DataRole,
    path: &Path,
    files: &mut Vec<FileReport>,
) -> Result<Vec<PreparedRow>, DataError> {
    let mut rows = Vec::new();
    for path in data_files(path)? {
        let (of_file, report) = loader.load(role, &path, files.len() as u32)?;
        if rows.is_empty() {
            rows = of_file;
        } else {
            rows.extend(of_file);
        }
        files.push(report);
    }
    Ok(rows)
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
