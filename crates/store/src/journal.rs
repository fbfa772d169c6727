//! The journal: append-only files of one record a line, one file for each process that writes.
//!
//! A line counts once its newline is written. A process that dies in the middle of a line leaves
//! a torn tail: readers stop before it, and no other process ever writes to that file.
//!
//! A line ends with its own checksum, `,"crc":"1a2b3c4d"}`: the CRC-32C of all that comes before, so
//! that one changed bit in a number is noticed. Before it comes the line's number in its file, and files
//! of one writer are numbered from 1, so that a line or a file that is gone is noticed. Lines of
//! versions that did not write these are taken as they are.
//!
//! Several processes write at a time, each to its own file. Their records are put in order by
//! their numbers (`spec::Record::seq`): a process numbers above all that it has seen, so that what
//! follows from something comes after it, whatever the clocks say and however the files grew.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use spec::{Event, Record, SCHEMA_VERSION, TrialId};

use crate::error::{JournalGap, StoreError};
use crate::hash::hex;
use crate::input::InputFile;
use crate::place::now_ms;
use crate::{atomic, own_files};

/// Appends events to this process's own file.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: File,
    /// Which of the files of this name it is, from 1.
    number: u32,
    /// Length up to the last complete batch.
    committed: u64,
    /// The highest number given or seen.
    seq: u64,
    /// Lines that the file has.
    lines: u64,
}

impl Writer {
    /// Begins the next file `<name>-<n>.jsonl`; its records are numbered above `seq`.
    pub(crate) fn create(dir: &Path, name: &str, seq: u64) -> Result<Self, StoreError> {
        atomic::create_dir(dir)?;
        let files = files(dir)?;
        let own = files.iter().filter(|(file, _)| file.name == name).map(|(file, _)| file.number);
        let mut number = own.max().map_or(1, |last| last + 1);
        loop {
            let path = dir.join(format!("{name}-{number}.jsonl"));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => {
                    atomic::sync_dir(dir)?;
                    return Ok(Self { path, file, number, committed: 0, seq, lines: 0 });
                }
                // Another process of this name was quicker: on a cluster, a job may run twice.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(StoreError::io("create the journal", &path)(error)),
            }
        }
    }

    /// Goes on with the last file of this name, once its torn tail is cut; begins one where there is
    /// none. Only the holder of the sweep's lock may call this for the driver's name.
    pub(crate) fn join(dir: &Path, name: &str, seq: u64) -> Result<Self, StoreError> {
        atomic::create_dir(dir)?;
        let own = files(dir)?.into_iter().filter(|(file, _)| file.name == name);
        let Some((last, path)) = own.max_by_key(|(file, _)| file.number) else {
            return Self::create(dir, name, seq);
        };
        let file = own_files::open_with(OpenOptions::new().append(true), &path)
            .map_err(StoreError::io("open the journal", &path))?;
        let content = own_files::read(&path).map_err(StoreError::io("read the journal", &path))?;
        let lines = content.split(|&byte| byte == b'\n').skip(1).count() as u64;
        let committed = content.len() as u64;
        Ok(Self { path, file, number: last.number, committed, seq, lines })
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Which of the files of its name it is, from 1.
    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    /// The highest number given or seen.
    pub(crate) const fn seq(&self) -> u64 {
        self.seq
    }

    /// Later records are numbered above `seq`.
    pub(crate) fn has_seen(&mut self, seq: u64) {
        self.seq = self.seq.max(seq);
    }

    /// Appends `events` of an attempt at a trial (`None`: events that no attempt is answerable
    /// for) in one write, and makes them durable when one of them is worth it. After an error the
    /// file is as it was before. Returns the time of the records.
    pub(crate) fn append(
        &mut self,
        attempt: Option<u32>,
        events: &[Event],
    ) -> Result<u64, StoreError> {
        let at_ms = now_ms();
        if events.is_empty() {
            return Ok(at_ms);
        }
        let batch = encode((self.seq, self.lines), at_ms, attempt, events)
            .map_err(StoreError::io("encode a record for", &self.path))?;
        if let Err(source) = self.file.write_all(&batch) {
            // Best effort: readers stop before a tail that stays.
            let _ = own_files::truncate(&self.file, self.committed);
            return Err(StoreError::io("append to the journal", &self.path)(source));
        }
        self.committed += batch.len() as u64;
        self.seq += events.len() as u64;
        self.lines += events.len() as u64;
        if events.iter().any(is_durable) {
            self.sync()?;
        } else if events.iter().any(|event| matches!(event, Event::Evaluated { .. })) {
            atomic::send(&self.file);
        }
        Ok(at_ms)
    }

    /// Makes everything appended so far durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(StoreError::io("sync the journal", &self.path))
    }
}

/// Steps and evaluations come by the thousand and come back from the checkpoint if they are lost
/// (which is durable before it counts); all else is synced.
fn is_durable(event: &Event) -> bool {
    !matches!(event, Event::Trained { .. } | Event::Evaluated { .. })
}

/// The lines of `events`, which come after the record `seq` and the line `line`.
fn encode(
    (seq, line): (u64, u64),
    at_ms: u64,
    attempt: Option<u32>,
    events: &[Event],
) -> std::io::Result<Vec<u8>> {
    let mut batch = Vec::with_capacity(events.len() * 256);
    for ((seq, line), event) in (seq + 1..).zip(line + 1..).zip(events) {
        let event = event.clone();
        let record = Record { v: SCHEMA_VERSION, at_ms, seq: Some(seq), attempt, event };
        let begin = batch.len();
        serde_json::to_writer(&mut batch, &record).map_err(std::io::Error::other)?;
        seal(&mut batch, begin, line);
        batch.push(b'\n');
    }
    Ok(batch)
}

/// Before and after the checksum at a line's end, and its digits.
const CRC: &[u8] = b",\"crc\":\"";
const CRC_END: &[u8] = b"\"}";
const CRC_DIGITS: usize = 8;

/// Adds its line and its checksum to the JSON object that begins at `begin` and ends the batch.
fn seal(batch: &mut Vec<u8>, begin: usize, line: u64) {
    batch.pop();
    batch.extend(format!(",\"line\":{line}").bytes());
    let crc = crc32c::crc32c(&batch[begin..]);
    batch.extend(CRC);
    batch.extend(format!("{crc:0CRC_DIGITS$x}").bytes());
    batch.extend(CRC_END);
}

/// Whether a line is what its checksum says; `None` where it has none.
fn is_whole(line: &[u8]) -> Option<bool> {
    let rest = line.strip_suffix(CRC_END)?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(CRC_DIGITS)?)?;
    let content = rest.strip_suffix(CRC)?;
    Some(digits == format!("{:0CRC_DIGITS$x}", crc32c::crc32c(content)).as_bytes())
}

/// A record with the process that wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct News {
    /// The writer's name: `driver`, or a worker's.
    pub writer: Arc<str>,
    /// Which process of that name it is, from 1.
    pub number: u32,
    /// What it wrote.
    pub record: Record,
}

/// Size and hash of the records of all files in `dir`, whichever files they are in.
pub(crate) fn hash(dir: &Path) -> Result<InputFile, StoreError> {
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    for (_, path) in files(dir)? {
        bytes += own_files::open(&path)
            .and_then(|mut file| std::io::copy(&mut file, &mut hasher))
            .map_err(StoreError::io("read the journal", &path))?;
    }
    let sha256 = Some(hex(&hasher.finalize()));
    Ok(InputFile { path: dir.display().to_string(), bytes, sha256, sampled: None })
}

/// Reads what all processes have written, and later what they have added.
#[derive(Debug)]
pub(crate) struct Follower {
    dir: PathBuf,
    files: BTreeMap<FileName, Tail>,
    /// The latest attempt of each trial that has begun.
    attempts: HashMap<TrialId, u32>,
    /// The highest number seen.
    seq: u64,
}

/// A file that is read as it grows.
#[derive(Debug)]
struct Tail {
    writer: Arc<str>,
    number: u32,
    path: PathBuf,
    file: File,
    opened: Instant,
    /// Bytes read so far.
    offset: u64,
    /// The beginning of a line whose end is not written yet.
    partial: Vec<u8>,
    line: usize,
}

impl Follower {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, files: BTreeMap::new(), attempts: HashMap::new(), seq: 0 }
    }

    /// The highest number seen.
    pub(crate) const fn seq(&self) -> u64 {
        self.seq
    }

    /// What was written since the last call, in order and without what no longer counts: what an
    /// attempt at a trial said after a later attempt had begun. The file `own` is left out, if
    /// given.
    pub(crate) fn read(&mut self, own: Option<&Path>) -> Result<Vec<News>, StoreError> {
        for (name, path) in complete_files(&self.dir)? {
            if own != Some(&path) && !self.files.contains_key(&name) {
                let file =
                    own_files::open(&path).map_err(StoreError::io("open the journal", &path))?;
                let (writer, number) = (Arc::from(name.name.as_str()), name.number);
                let (partial, opened) = (Vec::new(), Instant::now());
                let tail = Tail { writer, number, path, file, opened, offset: 0, partial, line: 0 };
                self.files.insert(name, tail);
            }
        }
        let mut news = Vec::new();
        for tail in self.files.values_mut() {
            tail.read(&mut self.seq, &mut news)?;
        }
        news.sort_by_key(|news: &News| news.record.seq);
        news.retain(|news| counts(&mut self.attempts, &news.record));
        Ok(news)
    }
}

/// Whether a record still counts, given the attempts that have begun before it.
fn counts(attempts: &mut HashMap<TrialId, u32>, record: &Record) -> bool {
    let (Some(attempt), Some(trial)) = (record.attempt, record.event.trial()) else { return true };
    let latest = attempts.entry(trial).or_insert(attempt);
    if matches!(record.event, Event::TrialStarted { .. }) {
        *latest = attempt.max(*latest);
    }
    attempt >= *latest
}

/// Bytes read at a time, so that a long journal is not in memory twice.
const CHUNK: u64 = 1 << 20;

/// A file of another machine that is held open may seem not to grow on a network file system;
/// opening it anew shows what was written by then.
pub(crate) const OPEN_ANEW_AFTER: Duration = Duration::from_secs(1);

impl Tail {
    fn read(&mut self, seq: &mut u64, news: &mut Vec<News>) -> Result<(), StoreError> {
        if self.opened.elapsed() > OPEN_ANEW_AFTER {
            self.file = own_files::open(&self.path)
                .and_then(|mut file| file.seek(SeekFrom::Start(self.offset)).map(|_| file))
                .map_err(StoreError::io("open the journal", &self.path))?;
            self.opened = Instant::now();
        }
        loop {
            let read = (&self.file).take(CHUNK).read_to_end(&mut self.partial);
            let length = read.map_err(StoreError::io("read the journal", &self.path))?;
            if length == 0 {
                return Ok(());
            }
            self.offset += length as u64;
            let mut begin = 0;
            while let Some(length) = self.partial[begin..].iter().position(|&b| b == b'\n') {
                self.line += 1;
                let text = &self.partial[begin..begin + length];
                let mut record = parse(&self.path, self.line, text)?;
                // Before there were numbers, one process wrote at a time, after all before it.
                let number = *record.seq.get_or_insert(*seq + 1);
                *seq = number.max(*seq);
                let (writer, number) = (Arc::clone(&self.writer), self.number);
                news.push(News { writer, number, record });
                begin += length + 1;
            }
            self.partial.drain(..begin);
        }
    }
}

/// All records of all files in `dir`, in order. Reads while other processes append.
pub(crate) fn replay(dir: &Path) -> Result<Vec<Record>, StoreError> {
    let news = Follower::new(dir.to_path_buf()).read(None)?;
    Ok(news.into_iter().map(|news| news.record).collect())
}

/// Far above what any sweep writes, and far below where numbers end.
const MOST_RECORDS: u64 = 1 << 53;

/// What a line's object may have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    v: u32,
    at_ms: u64,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(default)]
    attempt: Option<u32>,
    event: Event,
    /// Its number in its file.
    #[serde(default, rename = "line")]
    written_as: Option<u64>,
    /// Only where it is not at the line's end, in a form of its own.
    #[serde(default)]
    crc: Option<String>,
}

fn parse(path: &Path, line: usize, text: &[u8]) -> Result<Record, StoreError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let newer =
        |found| StoreError::NewerFormat { path: path.to_path_buf(), found, known: SCHEMA_VERSION };
    let corrupt = |source| StoreError::CorruptJournal { path: path.to_path_buf(), line, source };
    let damaged = |what: String| corrupt(serde::de::Error::custom(what));
    let checked = is_whole(text);
    if checked == Some(false) {
        return Err(damaged("its checksum is wrong".to_owned()));
    }
    match serde_json::from_slice::<Line>(text) {
        Ok(record) if record.v > SCHEMA_VERSION => Err(newer(record.v)),
        Ok(Line { seq: Some(seq), .. }) if seq > MOST_RECORDS => {
            Err(damaged(format!("no record has the number {seq}")))
        }
        // Something has changed what surrounds the checksum, and who knows what else.
        Ok(Line { crc: Some(_), .. }) if checked.is_none() => {
            Err(damaged("its checksum is not at its end".to_owned()))
        }
        Ok(Line { written_as: Some(written_as), .. }) if written_as != line as u64 => {
            let gap = JournalGap::Line { line, written_as };
            Err(StoreError::JournalGap { path: path.to_path_buf(), gap })
        }
        Ok(Line { v, at_ms, seq, attempt, event, written_as: _, crc: _ }) => {
            Ok(Record { v, at_ms, seq, attempt, event })
        }
        Err(source) => match serde_json::from_slice::<Version>(text) {
            Ok(Version { v }) if v > SCHEMA_VERSION => Err(newer(v)),
            _ => Err(corrupt(source)),
        },
    }
}

/// `driver-2.jsonl`: whose file it is, and which of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct FileName {
    name: String,
    number: u32,
}

/// The journal files, the drivers' first, each writer's in their order.
fn files(dir: &Path) -> Result<Vec<(FileName, PathBuf)>, StoreError> {
    let mut files: Vec<_> = atomic::own_entries(dir)?
        .into_iter()
        .filter_map(|path| {
            let stem = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
            let (name, number) = stem.rsplit_once('-')?;
            let number = number.parse().ok().filter(|number| *number < u32::MAX)?;
            Some((FileName { name: name.to_owned(), number }, path))
        })
        .collect();
    files.sort();
    Ok(files)
}

/// The journal files, of which none is missing.
fn complete_files(dir: &Path) -> Result<Vec<(FileName, PathBuf)>, StoreError> {
    let found = files(dir)?;
    if first_missing(&found).is_none() {
        return Ok(found);
    }
    // A listing may lack a file that was created while it was made.
    let found = files(dir)?;
    match first_missing(&found) {
        None => Ok(found),
        Some(FileName { name, number }) => Err(StoreError::JournalGap {
            path: dir.join(format!("{name}-{number}.jsonl")),
            gap: JournalGap::File,
        }),
    }
}

/// The first file that is not among `files` while a later one of its writer is.
fn first_missing(files: &[(FileName, PathBuf)]) -> Option<FileName> {
    let mut before: Option<&FileName> = None;
    for (file, _) in files {
        let expected = before.filter(|it| it.name == file.name).map_or(1, |it| it.number + 1);
        if file.number != expected {
            return Some(FileName { name: file.name.clone(), number: expected });
        }
        before = Some(file);
    }
    None
}

/// A journal file that ends within a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornLine {
    /// The file.
    pub path: PathBuf,
    /// The unfinished line, from 1.
    pub line: usize,
    /// Its bytes.
    pub bytes: usize,
}

/// Where a file's last line is unfinished, and how many bytes come before that line.
fn torn(path: &Path) -> Result<Option<(TornLine, usize)>, StoreError> {
    let content = own_files::read(path).map_err(StoreError::io("read the journal", path))?;
    let whole = content.iter().rposition(|&b| b == b'\n').map_or(0, |last| last + 1);
    let line = content[..whole].split(|&b| b == b'\n').count();
    let torn = TornLine { path: path.to_path_buf(), line, bytes: content.len() - whole };
    Ok((torn.bytes > 0).then_some((torn, whole)))
}

/// The first file in `dir` that ends within a line.
pub(crate) fn first_torn(dir: &Path) -> Result<Option<TornLine>, StoreError> {
    for (_, path) in files(dir)? {
        if let Some((torn, _)) = torn(&path)? {
            return Ok(Some(torn));
        }
    }
    Ok(None)
}

/// Whether a file in `dir` ends within its first line.
pub(crate) fn has_none_but_a_torn_line(dir: &Path) -> Result<bool, StoreError> {
    for (_, path) in files(dir)? {
        if torn(&path)?.is_some_and(|(torn, _)| torn.line == 1) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Cuts the unfinished last lines that the process `name` left in earlier lives, and returns which
/// they were. Only the one that holds that name now may call this.
pub(crate) fn cut_torn_tails(dir: &Path, name: &str) -> Result<Vec<TornLine>, StoreError> {
    let mut cut = Vec::new();
    for (_, path) in files(dir)?.iter().filter(|(file, _)| file.name == name) {
        if let Some((torn, whole)) = torn(path)? {
            own_files::open_with(OpenOptions::new().write(true), path)
                .and_then(|file| {
                    own_files::truncate(&file, whole as u64)?;
                    file.sync_all()
                })
                .map_err(StoreError::io("cut the torn last line of", path))?;
            cut.push(torn);
        }
    }
    Ok(cut)
}
