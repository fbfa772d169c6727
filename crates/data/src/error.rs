//! What stops data preparation.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use spec::shown;

use super::skip::{ACCEPTED_SCHEMAS, OTHER_NAMES, SkippedRow, list_keys};

/// How many reasons for bad rows an error lists.
const LISTED_REASONS: usize = 10;

/// Why no data could be prepared. Every message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file could not be read.
    #[error("failed to {operation} {}: {source}", shown(path))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file's name ends in something that is no data format.
    #[error(
        "failed to detect the format of {}: accepted endings are .jsonl, .jsonlines, .ndjson, .json (a \
         list, or one object a line), .csv, .tsv, .parquet and .txt, all but .parquet also with \
         .gz or .zst behind",
        shown(path)
    )]
    UnsupportedExtension {
        /// The file.
        path: PathBuf,
    },
    /// The file is UTF-16.
    #[error("{} is UTF-16; save it as UTF-8 (`iconv -f UTF-16 -t UTF-8`)", shown(path))]
    Utf16 {
        /// The file.
        path: PathBuf,
    },
    /// A setting that means no file.
    #[error(
        "{} {}", shown(path),
        if *is_folder { "holds no data file (.jsonl, .json, .csv, .tsv, .parquet or .txt)" }
        else { "matches no file" }
    )]
    NoFiles {
        /// The folder or pattern.
        path: PathBuf,
        /// Which of the two.
        is_folder: bool,
    },
    /// A pattern that cannot be matched.
    #[error("cannot follow the pattern {}: {message}", shown(path))]
    Pattern {
        /// The pattern.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file that ends too early, or whose compressed content is damaged.
    #[error(
        "failed to read {} after line {line}: {source}; the file is damaged or cut off",
        shown(path)
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// Lines that could be read.
        line: u64,
        /// What the system or the decompressor said.
        source: std::io::Error,
    },
    /// A JSON list that does not parse: nothing after that place can be read.
    #[error("{}: line {line}, column {column}: malformed JSON: {message}", shown(path))]
    MalformedJson {
        /// The file.
        path: PathBuf,
        /// The place, counted from 1.
        line: usize,
        /// Bytes from the line's start.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// One object, several of whose fields hold rows.
    #[error(
        "{} is one JSON object, not a list of rows; lists stand in its fields {}: write the one that \
         is meant into a file of its own, as a list or one object a line",
        shown(path),
        list_keys(fields)
    )]
    SeveralLists {
        /// The file.
        path: PathBuf,
        /// The fields that hold lists of objects.
        fields: Vec<String>,
    },
    /// A Parquet file that cannot be read.
    #[error("failed to read {} as Parquet{}: {message}", shown(path), at_row(*row))]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The row, counted from 1; 0 where it is none.
        row: u64,
        /// What the reader says.
        message: String,
    },
    /// Text that is not UTF-8.
    #[error("{}: line {line}: not UTF-8: byte 0x{byte:02X} at byte {position}", shown(path))]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The first byte that does not fit.
        byte: u8,
        /// Its place in the line, or in the part of it that was read at once.
        position: usize,
    },
    /// A row of a size that only damaged files have.
    #[error(
        "{}: the row that begins on line {line} is longer than {} MiB; is a quote or a bracket \
         left open?",
        shown(path), most >> 20
    )]
    RowTooLong {
        /// The file.
        path: PathBuf,
        /// Where the row begins.
        line: u64,
        /// The limit, in bytes.
        most: usize,
    },
    /// No row at all.
    #[error("{} has no rows: it is empty, blank, or only a header", shown(path))]
    NoRows {
        /// The file.
        path: PathBuf,
    },
    /// Columns that fit no schema.
    #[error(
        "{}: its columns are {}; accepted are {ACCEPTED_SCHEMAS}; {OTHER_NAMES}",
        shown(path),
        list_keys(columns)
    )]
    Header {
        /// The file.
        path: PathBuf,
        /// The columns found.
        columns: Vec<String>,
    },
    /// A column that the sweep file names is not there.
    #[error(
        "{}: there is no column `{column}` (`data.columns.{field}`); its columns are {}",
        shown(path),
        list_keys(columns)
    )]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// Our field.
        field: String,
        /// The column named for it.
        column: String,
        /// The columns found.
        columns: Vec<String>,
    },
    /// A CSV header that swallows the whole file.
    #[error("{}: line 1: a quote opened in the header is never closed", shown(path))]
    CsvHeaderQuote {
        /// The file.
        path: PathBuf,
    },
    /// Two CSV columns of one name.
    #[error("{}: line 1: the column `{column}` stands twice in the header", shown(path))]
    CsvDuplicateColumn {
        /// The file.
        path: PathBuf,
        /// The name.
        column: String,
    },
    /// The CSV reader gave up.
    #[error("failed to read {} as CSV at line {line}: {source}", shown(path))]
    Csv {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        line: u64,
        /// What the reader says.
        source: csv::Error,
    },
    /// All rows of a file say that they are not to be learnt.
    #[error(
        "{}: all {rows} rows are left out on purpose: {reason}; a file needs answers that are to be \
         learnt",
        shown(path)
    )]
    AllLeftOut {
        /// The file.
        path: PathBuf,
        /// Its rows, blank lines not counted.
        rows: usize,
        /// Why the first one is left out.
        reason: String,
    },
    /// More than half of a file's rows cannot be used.
    #[error(
        "{}: {} of {rows} rows cannot be used (at most half may be bad):\n{}",
        shown(path), skipped.len(), list_rows(skipped, unit)
    )]
    TooManyBadRows {
        /// The file.
        path: PathBuf,
        /// Rows of the file that are not left out on purpose, blank lines not counted.
        rows: usize,
        /// The bad ones, by line.
        skipped: Vec<SkippedRow>,
        /// What places count: `line` or `row`.
        unit: &'static str,
    },
    /// Nothing to split.
    #[error(
        "{} has only one distinct row, so it cannot be split into training and validation rows; \
         add rows or name a validation file",
        shown(path)
    )]
    OneDistinctRow {
        /// The file.
        path: PathBuf,
    },
    /// A validation share outside `(0, 1)`.
    #[error("the validation fraction must lie between 0 and 1 (both excluded), found {fraction}")]
    Fraction {
        /// The share.
        fraction: f64,
    },
    /// The model has no tokenizer at all.
    #[error(
        "{} has no tokenizer.json; copy it from where the model came from (it belongs to the \
         model's files)",
        shown(model_dir)
    )]
    NoTokenizer {
        /// The model's folder.
        model_dir: PathBuf,
    },
    /// The model has only a `SentencePiece` tokenizer.
    #[error(
        "{dir} has only a SentencePiece tokenizer ({file}), which is not read; make a \
         tokenizer.json of it: `pip install transformers sentencepiece protobuf`, then `python -c \
         \"from transformers import AutoTokenizer as A; \
         A.from_pretrained('{dir}').save_pretrained('{dir}')\"`",
        dir = shown(model_dir)
    )]
    SentencePieceOnly {
        /// The model's folder.
        model_dir: PathBuf,
        /// The file found.
        file: &'static str,
    },
    /// tokenizer.json is there but cannot be used.
    #[error("failed to load {}: {message}; download the model's tokenizer.json again", shown(path))]
    BadTokenizer {
        /// The file.
        path: PathBuf,
        /// What the tokenizer library says.
        message: String,
    },
    /// A JSON file of the model is malformed.
    #[error("failed to parse {}: {source}; download the file again", shown(path))]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// No end-of-sequence token is named anywhere.
    #[error(
        "{} names no end-of-sequence token; set `eos_token` in tokenizer_config.json or \
         `eos_token_id` in config.json",
        shown(model_dir)
    )]
    NoEos {
        /// The model's folder.
        model_dir: PathBuf,
    },
    /// The end-of-sequence token is not in the vocabulary.
    #[error(
        "{}: the end-of-sequence token {token} is not in tokenizer.json; the two files belong to \
         different models",
        shown(path)
    )]
    UnknownEos {
        /// The file that names the token.
        path: PathBuf,
        /// The token or its id.
        token: String,
    },
    /// A token is listed with an id that it does not get.
    #[error(
        "{}: the token `{token}` is listed with the id {listed}, but beside tokenizer.json it gets \
         {}; the two files belong to different models",
        shown(path), given.map_or_else(|| "none".to_owned(), |id| id.to_string())
    )]
    AddedTokenId {
        /// The file that lists it.
        path: PathBuf,
        /// The token.
        token: String,
        /// The id that is listed.
        listed: u64,
        /// The id that it gets.
        given: Option<u32>,
    },
    /// The chat template does not parse.
    #[error(
        "the chat template in {} does not parse: {message}; fix it, or write the rows as `prompt` \
         + `completion`",
        shown(path)
    )]
    ChatTemplate {
        /// The file that holds it.
        path: PathBuf,
        /// What the template engine says.
        message: String,
    },
    /// The chat template takes more memory or time than one conversation can need.
    #[error(
        "the chat template in {} takes too much at line {line} of {}: {message}; it may be damaged or \
         hostile: take the template of the model's publisher, or write the rows as `prompt` + \
         `completion`",
        shown(template),
        shown(path)
    )]
    HeavyTemplate {
        /// The file that holds the template.
        template: PathBuf,
        /// The data file.
        path: PathBuf,
        /// The row's line.
        line: u64,
        /// What it takes too much of.
        message: String,
    },
}

impl DataError {
    /// For `map_err`: an IO error with its operation and path.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source }
    }

    /// For `map_err`: a file that cannot be read on, `line` lines from its start.
    pub(super) fn broken(path: &Path, line: u64) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Broken { path, line, source }
    }
}

fn at_row(row: u64) -> String {
    if row == 0 { String::new() } else { format!(" at row {row}") }
}

fn list_rows(skipped: &[SkippedRow], unit: &str) -> String {
    let mut by_reason: IndexMap<&str, Vec<u64>> = IndexMap::new();
    for row in skipped {
        by_reason.entry(&row.reason).or_default().push(row.line);
    }
    let listed = by_reason.iter().take(LISTED_REASONS);
    let mut lines: Vec<String> =
        listed.map(|(reason, rows)| format!("  {}: {reason}", places(rows, unit))).collect();
    let rest: usize = by_reason.values().skip(LISTED_REASONS).map(Vec::len).sum();
    if rest > 0 {
        lines.push(format!("  and {rest} more"));
    }
    lines.join("\n")
}

/// `line 2`, `lines 2, 3, 5 and 9 more`.
fn places(rows: &[u64], unit: &str) -> String {
    const MOST: usize = 3;
    let plural = if rows.len() == 1 { "" } else { "s" };
    let named: Vec<String> = rows.iter().take(MOST).map(u64::to_string).collect();
    let rest = match rows.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{unit}{plural} {}{rest}", named.join(", "))
}
