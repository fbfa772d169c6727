//! The cache of `huggingface_hub`: `models--ORG--NAME/{blobs,refs,snapshots}`. A snapshot's files
//! are links to blobs, which are named by their content.

use std::fs;
use std::path::{Path, PathBuf};

use super::HubError;

/// The folder of all cached models.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// One commit of one model.
#[derive(Debug)]
pub struct Snapshot {
    repo: PathBuf,
    folder: PathBuf,
}

impl Cache {
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn repo(&self, repo: &str) -> PathBuf {
        self.folder.join(format!("models--{}", repo.replace('/', "--")))
    }

    /// The snapshot that a revision was when it was cached.
    pub fn snapshot(&self, repo: &str, revision: &str) -> Result<Option<Snapshot>, HubError> {
        let repo = self.repo(repo);
        let reference = repo.join("refs").join(revision);
        let commit = match fs::read_to_string(&reference) {
            Ok(commit) => commit.trim().to_owned(),
            // Perhaps it is a commit itself.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => revision.to_owned(),
            Err(error) => return Err(HubError::io("read", &reference)(error)),
        };
        if !is_commit(&commit) {
            return Ok(None);
        }
        let folder = repo.join("snapshots").join(commit);
        Ok(folder.is_dir().then_some(Snapshot { repo, folder }))
    }

    /// Makes place for a snapshot and notes that the revision is that commit.
    pub fn add(&self, repo: &str, revision: &str, commit: &str) -> Result<Snapshot, HubError> {
        let repo = self.repo(repo);
        let folder = repo.join("snapshots").join(commit);
        for folder in [&folder, &repo.join("blobs")] {
            fs::create_dir_all(folder).map_err(HubError::io("make", folder))?;
        }
        if revision != commit {
            let reference = repo.join("refs").join(revision);
            if let Some(parent) = reference.parent() {
                fs::create_dir_all(parent).map_err(HubError::io("make", parent))?;
            }
            store::write_file(&reference, commit.as_bytes())
                .map_err(|error| HubError::io("write", &reference)(std::io::Error::other(error)))?;
        }
        Ok(Snapshot { repo, folder })
    }
}

impl Snapshot {
    /// The folder that looks like the model's.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a file of the model is, or will be.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Where a file's content is, or will be.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.repo.join("blobs").join(etag)
    }

    /// Makes `file` be the blob.
    pub fn link(&self, file: &str, etag: &str) -> Result<(), HubError> {
        let path = self.path(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(HubError::io("make", parent))?;
        }
        let up = "../".repeat(2 + file.matches('/').count());
        match link_or_copy(&format!("{up}blobs/{etag}"), &self.blob(etag), &path) {
            // Another process downloads the same model.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(HubError::io("write", &path)),
        }
    }
}

#[cfg(unix)]
fn link_or_copy(relative: &str, _blob: &Path, path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(relative, path)
}

#[cfg(not(unix))]
fn link_or_copy(_relative: &str, blob: &Path, path: &Path) -> std::io::Result<()> {
    fs::copy(blob, path).map(|_| ())
}

/// Commits name folders, so they must look like commits.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
