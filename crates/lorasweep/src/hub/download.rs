//! The content of one file: what is missing of it is asked for until it is all there, never more
//! than was announced, and it is what its name says.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};
use spec::HubModel;

use super::HubError;
use super::cache::Snapshot;
use super::client::{Client, FileFacts, header};

/// Files from this size on are reported.
const LARGE: u64 = 10 << 20;
/// Requests without a further byte, after which a download is given up.
const TRIES: u32 = 2;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);
/// The largest file whose size the hub may leave open.
const MOST_UNANNOUNCED: u64 = 64 << 20;

/// Puts a file of a commit into a snapshot, unless it is there. What an interrupted download left is
/// resumed; of two programs that download the same file, one waits for the other.
pub(super) fn download(
    client: &Client,
    name: &HubModel,
    commit: &str,
    file: &str,
    snapshot: &Snapshot,
    tell: &mut dyn FnMut(&str),
) -> Result<(), HubError> {
    if snapshot.path(file).is_file() {
        return Ok(());
    }
    let url = client.address(name, commit, file);
    let facts = client.facts(name, file, &url)?;
    let blob = snapshot.blob(&facts.etag);
    if !blob.is_file() {
        let part = snapshot.blob(&format!("{}.incomplete", facts.etag));
        let target = OpenOptions::new().create(true).append(true).open(&part);
        let target = target.map_err(HubError::io("write", &part))?;
        target.lock().map_err(HubError::io("lock", &part))?;
        if !blob.is_file() {
            if let Some(bytes) = facts.bytes.filter(|bytes| *bytes >= LARGE) {
                tell(&format!("downloading {file} of {name} ({} MB)", bytes / 1_000_000));
            }
            let download = Download { client, name, file, url: &url, facts: &facts };
            download.run(target, &part)?;
            store::rename_own_file(&part, &blob).map_err(HubError::io("rename", &part))?;
        }
    }
    snapshot.link(file, &facts.etag)
}

/// A file to be downloaded.
struct Download<'a> {
    pub client: &'a Client,
    pub name: &'a HubModel,
    pub file: &'a str,
    pub url: &'a str,
    pub facts: &'a FileFacts,
}

/// Why a request did not bring the whole rest.
enum Stop {
    /// The connection broke or fell silent: asking again may help.
    Broken(String),
    Failed(HubError),
}

impl From<HubError> for Stop {
    fn from(error: HubError) -> Self {
        Self::Failed(error)
    }
}

impl Download<'_> {
    /// Completes `target`, the file at `path`, and checks it.
    pub fn run(&self, mut target: File, path: &Path) -> Result<(), HubError> {
        let (mut furthest, mut left) = (0, TRIES);
        loop {
            let message = match self.fetch(&mut target, path) {
                Ok(()) => break,
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Broken(message)) => message,
            };
            let have = target.seek(SeekFrom::End(0)).map_err(HubError::io("read", path))?;
            if have > furthest {
                (furthest, left) = (have, TRIES);
            }
            left -= 1;
            if left == 0 {
                let (name, file) = (self.name.clone(), self.file.to_owned());
                let bytes = self.facts.bytes;
                return Err(HubError::BrokenOff { name, file, have, bytes, message });
            }
            std::thread::sleep(BETWEEN_TRIES);
        }
        target.sync_all().map_err(HubError::io("write", path))?;
        self.check(path)
    }

    /// Appends what is missing.
    fn fetch(&self, target: &mut File, path: &Path) -> Result<(), Stop> {
        let write = || HubError::io("write", path);
        let mut have = target.seek(SeekFrom::End(0)).map_err(HubError::io("read", path))?;
        let most = self.facts.bytes.unwrap_or(MOST_UNANNOUNCED);
        if have > most {
            store::truncate(target, 0).map_err(write())?;
            have = 0;
        }
        if have > 0 && self.facts.bytes == Some(have) {
            return Ok(());
        }
        let from = have;
        let mut response = self.client.get(self.name, self.url, |request| match from {
            0 => request,
            _ => request.header("range", format!("bytes={from}-")),
        })?;
        let status = response.status().as_u16();
        // 416: everything is there already.
        if status == 416 && have > 0 {
            return Ok(());
        }
        self.client.check(self.name, self.file, &response)?;
        if status == 206 {
            if !continues(header(&response, "content-range"), have) {
                let message = "it sends another part of the file than asked for".to_owned();
                return Err(self.client.silent(self.name, message).into());
            }
        } else {
            store::truncate(target, 0).map_err(write())?;
            have = 0;
        }
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => return Err(Stop::Broken(error.to_string())),
            };
            have += read as u64;
            if have > most {
                let why = format!("more bytes came than the {most} that were announced");
                return Err(damaged(path, why).into());
            }
            target.write_all(&buffer[..read]).map_err(write())?;
        }
        match self.facts.bytes {
            Some(bytes) if have < bytes => Err(Stop::Broken("the connection ended".to_owned())),
            _ => Ok(()),
        }
    }

    /// Whether the content is what its name says: large files are named by their SHA-256, others as
    /// git names them.
    fn check(&self, path: &Path) -> Result<(), HubError> {
        let mut file = File::open(path).map_err(HubError::io("read", path))?;
        let bytes = file.metadata().map_err(HubError::io("read", path))?.len();
        let etag = &self.facts.etag;
        if let Some(expected) = self.facts.bytes.filter(|expected| *expected != bytes) {
            let why = format!("{bytes} bytes came where {expected} were announced");
            return Err(damaged(path, why));
        }
        let is_hash = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hash = match etag.len() {
            64 if is_hash => {
                fed(&mut file, Sha256::new()).map(|hasher| format!("{:x}", hasher.finalize()))
            }
            40 if is_hash => fed(&mut file, Sha1::new_with_prefix(format!("blob {bytes}\0")))
                .map(|hasher| format!("{:x}", hasher.finalize())),
            _ => return Ok(()),
        };
        if hash.map_err(HubError::io("read", path))? == etag.to_ascii_lowercase() {
            return Ok(());
        }
        Err(damaged(path, "its content is not what the hub announced".to_owned()))
    }
}

/// The hasher after the file's content.
fn fed<D: Write>(file: &mut File, mut hasher: D) -> std::io::Result<D> {
    std::io::copy(file, &mut hasher)?;
    Ok(hasher)
}

/// Whether a part of a file begins at `have`, as far as the answer says (`bytes 1000-1999/2000`).
fn continues(content_range: Option<&str>, have: u64) -> bool {
    content_range.is_none_or(|range| range.trim().starts_with(&format!("bytes {have}-")))
}

/// What is wrong at the beginning is not mended by resuming, so it is removed.
fn damaged(path: &Path, message: String) -> HubError {
    let _ = store::remove_own_file(path);
    HubError::Damaged { path: path.to_owned(), message }
}
