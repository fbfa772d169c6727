//! The journal: append-only files of one record a line, one file for each launch.
//!
//! A line counts once its newline is written. A process that dies in the middle of a line leaves
//! a torn tail: readers stop before it, and the next launch cuts it off.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use spec::{Event, Record, SCHEMA_VERSION};

use crate::atomic;
use crate::error::StoreError;
use crate::identity::{InputFile, hex};

/// Milliseconds since the Unix epoch; for people, never for decisions.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// Appends events to this process's own file.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: File,
    /// Length up to the last complete batch.
    committed: u64,
}

impl Writer {
    /// Cuts torn tails in `dir`, then begins the next file. Only the holder of the sweep's lock
    /// may call this.
    pub(crate) fn create(dir: &Path) -> Result<Self, StoreError> {
        atomic::create_dir(dir)?;
        let files = files(dir)?;
        for (_, path) in &files {
            cut_torn_tail(path)?;
        }
        let number = files.last().map_or(1, |(number, _)| number + 1);
        let path = dir.join(format!("driver-{number}.jsonl"));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(StoreError::io("create the journal", &path))?;
        atomic::sync_dir(dir)?;
        Ok(Self { path, file, committed: 0 })
    }

    /// Goes on with the last file, once its torn tail is cut; begins one where there is none. Only
    /// the holder of the sweep's lock may call this, and only while nobody drives the sweep.
    pub(crate) fn join(dir: &Path) -> Result<Self, StoreError> {
        let Some((_, path)) = files(dir)?.pop() else { return Self::create(dir) };
        cut_torn_tail(&path)?;
        let opened = OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|file| Ok((file.metadata()?.len(), file)));
        let (committed, file) = opened.map_err(StoreError::io("open the journal", &path))?;
        Ok(Self { path, file, committed })
    }

    /// Appends `events` in one write and makes them durable when one of them is worth it. After
    /// an error the file is as it was before.
    pub(crate) fn append(&mut self, events: &[Event]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let batch = encode(events).map_err(StoreError::io("encode a record for", &self.path))?;
        if let Err(source) = self.file.write_all(&batch) {
            // Best effort: a tail that stays is cut at the next launch.
            let _ = self.file.set_len(self.committed);
            return Err(StoreError::io("append to the journal", &self.path)(source));
        }
        self.committed += batch.len() as u64;
        if events.iter().any(is_durable) { self.sync() } else { Ok(()) }
    }

    /// Makes everything appended so far durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(StoreError::io("sync the journal", &self.path))
    }
}

/// Train steps come by the thousand and come back from the checkpoint if they are lost; all else
/// is synced.
fn is_durable(event: &Event) -> bool {
    !matches!(event, Event::Trained { .. })
}

fn encode(events: &[Event]) -> std::io::Result<Vec<u8>> {
    let at_ms = now_ms();
    let mut batch = Vec::with_capacity(events.len() * 256);
    for event in events {
        let record = Record { v: SCHEMA_VERSION, at_ms, event: event.clone() };
        serde_json::to_writer(&mut batch, &record).map_err(std::io::Error::other)?;
        batch.push(b'\n');
    }
    Ok(batch)
}

/// All records of all files in `dir`, in order. Reads while another process appends.
pub(crate) fn replay(dir: &Path) -> Result<Vec<Record>, StoreError> {
    let mut records = Vec::new();
    for (_, path) in files(dir)? {
        read_file(&path, &mut records)?;
    }
    Ok(records)
}

/// Size and hash of the records of all files in `dir`, whichever files they are in.
pub(crate) fn hash(dir: &Path) -> Result<InputFile, StoreError> {
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    for (_, path) in files(dir)? {
        bytes += File::open(&path)
            .and_then(|mut file| std::io::copy(&mut file, &mut hasher))
            .map_err(StoreError::io("read the journal", &path))?;
    }
    let sha256 = Some(hex(&hasher.finalize()));
    Ok(InputFile { path: dir.display().to_string(), bytes, sha256 })
}

fn read_file(path: &Path, records: &mut Vec<Record>) -> Result<(), StoreError> {
    let mut reader =
        BufReader::new(File::open(path).map_err(StoreError::io("open the journal", path))?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        reader.read_until(b'\n', &mut line).map_err(StoreError::io("read the journal", path))?;
        if line.last() != Some(&b'\n') {
            break;
        }
        records.push(parse(path, number, &line)?);
    }
    Ok(())
}

fn parse(path: &Path, line: usize, text: &[u8]) -> Result<Record, StoreError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let newer =
        |found| StoreError::NewerFormat { path: path.to_path_buf(), found, known: SCHEMA_VERSION };
    match serde_json::from_slice::<Record>(text) {
        Ok(record) if record.v > SCHEMA_VERSION => Err(newer(record.v)),
        Ok(record) => Ok(record),
        Err(source) => match serde_json::from_slice::<Version>(text) {
            Ok(Version { v }) if v > SCHEMA_VERSION => Err(newer(v)),
            _ => Err(StoreError::CorruptJournal { path: path.to_path_buf(), line, source }),
        },
    }
}

/// The journal files with their numbers, ascending.
fn files(dir: &Path) -> Result<Vec<(u32, PathBuf)>, StoreError> {
    let mut files: Vec<_> = atomic::entries(dir)?
        .into_iter()
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            let number = name.strip_prefix("driver-")?.strip_suffix(".jsonl")?.parse().ok()?;
            Some((number, path))
        })
        .collect();
    files.sort();
    Ok(files)
}

fn cut_torn_tail(path: &Path) -> Result<(), StoreError> {
    let bytes = std::fs::read(path).map_err(StoreError::io("read the journal", path))?;
    let complete = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |last| last + 1);
    if complete == bytes.len() {
        return Ok(());
    }
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| {
            file.set_len(complete as u64)?;
            file.sync_all()
        })
        .map_err(StoreError::io("cut the torn last line of", path))
}
