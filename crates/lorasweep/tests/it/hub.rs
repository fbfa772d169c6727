//! A model named by its hub, against a small hub of this test and a cache as `huggingface_hub`
//! makes it.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::common::Ran;
use sha2::{Digest, Sha256};
use tiny_http::{Header, Request, Response, Server};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FILES: [&str; 4] =
    ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
const REPO_FOLDER: &str = "models--org--base";

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/quickstart/base")
}

fn content(file: &str) -> Vec<u8> {
    fs::read(base().join(file)).expect("a file of the quickstart's base")
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A hub with one model, `org/base`, that writes down what it is asked.
struct FakeHub {
    server: Arc<Server>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeHub {
    fn start(gives: fn(&str) -> Vec<u8>) -> Self {
        let server = Arc::new(Server::http("127.0.0.1:0").expect("a free port"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (mine, noted) = (Arc::clone(&server), Arc::clone(&asked));
        std::thread::spawn(move || {
            for request in mine.incoming_requests() {
                let range = request.headers().iter().find(|h| h.field.equiv("Range"));
                let range = range.map_or(String::new(), |h| format!(" {}", h.value));
                let line = format!("{} {}{range}", request.method(), request.url());
                noted.lock().expect("the list").push(line);
                // A client that went away is no matter here.
                let _ = answer(request, gives);
            }
        });
        Self { server, asked }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.server.server_addr())
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("the list"))
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("a header")
}

fn answer(request: Request, gives: fn(&str) -> Vec<u8>) -> std::io::Result<()> {
    let url = request.url().to_owned();
    let has_token = request
        .headers()
        .iter()
        .any(|h| h.field.equiv("Authorization") && h.value.as_str() == "Bearer secret");
    if url.starts_with("/api/models/org/gated") {
        let gated = header("X-Error-Code", "GatedRepo");
        let refused = Response::from_string("no").with_status_code(401).with_header(gated);
        return request.respond(refused);
    }
    if url == "/api/models/org/base/revision/main" {
        let files: Vec<String> =
            FILES.iter().map(|file| format!(r#"{{"rfilename": "{file}"}}"#)).collect();
        let text = format!(r#"{{"sha": "{COMMIT}", "siblings": [{}]}}"#, files.join(","));
        return request.respond(Response::from_string(text));
    }
    let file = FILES.into_iter().find(|file| url.rsplit('/').next() == Some(file));
    let is_private = url.ends_with("tokenizer.json") || url.starts_with("/api/resolve-cache/");
    let Some(file) = file.filter(|_| has_token || !is_private) else {
        return request.respond(Response::from_string("no").with_status_code(404));
    };
    let bytes = gives(file);
    let is_large = file == "model.safetensors";
    if url.starts_with("/org/base/resolve/") {
        // Large files lie elsewhere; some small ones have moved within the hub.
        let etag = if is_large { sha256(&content(file)) } else { format!("etag-{}", file.len()) };
        let moved = |status: u16, to: String| {
            Response::from_string("").with_status_code(status).with_header(header("Location", &to))
        };
        if is_large {
            // Away from the hub, as far as a client can see.
            let host = request.headers().iter().find(|h| h.field.equiv("Host"));
            let host = host.map_or(String::new(), |h| h.value.to_string());
            let response = moved(302, format!("http://{host}/cdn/{file}"))
                .with_header(header("X-Linked-Etag", &format!("\"{etag}\"")))
                .with_header(header("X-Linked-Size", &bytes.len().to_string()));
            return request.respond(response);
        }
        if file == "config.json" {
            return request.respond(moved(307, format!("/api/resolve-cache/{file}")));
        }
        let etag = header("ETag", &format!("\"{etag}\""));
        return request.respond(Response::from_data(bytes).with_header(etag));
    }
    let range = request.headers().iter().find(|h| h.field.equiv("Range"));
    let from = range.and_then(|h| {
        h.value.as_str().strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
    });
    let (status, from) = from.map_or((200, 0), |from| (206, from));
    let rest = bytes[from.min(bytes.len())..].to_vec();
    let len = Some(rest.len());
    let etag = header("ETag", &format!("\"etag-{}\"", file.len()));
    request.respond(Response::new(status.into(), vec![etag], Cursor::new(rest), len, None))
}

/// Runs `lorasweep data` on a sweep whose model is `model`, with a cache of its own.
fn data(dir: &Path, model: &str, variables: &[(&str, &str)]) -> Ran {
    fs::write(dir.join("rows.jsonl"), "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    let sweep = format!(
        "method: grid\nmodel: {model}\ndata: {{train: rows.jsonl, validation_fraction: 0.5}}\n\
         parameters: {{rank: 8}}\n"
    );
    fs::write(dir.join("sweep.yaml"), sweep).unwrap();
    Command::new(env!("CARGO_BIN_EXE_lorasweep"))
        .args(["data", "sweep.yaml"])
        .current_dir(dir)
        .env("HF_HUB_CACHE", dir.join("cache"))
        .env("HF_HOME", dir.join("home"))
        .env_remove("HF_TOKEN")
        .env_remove("HF_HUB_OFFLINE")
        .env("NO_PROXY", "127.0.0.1")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
        .into()
}

fn assert_used(ran: &Ran) {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("2 of 2 rows used"), "{}", ran.stdout);
}

#[test]
fn a_model_is_downloaded_once_into_the_cache_and_then_found_without_the_network() {
    let dir = tempfile::tempdir().unwrap();
    let hub = FakeHub::start(content);
    let endpoint = hub.endpoint();
    let variables = [("HF_ENDPOINT", endpoint.as_str()), ("HF_TOKEN", "secret")];
    assert_used(&data(dir.path(), "org/base", &variables));
    let repo = dir.path().join("cache").join(REPO_FOLDER);
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    let snapshot = repo.join("snapshots").join(COMMIT);
    for file in FILES {
        assert_eq!(fs::read(snapshot.join(file)).unwrap(), content(file), "{file}");
    }
    let blob = repo.join("blobs").join(sha256(&content("model.safetensors")));
    assert!(blob.is_file(), "large files are named by their SHA-256");
    assert!(!hub.asked().is_empty());

    assert_used(&data(dir.path(), "org/base", &variables));
    assert_eq!(hub.asked(), [""; 0], "a whole model is not asked for again");
    assert_used(&data(dir.path(), "org/base", &[("HF_HUB_OFFLINE", "1")]));
    assert_used(&data(dir.path(), &format!("org/base@{COMMIT}"), &[("HF_HUB_OFFLINE", "1")]));
}

#[test]
fn a_cache_made_by_others_is_used_and_a_folder_of_that_name_goes_before() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("cache").join(REPO_FOLDER);
    let snapshot = repo.join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repo.join("refs")).unwrap();
    fs::write(repo.join("refs/main"), COMMIT).unwrap();
    for file in FILES {
        fs::write(snapshot.join(file), content(file)).unwrap();
    }
    let offline = [("HF_HUB_OFFLINE", "1")];
    assert_used(&data(dir.path(), "org/base", &offline));

    fs::create_dir_all(dir.path().join("org/base")).unwrap();
    let folder = data(dir.path(), "org/base", &offline);
    assert_eq!(folder.code, 2);
    assert!(folder.stderr.contains("has no tokenizer.json"), "{}", folder.stderr);
}

#[test]
fn an_interrupted_download_goes_on_where_it_broke_off() {
    let dir = tempfile::tempdir().unwrap();
    let hub = FakeHub::start(content);
    let endpoint = hub.endpoint();
    let weights = content("model.safetensors");
    let blobs = dir.path().join("cache").join(REPO_FOLDER).join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let part = blobs.join(format!("{}.incomplete", sha256(&weights)));
    fs::write(&part, &weights[..1000]).unwrap();
    let variables = [("HF_ENDPOINT", endpoint.as_str()), ("HF_TOKEN", "secret")];
    assert_used(&data(dir.path(), "org/base", &variables));
    assert!(hub.asked().iter().any(|line| line.ends_with("bytes=1000-")));
    assert!(!part.exists());
}

#[test]
fn content_that_is_not_what_was_announced_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let hub = FakeHub::start(|file| {
        let mut bytes = content(file);
        bytes[0] ^= 1;
        bytes
    });
    let endpoint = hub.endpoint();
    let variables = [("HF_ENDPOINT", endpoint.as_str()), ("HF_TOKEN", "secret")];
    let ran = data(dir.path(), "org/base", &variables);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("not what the hub announced"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_had_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let hub = FakeHub::start(content);
    let endpoint = hub.endpoint();
    let told = |model: &str, variables: &[(&str, &str)]| {
        let ran = data(dir.path(), model, variables);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        ran.stderr
    };
    let here = [("HF_ENDPOINT", endpoint.as_str())];
    let missing = told("org/other", &here);
    assert!(missing.contains("`org/other` is no folder here") && missing.contains("no such model"));
    let gated = told("org/gated", &here);
    assert!(gated.contains("a user without a token") && gated.contains("HF_TOKEN"), "{gated}");
    let offline = told("org/base", &[("HF_HUB_OFFLINE", "1")]);
    assert!(offline.contains("not whole in the cache"), "{offline}");
    // Nothing listens on port 9 (discard) of a machine like this.
    let silent = told("org/base", &[("HF_ENDPOINT", "http://127.0.0.1:9")]);
    assert!(silent.contains("does not answer") && silent.contains("hf download org/base"));
    let private = told("org/base", &here);
    assert!(private.contains("no such model or revision"), "{private}");
}
