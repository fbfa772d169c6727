//! Tokenised files, kept for the next start: of large files only, found by content.
//!
//! An entry's name is a hash of everything its tokens depend on: the file's bytes, the model's
//! tokenizer and template, the names of columns and the length limit. Entries are written beside
//! and renamed, so readers and writers at the same time do not meet; an entry that is damaged, or
//! of another version, is as good as none. A cache that cannot be written is done without.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::Example;
use super::error::DataError;
use super::report::{FileReport, Place};
use super::said::ContentHash;
use super::split::PreparedRow;

const MAGIC: &[u8; 20] = b"lorasweep tokens v2\n";
/// Smaller files are tokenised about as fast as they are looked up.
const LEAST_BYTES: u64 = 4 << 20;
/// An entry that was not used for this long is removed when another one is written.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest report and row that an undamaged entry has, in bytes and tokens.
const MOST_REPORT_BYTES: u64 = 1 << 30;
const MOST_TOKENS: u32 = 1 << 28;
const HASH_BYTES: usize = 32;

/// A folder of entries.
#[derive(Debug, Clone)]
pub(super) struct TokenCache {
    folder: PathBuf,
    /// Hash of all that is the same for the files of a sweep.
    settings: [u8; HASH_BYTES],
}

impl TokenCache {
    /// The entries in `folder` of files read with these settings.
    pub fn new(folder: &Path, settings: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in settings {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self { folder: folder.to_owned(), settings: hasher.finalize().into() }
    }

    /// The place of a file's entry, whether or not it is there; `None` for a small file.
    pub fn entry(&self, path: &Path) -> Result<Option<PathBuf>, DataError> {
        let mut file = File::open(path).map_err(DataError::io("open", path))?;
        let bytes = file.metadata().map_err(DataError::io("read", path))?.len();
        if bytes < LEAST_BYTES {
            return Ok(None);
        }
        let mut hasher = Sha256::new();
        hasher.update(self.settings);
        // The format is that of the ending.
        hasher.update(path.extension().unwrap_or_default().as_encoded_bytes());
        hasher.update([0]);
        io::copy(&mut file, &mut hasher).map_err(DataError::io("read", path))?;
        Ok(Some(self.folder.join(format!("{:x}", hasher.finalize()))))
    }
}

/// The rows and the report of an entry, as those of file `index` at `path`; `None` where there is
/// no whole entry.
pub(super) fn read(entry: &Path) -> Option<(Vec<PreparedRow>, FileReport)> {
    let file = File::open(entry).ok()?;
    // Kept by when it was used last; a folder that may only be read is no matter.
    let _ = file.set_modified(SystemTime::now());
    let mut reader = Hashing { inner: BufReader::new(file), hasher: Sha256::new() };
    let found = read_content(&mut reader).ok()?;
    let hash: [u8; HASH_BYTES] = reader.hasher.clone().finalize().into();
    let written: [u8; HASH_BYTES] = bytes(&mut reader).ok()?;
    (hash == written).then_some(found)
}

/// Writes an entry.
#[expect(clippy::disallowed_methods, reason = "the names are those of this cache")]
pub(super) fn write(entry: &Path, rows: &[PreparedRow], report: &FileReport) -> io::Result<()> {
    static WRITTEN: AtomicU32 = AtomicU32::new(0);
    let folder = entry.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    remove_unused(folder)?;
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let part = entry.with_extension(format!("{}-{number}.part", std::process::id()));
    let written = write_content(&part, rows, report).and_then(|()| fs::rename(&part, entry));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

/// Removes what nobody used for long, parts of writers that were killed included. What else lies in
/// the folder is another user's.
#[expect(clippy::disallowed_methods, reason = "only files with a name of this cache")]
fn remove_unused(folder: &Path) -> io::Result<()> {
    for file in fs::read_dir(folder)? {
        let file = file?;
        if !is_entry(&file.file_name().to_string_lossy()) || !file.file_type()?.is_file() {
            continue;
        }
        let used = file.metadata().and_then(|facts| facts.modified());
        let age = used.ok().and_then(|used| used.elapsed().ok());
        if age.is_some_and(|age| age > KEPT) {
            // Another process may have removed it.
            let _ = fs::remove_file(file.path());
        }
    }
    Ok(())
}

/// Whether a name is an entry's (a hash) or that of a part of one (`<hash>.<process>-<n>.part`).
fn is_entry(name: &str) -> bool {
    let (hash, rest) = name.split_once('.').unwrap_or((name, "part"));
    let kind = rest.rsplit('.').next();
    hash.len() == 2 * HASH_BYTES
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        && kind == Some("part")
}

fn write_content(path: &Path, rows: &[PreparedRow], report: &FileReport) -> io::Result<()> {
    let mut writer = Hashing { inner: BufWriter::new(File::create(path)?), hasher: Sha256::new() };
    writer.write_all(MAGIC)?;
    let report = serde_json::to_vec(report).map_err(io::Error::other)?;
    writer.write_all(&(report.len() as u64).to_le_bytes())?;
    writer.write_all(&report)?;
    writer.write_all(&(rows.len() as u64).to_le_bytes())?;
    for row in rows {
        let Example { input_ids, loss_mask } = &row.example;
        writer.write_all(&row.place.line.to_le_bytes())?;
        writer.write_all(&row.hash.0)?;
        let flags = u8::from(row.joins) | u8::from(row.prompt_hash.is_some()) << 1;
        writer.write_all(&[flags])?;
        if let Some(hash) = &row.prompt_hash {
            writer.write_all(&hash.0)?;
        }
        writer.write_all(&(input_ids.len() as u32).to_le_bytes())?;
        writer.write_all(bytemuck::cast_slice(input_ids))?;
        let bits = loss_mask.chunks(8).map(|eight| {
            eight.iter().enumerate().fold(0, |byte, (bit, target)| byte | u8::from(*target) << bit)
        });
        writer.write_all(&bits.collect::<Vec<u8>>())?;
    }
    let hash = writer.hasher.clone().finalize();
    writer.write_all(&hash)?;
    writer.flush()?;
    writer.inner.get_ref().sync_all()
}

fn read_content(reader: &mut impl Read) -> io::Result<(Vec<PreparedRow>, FileReport)> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    if bytes::<20>(reader)? != *MAGIC {
        return Err(damaged());
    }
    let length = u64::from_le_bytes(bytes(reader)?);
    if length > MOST_REPORT_BYTES {
        return Err(damaged());
    }
    let mut report = Vec::new();
    reader.take(length).read_to_end(&mut report)?;
    let report: FileReport = serde_json::from_slice(&report).map_err(io::Error::other)?;
    // A damaged count must not ask for memory: rows come one by one.
    let count = u64::from_le_bytes(bytes(reader)?);
    let mut rows = Vec::new();
    for _ in 0..count {
        rows.push(read_row(reader)?);
    }
    Ok((rows, report))
}

fn read_row(reader: &mut impl Read) -> io::Result<PreparedRow> {
    let line = u64::from_le_bytes(bytes(reader)?);
    let hash = ContentHash(bytes(reader)?);
    let [flags] = bytes(reader)?;
    let prompt_hash = if flags & 2 == 0 { None } else { Some(ContentHash(bytes(reader)?)) };
    let count = u32::from_le_bytes(bytes(reader)?);
    if count > MOST_TOKENS {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut ids = Vec::new();
    reader.take(u64::from(count) * 4).read_to_end(&mut ids)?;
    let whole = ids.chunks_exact(4).map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]]));
    let input_ids: Vec<u32> = whole.collect();
    let mut bits = Vec::new();
    reader.take(u64::from(count.div_ceil(8))).read_to_end(&mut bits)?;
    if input_ids.len() != count as usize || bits.len() != count.div_ceil(8) as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let loss_mask = (0..input_ids.len()).map(|index| bits[index / 8] >> (index % 8) & 1 == 1);
    let example = Example { loss_mask: loss_mask.collect(), input_ids };
    let place = Place { file: 0, line };
    Ok(PreparedRow { place, hash, prompt_hash, joins: flags & 1 == 1, example })
}

fn bytes<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Hashes what passes.
struct Hashing<T> {
    inner: T,
    hasher: Sha256,
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.hasher.update(&out[..read]);
        Ok(read)
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenNotes;
    use crate::read::FileFormat;
    use crate::report::DataRole;
    use crate::unwritten::{Kind, Unwritten};

    fn rows() -> Vec<PreparedRow> {
        (1..20)
            .map(|n: u32| {
                let ids: Vec<u32> = (0..=n).collect();
                let hash = ContentHash::of_tokens(&ids);
                PreparedRow {
                    place: Place { file: 0, line: n.into() },
                    hash,
                    prompt_hash: n.is_multiple_of(2).then_some(hash),
                    joins: n.is_multiple_of(3),
                    example: Example {
                        loss_mask: ids.iter().map(|id| id % 3 == 1).collect(),
                        input_ids: ids,
                    },
                }
            })
            .collect()
    }

    fn report() -> FileReport {
        FileReport {
            role: DataRole::Train,
            path: "x.jsonl".into(),
            format: FileFormat::Jsonl,
            schemas: Vec::new(),
            rows: 19,
            used: 19,
            blank_lines: 0,
            tokens: 1,
            target_tokens: 1,
            longest: 20,
            skipped: Vec::new(),
            truncated_lines: vec![3],
            notes: TokenNotes::default(),
            conversations: 2,
            has_mixed_prompts: true,
            unused_columns: vec!["notes".to_owned()],
            unwritten: vec![Unwritten { kind: Kind::Tools, rows: 2, turns: 0, first_line: 3 }],
        }
    }

    #[test]
    fn what_is_written_is_read_and_no_damaged_entry_is() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let entry = dir.path().join("cache/entry");
        write(&entry, &rows(), &report()).expect("writing an entry");
        let (found, facts) = read(&entry).expect("a whole entry");
        assert_eq!(facts, report());
        for (found, wanted) in found.iter().zip(&rows()) {
            assert_eq!(format!("{found:?}"), format!("{wanted:?}"));
        }
        assert_eq!(found.len(), rows().len());
        let whole = fs::read(&entry).expect("the entry");
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&entry, &bytes).expect("damaging the entry");
            assert!(read(&entry).is_none(), "byte {at}");
            fs::write(&entry, &whole[..at]).expect("cutting the entry");
            assert!(read(&entry).is_none(), "cut at {at}");
        }
        assert_eq!(fs::read_dir(dir.path().join("cache")).expect("the folder").count(), 1);
    }

    #[test]
    fn entries_are_found_by_content_ending_and_settings() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| dir.path().join(name);
        let large = vec![b'x'; LEAST_BYTES as usize];
        for name in ["a.jsonl", "b.jsonl", "a.csv"] {
            fs::write(path(name), &large).expect("writing a file");
        }
        fs::write(path("other.jsonl"), [&large[..], b"y"].concat()).expect("writing a file");
        fs::write(path("small.jsonl"), &large[1..]).expect("writing a file");
        let cache = TokenCache::new(dir.path(), &[b"one"]);
        let entry = |name: &str| cache.entry(&path(name)).expect("a readable file");
        let own = entry("a.jsonl");
        assert!(own.is_some() && entry("b.jsonl") == own);
        assert!(entry("a.csv") != own && entry("other.jsonl") != own);
        assert_eq!(entry("small.jsonl"), None);
        let others = TokenCache::new(dir.path(), &[b"o", b"ne"]).entry(&path("a.jsonl"));
        assert_ne!(others.expect("a readable file"), own);
    }
}
