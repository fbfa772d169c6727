//! Asks the hub: which files a model has, and what is in them.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use spec::HubModel;
use ureq::Body;
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;

use super::HubError;
use super::cache::{Snapshot, is_commit};

/// Redirects of a file's address within the hub.
const MOST_REDIRECTS: usize = 5;
/// Files from this size on are spoken of.
const LARGE: u64 = 10 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to a hub.
#[derive(Debug)]
pub struct Client {
    agent: ureq::Agent,
    endpoint: String,
    token: Option<String>,
}

/// What a revision is.
#[derive(Debug)]
pub struct Listing {
    pub commit: String,
    pub files: Vec<String>,
}

/// What the hub says of a file before its content.
struct FileFacts {
    etag: String,
    bytes: Option<u64>,
}

impl Client {
    pub fn new(endpoint: &str, token: Option<String>) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .user_agent(concat!("lorasweep/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Self { agent, endpoint: endpoint.trim_end_matches('/').to_owned(), token }
    }

    /// The commit and the files of a revision.
    pub fn listing(&self, name: &HubModel, revision: &str) -> Result<Listing, HubError> {
        #[derive(Deserialize)]
        struct Answer {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let HubModel { repo, .. } = name;
        let revision = revision.replace('/', "%2F");
        let url = format!("{}/api/models/{repo}/revision/{revision}", self.endpoint);
        let request = self.agent.get(&url);
        let mut response = self.with_token(request).call().map_err(self.no_network(name))?;
        self.check(name, "the list of files", &response)?;
        let text = response.body_mut().read_to_string().map_err(self.no_network(name))?;
        let answer: Option<Answer> = serde_json::from_str(&text).ok();
        let Some(answer) = answer.filter(|answer| is_commit(&answer.sha)) else {
            let message = "it does not answer as a hub does".to_owned();
            return Err(self.silent(name, message));
        };
        let files = answer.siblings.into_iter().map(|file| file.rfilename).collect();
        Ok(Listing { commit: answer.sha, files })
    }

    /// Puts a file into a snapshot, unless it is there. What an interrupted download left is gone
    /// on with; of two programs that download the same file, one waits for the other.
    pub fn download(
        &self,
        name: &HubModel,
        commit: &str,
        file: &str,
        snapshot: &Snapshot,
        tell: &mut dyn FnMut(&str),
    ) -> Result<(), HubError> {
        if snapshot.path(file).is_file() {
            return Ok(());
        }
        let url = format!("{}/{}/resolve/{commit}/{file}", self.endpoint, name.repo);
        let facts = self.facts(name, file, &url)?;
        let blob = snapshot.blob(&facts.etag);
        if !blob.is_file() {
            let part = snapshot.blob(&format!("{}.incomplete", facts.etag));
            let target = OpenOptions::new().create(true).append(true).open(&part);
            let mut target = target.map_err(HubError::io("write", &part))?;
            target.lock().map_err(HubError::io("lock", &part))?;
            if !blob.is_file() {
                if let Some(bytes) = facts.bytes.filter(|bytes| *bytes >= LARGE) {
                    tell(&format!("downloading {file} of {name} ({} MB)", bytes / 1_000_000));
                }
                self.fetch(name, file, &url, &mut target, &part)?;
                check_content(&part, &facts)?;
                store::rename_own_file(&part, &blob).map_err(HubError::io("rename", &part))?;
            }
        }
        snapshot.link(file, &facts.etag)
    }

    /// Asks for a file's name by content; redirects away from the hub lead to the content itself.
    fn facts(&self, name: &HubModel, file: &str, url: &str) -> Result<FileFacts, HubError> {
        let mut url = url.to_owned();
        for _ in 0..MOST_REDIRECTS {
            let request = self.agent.head(&url).config().max_redirects(0).build();
            let response = self.with_token(request).call().map_err(self.no_network(name))?;
            let status = response.status().as_u16();
            if !(300..400).contains(&status) {
                self.check(name, file, &response)?;
            }
            let location = header(&response, "location").filter(|_| status >= 300);
            let etag = header(&response, "x-linked-etag").or_else(|| header(&response, "etag"));
            if let Some(path) = location.filter(|to| to.starts_with('/')) {
                url = format!("{}{path}", self.endpoint);
                continue;
            }
            let etag = etag.unwrap_or_default().trim_start_matches("W/").trim_matches('"');
            // It names a file of the cache.
            if etag.is_empty()
                || !etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            {
                break;
            }
            let bytes = header(&response, "x-linked-size");
            let bytes =
                bytes.or_else(|| header(&response, "content-length").filter(|_| status < 300));
            return Ok(FileFacts {
                etag: etag.to_owned(),
                bytes: bytes.and_then(|bytes| bytes.parse().ok()),
            });
        }
        Err(self.silent(name, format!("it does not say what {file} is")))
    }

    /// Appends what is missing of a file.
    fn fetch(
        &self,
        name: &HubModel,
        file: &str,
        url: &str,
        target: &mut File,
        path: &Path,
    ) -> Result<(), HubError> {
        let have = target.seek(SeekFrom::End(0)).map_err(HubError::io("read", path))?;
        let mut request = self.with_token(self.agent.get(url));
        if have > 0 {
            request = request.header("range", format!("bytes={have}-"));
        }
        let mut response = request.call().map_err(self.no_network(name))?;
        let status = response.status().as_u16();
        // 416: everything is there already.
        if status == 416 && have > 0 {
            return Ok(());
        }
        self.check(name, file, &response)?;
        if status != 206 {
            store::truncate(target, 0).map_err(HubError::io("write", path))?;
        }
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => {
                    let message =
                        format!("{file} broke off ({error}); start again to go on with it");
                    return Err(self.silent(name, message));
                }
            };
            target.write_all(&buffer[..read]).map_err(HubError::io("write", path))?;
        }
        target.sync_all().map_err(HubError::io("write", path))
    }

    fn with_token<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn check(
        &self,
        name: &HubModel,
        file: &str,
        response: &Response<Body>,
    ) -> Result<(), HubError> {
        let (name, endpoint) = (name.clone(), self.endpoint.clone());
        let has_token = self.token.is_some();
        let is_gated = header(response, "x-error-code") == Some("GatedRepo");
        let status = response.status().as_u16();
        Err(match status {
            200..300 => return Ok(()),
            404 => HubError::NotFound { name, endpoint },
            // So the hub answers for names that do not exist, too.
            401 if !has_token && !is_gated => HubError::NotFound { name, endpoint },
            401 | 403 => HubError::NoAccess { name, endpoint, has_token },
            _ => HubError::Status { name, endpoint, file: file.to_owned(), status },
        })
    }

    fn no_network(&self, name: &HubModel) -> impl FnOnce(ureq::Error) -> HubError {
        let (name, endpoint) = (name.clone(), self.endpoint.clone());
        move |error| HubError::NoNetwork { name, endpoint, message: error.to_string() }
    }

    fn silent(&self, name: &HubModel, message: String) -> HubError {
        HubError::NoNetwork { name: name.clone(), endpoint: self.endpoint.clone(), message }
    }
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Whether the content is what its name says: large files are named by their SHA-256.
fn check_content(path: &Path, facts: &FileFacts) -> Result<(), HubError> {
    let damaged = |message: String| {
        // What is wrong at the beginning is not mended by going on.
        let _ = store::remove_own_file(path);
        HubError::Damaged { path: path.to_owned(), message }
    };
    let mut file = File::open(path).map_err(HubError::io("read", path))?;
    let bytes = file.metadata().map_err(HubError::io("read", path))?.len();
    if let Some(expected) = facts.bytes.filter(|expected| *expected != bytes) {
        return Err(damaged(format!("{bytes} bytes came where {expected} were announced")));
    }
    if facts.etag.len() == 64 {
        let mut hasher = Sha256::new();
        std::io::copy(&mut file, &mut hasher).map_err(HubError::io("read", path))?;
        let hash = format!("{:x}", hasher.finalize());
        if hash != facts.etag {
            return Err(damaged("its content is not what the hub announced".to_owned()));
        }
    }
    Ok(())
}
