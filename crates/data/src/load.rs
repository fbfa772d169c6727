//! One data file to tokenised rows: read, tokenised in batches on all cores, counted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::Example;
use super::cache::{self, TokenCache};
use super::chat::ChatFormat;
use super::error::DataError;
use super::notes::TokenNotes;
use super::read::{FileFacts, LocatedRow, each_row};
use super::report::{DataRole, FileReport, Place};
use super::said::{ContentHash, Row};
use super::schema::{Columns, Schema};
use super::skip::{SkipReason, SkippedRow};
use super::split::PreparedRow;
use super::tokenise::{Tokenised, Tokeniser};
use super::unwritten::UnwrittenCounts;

/// Rows are tokenised together, and their text is freed, when this many rows ...
const BATCH_ROWS: usize = 4096;
/// ... or this many bytes of text are read.
const BATCH_BYTES: usize = 8 << 20;

/// How files are read.
pub(super) struct Loader<'a> {
    pub tokeniser: &'a Tokeniser,
    pub columns: &'a Columns,
    /// Rows are cut on the right to this many tokens.
    pub max_seq_len: usize,
    /// Rows of plain text are not cut: they will be joined.
    pub packing: bool,
    /// Where tokens of large files are kept.
    pub cache: Option<&'a TokenCache>,
}

impl Loader<'_> {
    /// Reads and tokenises one file, `index` among those of the sweep; an error when more than
    /// half of its rows are bad.
    pub fn load(
        &self,
        role: DataRole,
        path: &Path,
        index: u32,
    ) -> Result<(Vec<PreparedRow>, FileReport), DataError> {
        let entry = self.cache.map(|cache| cache.entry(path)).transpose()?.flatten();
        if let Some((mut rows, report)) = entry.as_deref().and_then(cache::read) {
            for row in &mut rows {
                row.place.file = index;
            }
            return Ok((rows, FileReport { role, path: path.to_owned(), ..report }));
        }
        let (rows, report) = self.read(role, path, index)?;
        if let Some(entry) = entry {
            // It would have saved time; nothing depends on it.
            let _ = cache::write(&entry, &rows, &report);
        }
        Ok((rows, report))
    }

    fn read(
        &self,
        role: DataRole,
        path: &Path,
        index: u32,
    ) -> Result<(Vec<PreparedRow>, FileReport), DataError> {
        let mut loading = Loading::new(self, index, path);
        let facts = each_row(path, self.columns, &mut |row| loading.push(row))?;
        loading.end()?;
        let unit = facts.format.unit();
        let report = loading.report(role, path, facts);
        check_skipped(&report, unit)?;
        let mut rows = loading.rows;
        rows.shrink_to_fit();
        Ok((rows, report))
    }
}

/// More than half of the rows that are to be learnt must be usable.
fn check_skipped(report: &FileReport, unit: &'static str) -> Result<(), DataError> {
    let path = report.path.clone();
    let (left_out, bad): (Vec<_>, Vec<_>) =
        report.skipped.iter().cloned().partition(|row| row.on_purpose);
    let rows = report.rows - left_out.len();
    if bad.len() * 2 > rows {
        return Err(DataError::TooManyBadRows { path, rows, skipped: bad, unit });
    }
    match left_out.into_iter().next() {
        Some(first) if rows == 0 => {
            Err(DataError::AllLeftOut { path, rows: report.rows, reason: first.reason })
        }
        _ => Ok(()),
    }
}

/// A row of the batch in work.
struct Pending {
    line: u64,
    schema: Schema,
    row: Row,
}

/// A file half read.
struct Loading<'a> {
    loader: &'a Loader<'a>,
    index: u32,
    path: &'a Path,
    batch: Vec<Pending>,
    batch_bytes: usize,
    rows: Vec<PreparedRow>,
    skipped: Vec<SkippedRow>,
    schemas: BTreeSet<Schema>,
    /// Schemas of rows that are conversations, and of rows that are not.
    forms: BTreeSet<(Schema, bool)>,
    conversations: usize,
    truncated_lines: Vec<u64>,
    longest: usize,
    notes: TokenNotes,
    text: TextStream,
    unwritten: UnwrittenCounts,
}

impl<'a> Loading<'a> {
    fn new(loader: &'a Loader<'a>, index: u32, path: &'a Path) -> Self {
        Self {
            loader,
            index,
            path,
            batch: Vec::new(),
            batch_bytes: 0,
            rows: Vec::new(),
            skipped: Vec::new(),
            schemas: BTreeSet::new(),
            forms: BTreeSet::new(),
            conversations: 0,
            truncated_lines: Vec::new(),
            longest: 0,
            notes: TokenNotes::default(),
            text: TextStream::default(),
            unwritten: UnwrittenCounts::default(),
        }
    }

    fn push(&mut self, row: LocatedRow) -> Result<(), DataError> {
        let LocatedRow { line, parsed } = row;
        match parsed {
            Ok((schema, row)) => {
                self.batch_bytes += row.size();
                self.batch.push(Pending { line, schema, row });
            }
            Err(reason) => self.skip(line, &reason),
        }
        if self.batch.len() >= BATCH_ROWS || self.batch_bytes >= BATCH_BYTES {
            self.tokenise()?;
        }
        Ok(())
    }

    fn skip(&mut self, line: u64, reason: &SkipReason) {
        let on_purpose = reason.is_on_purpose();
        self.skipped.push(SkippedRow { line, reason: reason.to_string(), on_purpose });
    }

    /// Tokenises the batch; results come in the order of the file, whichever thread is done first.
    /// A template that takes too much for one row ends it: it would for the next.
    fn tokenise(&mut self) -> Result<(), DataError> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let Loader { tokeniser, max_seq_len, packing, .. } = *self.loader;
        let results: Vec<_> = batch
            .par_iter()
            .map(|Pending { line, schema, row }| {
                let result = match (schema, row) {
                    (Schema::PlainText, Row::Text(text)) => tokeniser.piece(text),
                    (Schema::Text, _) if packing => tokeniser.tokenise(row, usize::MAX),
                    _ => tokeniser.tokenise(row, max_seq_len),
                };
                match result {
                    Err(SkipReason::TemplateLimit { message }) => Err((*line, message)),
                    result => Ok(result),
                }
            })
            .collect::<Result<_, _>>()
            .map_err(|(line, message)| self.heavy_template(line, message))?;
        for (pending, result) in batch.into_iter().zip(results) {
            match result {
                Ok(tokenised) => self.take(&pending, tokenised),
                Err(reason) => self.skip(pending.line, &reason),
            }
        }
        Ok(())
    }

    fn heavy_template(&self, line: u64, message: String) -> DataError {
        let template = match self.loader.tokeniser.chat_format() {
            ChatFormat::Template { path } => path,
            ChatFormat::Plain => PathBuf::new(),
        };
        DataError::HeavyTemplate { template, path: self.path.to_owned(), line, message }
    }

    fn take(&mut self, pending: &Pending, tokenised: Tokenised) {
        let Pending { line, schema, row } = pending;
        self.schemas.insert(*schema);
        self.forms.insert((*schema, row.is_conversation()));
        self.conversations += usize::from(row.is_conversation());
        if *schema == Schema::PlainText {
            if self.text.is_new() {
                self.text.extend(*line, &self.loader.tokeniser.start().input_ids);
            }
            self.text.extend(*line, &tokenised.example.input_ids);
            self.cut_text();
            return;
        }
        let joins = self.loader.packing && *schema == Schema::Text;
        if tokenised.full_tokens > self.loader.max_seq_len && !joins {
            self.truncated_lines.push(*line);
        }
        if !joins {
            self.notice(*line, &tokenised);
        }
        self.longest = self.longest.max(tokenised.full_tokens);
        self.unwritten.add(*line, tokenised.unwritten);
        self.rows.push(PreparedRow {
            place: Place { file: self.index, line: *line },
            hash: row.content_hash(),
            prompt_hash: row.prompt_hash(),
            joins,
            example: tokenised.example,
        });
    }

    fn notice(&mut self, line: u64, row: &Tokenised) {
        let Tokenised { example, full_tokens, notes, .. } = row;
        let is_cut = *full_tokens > self.loader.max_seq_len;
        self.notes.add(line, *notes, is_cut);
        let positions = self.loader.tokeniser.model().max_position_embeddings;
        if positions.is_some_and(|most| example.input_ids.len() > most) {
            self.notes.beyond_positions.add(line);
        }
    }

    fn cut_text(&mut self) {
        for (line, ids) in self.text.whole(self.loader.max_seq_len) {
            self.take_text(line, ids);
        }
    }

    fn take_text(&mut self, line: u64, input_ids: Vec<u32>) {
        self.longest = self.longest.max(input_ids.len());
        self.rows.push(PreparedRow {
            place: Place { file: self.index, line },
            hash: ContentHash::of_tokens(&input_ids),
            prompt_hash: None,
            joins: self.loader.packing,
            example: Example::of_text(input_ids),
        });
    }

    fn end(&mut self) -> Result<(), DataError> {
        self.tokenise()?;
        if !self.text.is_new() {
            let line = self.text.line_at(self.text.ids.len());
            self.text.extend(line, &[self.loader.tokeniser.eos()]);
            self.cut_text();
            if let Some((line, ids)) = self.text.rest(self.loader.max_seq_len) {
                self.take_text(line, ids);
            }
        }
        self.skipped.sort_by_key(|row| row.line);
        Ok(())
    }

    fn report(&mut self, role: DataRole, path: &Path, facts: FileFacts) -> FileReport {
        let examples = || self.rows.iter().map(|row| &row.example);
        FileReport {
            role,
            path: path.to_owned(),
            format: facts.format,
            schemas: self.schemas.iter().copied().collect(),
            rows: self.rows.len() + self.skipped.len(),
            used: self.rows.len(),
            blank_lines: facts.blank_lines,
            tokens: examples().map(|example| example.input_ids.len()).sum(),
            target_tokens: examples().map(Example::targets).sum(),
            longest: self.longest,
            skipped: std::mem::take(&mut self.skipped),
            truncated_lines: std::mem::take(&mut self.truncated_lines),
            notes: std::mem::take(&mut self.notes),
            conversations: self.conversations,
            has_mixed_prompts: self.schemas.iter().any(|schema| {
                [true, false].iter().all(|form| self.forms.contains(&(*schema, *form)))
            }),
            unused_columns: facts.unused_columns,
            unwritten: self.unwritten.take(),
        }
    }
}

/// The tokens of a text file, from which whole sequences are cut.
#[derive(Debug, Default)]
struct TextStream {
    ids: Vec<u32>,
    /// The lines on which pieces begin, with the places of their first tokens in `ids`.
    pieces: Vec<(usize, u64)>,
}

impl TextStream {
    fn is_new(&self) -> bool {
        self.pieces.is_empty()
    }

    fn extend(&mut self, line: u64, ids: &[u32]) {
        self.pieces.push((self.ids.len(), line));
        self.ids.extend_from_slice(ids);
    }

    /// All sequences of `len` tokens, while there are more: the last token is never a sequence of its own.
    fn whole(&mut self, len: usize) -> Vec<(u64, Vec<u32>)> {
        let cut = self.ids.len().saturating_sub(2) / len * len;
        let whole = self.ids[..cut].chunks_exact(len).enumerate();
        let whole = whole.map(|(index, ids)| (self.line_at(index * len), ids.to_vec())).collect();
        let first = (0, self.line_at(cut));
        self.ids.drain(..cut);
        self.pieces.retain(|(at, _)| *at > cut);
        for (at, _) in &mut self.pieces {
            *at -= cut;
        }
        self.pieces.insert(0, first);
        whole
    }

    /// Line on which the piece of a token begins.
    fn line_at(&self, index: usize) -> u64 {
        let piece = self.pieces.iter().rfind(|(at, _)| *at <= index);
        piece.map_or(1, |(_, line)| *line)
    }

    /// What is left; of `len` tokens and one, that one is let go of.
    fn rest(&mut self, len: usize) -> Option<(u64, Vec<u32>)> {
        let mut ids = std::mem::take(&mut self.ids);
        ids.truncate(len);
        (ids.len() > 1).then_some((self.line_at(0), ids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_of_a_text_are_located_by_the_pieces_they_begin_in() {
        let mut text = TextStream::default();
        text.extend(1, &[0, 1, 2]);
        text.extend(5, &[3, 4, 5, 6, 7]);
        assert_eq!(text.whole(4), [(1, vec![0, 1, 2, 3])]);
        text.extend(9, &[8]);
        assert_eq!(text.whole(4), []);
        text.extend(12, &[9, 10]);
        assert_eq!(text.whole(4), [(5, vec![4, 5, 6, 7])]);
        assert_eq!(text.rest(4), Some((9, vec![8, 9, 10])));
    }
}
