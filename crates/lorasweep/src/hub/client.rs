//! Asks the hub: which files a model has, and what is in them.

use std::time::Duration;

use serde::Deserialize;
use spec::HubModel;
use ureq::http::{Response, Uri};
use ureq::typestate::WithoutBody;
use ureq::{Body, RequestBuilder};

use super::HubError;
use super::cache::is_commit;

/// Redirects of a file's address.
const MOST_REDIRECTS: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The headers of an answer, and the list of a model's files, must have come by then.
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
#[derive(Debug)]
pub(super) struct FileFacts {
    pub etag: String,
    pub bytes: Option<u64>,
}

impl Client {
    /// `silence` is how long the hub may send nothing.
    pub fn new(endpoint: &str, token: Option<String>, silence: Duration) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed here, so that the token stays with the hub.
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_per_read(Some(silence))
            .timeout_per_write(Some(silence))
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
        let mut response = self.get(name, &url, |request| {
            request.config().timeout_recv_body(Some(ANSWER_TIMEOUT)).build()
        })?;
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

    /// Where a file of a commit is.
    pub(super) fn address(&self, name: &HubModel, commit: &str, file: &str) -> String {
        format!("{}/{}/resolve/{commit}/{file}", self.endpoint, name.repo)
    }

    /// Asks for a file's name by content; redirects away from the hub lead to the content itself.
    pub(super) fn facts(
        &self,
        name: &HubModel,
        file: &str,
        url: &str,
    ) -> Result<FileFacts, HubError> {
        let mut url = url.to_owned();
        for _ in 0..MOST_REDIRECTS {
            let request = self.with_token(self.agent.head(&url), &url);
            let response = request.call().map_err(self.no_network(name))?;
            let target = self.redirect(name, &url, &response)?;
            if target.is_none() {
                self.check(name, file, &response)?;
            }
            let is_elsewhere = target.is_some();
            let linked = header(&response, "x-linked-etag");
            if let Some(target) = target.filter(|target| linked.is_none() && self.is_hub(target)) {
                url = target;
                continue;
            }
            let etag = linked.or_else(|| header(&response, "etag"));
            let etag = etag.unwrap_or_default().trim_start_matches("W/").trim_matches('"');
            // It names a file of the cache.
            if etag.is_empty()
                || !etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            {
                break;
            }
            let bytes = header(&response, "x-linked-size");
            let bytes =
                bytes.or_else(|| header(&response, "content-length").filter(|_| !is_elsewhere));
            return Ok(FileFacts {
                etag: etag.to_owned(),
                bytes: bytes.and_then(|bytes| bytes.parse().ok()),
            });
        }
        Err(self.silent(name, format!("it does not say what {file} is")))
    }

    /// Asks for `url` and follows its redirects.
    pub(super) fn get(
        &self,
        name: &HubModel,
        url: &str,
        with: impl Fn(RequestBuilder<WithoutBody>) -> RequestBuilder<WithoutBody>,
    ) -> Result<Response<Body>, HubError> {
        let mut url = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let request = with(self.with_token(self.agent.get(&url), &url));
            let response = request.call().map_err(self.no_network(name))?;
            match self.redirect(name, &url, &response)? {
                Some(target) => url = target,
                None => return Ok(response),
            }
        }
        Err(self.silent(name, format!("it redirects more than {MOST_REDIRECTS} times")))
    }

    /// Where an answer to a request for `url` redirects to.
    fn redirect(
        &self,
        name: &HubModel,
        url: &str,
        response: &Response<Body>,
    ) -> Result<Option<String>, HubError> {
        let status = response.status().as_u16();
        let location = header(response, "location").filter(|_| (300..400).contains(&status));
        let Some(location) = location else { return Ok(None) };
        let origin = Origin::of(url);
        let target = match (&origin, location) {
            (Some(origin), path) if path.starts_with("//") => format!("{}:{path}", origin.scheme),
            (Some(origin), path) if path.starts_with('/') => format!("{origin}{path}"),
            (_, address) => address.to_owned(),
        };
        let is_secure = |origin: Option<&Origin>| origin.is_some_and(|o| o.scheme == "https");
        let to = Origin::of(&target);
        if to.is_none() || (is_secure(origin.as_ref()) && !is_secure(to.as_ref())) {
            let message = format!("it redirects to `{location}`, which is not https or http");
            return Err(self.silent(name, message));
        }
        Ok(Some(target))
    }

    /// Whether an address is one of the hub itself: the same scheme, host and port.
    fn is_hub(&self, url: &str) -> bool {
        Origin::of(url).is_some_and(|origin| Origin::of(&self.endpoint) == Some(origin))
    }

    /// Adds the token to a request that goes to the hub; a host that it redirects to does not get it.
    fn with_token<B>(&self, request: RequestBuilder<B>, url: &str) -> RequestBuilder<B> {
        match self.token.as_ref().filter(|_| self.is_hub(url)) {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    pub(super) fn check(
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

    pub(super) fn silent(&self, name: &HubModel, message: String) -> HubError {
        HubError::NoNetwork { name: name.clone(), endpoint: self.endpoint.clone(), message }
    }
}

pub(super) fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Whom an address belongs to.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    fn of(url: &str) -> Option<Self> {
        let url: Uri = url.parse().ok()?;
        let scheme = url.scheme_str()?.to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let host = url.host()?.to_ascii_lowercase();
        Some(Self { scheme, host, port: url.port_u16().unwrap_or(usual) })
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_to_the_same_scheme_host_and_port_only() {
        let client = Client::new("https://hub.example/", None, ANSWER_TIMEOUT);
        for own in ["https://hub.example/x", "https://HUB.example:443/y"] {
            assert!(client.is_hub(own), "{own}");
        }
        for other in [
            "http://hub.example/x",
            "https://hub.example:8443/x",
            "https://cdn.hub.example/x",
            "https://hub.example@evil.example/x",
            "file:///etc/passwd",
            "/x",
        ] {
            assert!(!client.is_hub(other), "{other}");
        }
    }
}
