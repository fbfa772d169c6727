//! Hubs that fall silent, send without end, send something else, or lead elsewhere.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::Ran;
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FILES: [&str; 4] =
    ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];

fn content(file: &str) -> Vec<u8> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/quickstart/base");
    fs::read(base.join(file)).expect("a file of the quickstart's base")
}

/// How a hub behaves.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Kind,
    /// After 1000 bytes of the weights it sends nothing more.
    SilentInWeights,
    SilentInListing,
    /// It sends `config.json` without end.
    Endless,
    /// Small files have another content than git's hash of them says.
    OtherContent,
    /// Everything is somewhere else.
    Leads(u16),
}

/// A request's first line, range and authorization.
#[derive(Clone)]
struct Asked {
    line: String,
    range: Option<String>,
    token: Option<String>,
}

struct Hub {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Hub {
    fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let noted = Arc::clone(&noted);
                // A client that went away is no matter here.
                std::thread::spawn(move || answer(&stream, mood, &noted));
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(mut stream: &TcpStream, mood: Mood, noted: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let line = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut asked = Asked { line, range: None, token: None };
    for header in lines {
        let header = header?.to_lowercase();
        match header.split_once(": ") {
            Some(("range", range)) => asked.range = Some(range.to_owned()),
            Some(("authorization", token)) => asked.token = Some(token.to_owned()),
            Some(_) => {}
            None => break,
        }
    }
    noted.lock().unwrap().push(asked.clone());
    let Asked { line, range, .. } = asked;
    let path = line.split(' ').nth(1).unwrap_or_default();
    if let Mood::Leads(port) = mood {
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}{path}\r\n\
             X-Linked-Etag: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            facts(path).0
        );
    }
    let is_head = line.starts_with("HEAD");
    if path.starts_with("/api/") {
        let files: Vec<String> =
            FILES.iter().map(|f| format!(r#"{{"rfilename":"{f}"}}"#)).collect();
        let body = format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, files.join(","));
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
        let silent = mood == Mood::SilentInListing;
        stream.write_all(if silent { b"{" } else { body.as_bytes() })?;
        if silent {
            silence();
        }
        return Ok(());
    }
    let (etag, mut body) = facts(path);
    let is_small = !path.ends_with("model.safetensors");
    if mood == Mood::OtherContent && is_small {
        body[0] ^= 1;
    }
    if mood == Mood::Endless && path.ends_with("config.json") && !is_head {
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        loop {
            stream.write_all(&[b'a'; 1 << 12])?;
        }
    }
    let from = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let (status, rest) = from.map_or(("200 OK", &body[..]), |from: usize| {
        ("206 Partial Content", &body[from.min(body.len())..])
    });
    write!(
        stream,
        "HTTP/1.1 {status}\r\nETag: \"{etag}\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        rest.len()
    )?;
    if is_head {
        return Ok(());
    }
    if mood == Mood::SilentInWeights && !is_small {
        stream.write_all(if from.is_some() { b"" } else { &rest[..1000] })?;
        silence();
        return Ok(());
    }
    stream.write_all(rest)
}

fn silence() {
    std::thread::sleep(Duration::from_secs(600));
}

/// A file's name by content, as the hub gives it: SHA-256 of large files, git's hash of others.
fn facts(path: &str) -> (String, Vec<u8>) {
    let file = path.rsplit('/').next().unwrap_or_default();
    if !FILES.contains(&file) {
        return (String::new(), Vec::new());
    }
    let body = content(file);
    let etag = if file == "model.safetensors" {
        format!("{:x}", Sha256::digest(&body))
    } else {
        use sha1::Sha1;
        let git = Sha1::new_with_prefix(format!("blob {}\0", body.len())).chain_update(&body);
        format!("{:x}", git.finalize())
    };
    (etag, body)
}

/// Runs `lorasweep data` on a sweep whose model is `org/base` of `hub`.
fn data(dir: &Path, hub: &Hub) -> Ran {
    fs::write(dir.join("rows.jsonl"), "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").unwrap();
    let sweep = "method: grid\nmodel: org/base\nparameters: {rank: 8}\n\
                 data: {train: rows.jsonl, validation_fraction: 0.5}\n";
    fs::write(dir.join("sweep.yaml"), sweep).unwrap();
    Command::new(env!("CARGO_BIN_EXE_lorasweep"))
        .args(["data", "sweep.yaml"])
        .current_dir(dir)
        .env("HF_HUB_CACHE", dir.join("cache"))
        .env("HF_HOME", dir.join("home"))
        .env("HF_ENDPOINT", format!("http://127.0.0.1:{}", hub.port))
        .env("HF_TOKEN", "secret")
        .env("HF_HUB_DOWNLOAD_TIMEOUT", "1")
        .env_remove("HF_HUB_OFFLINE")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap()
        .into()
}

fn blobs(dir: &Path) -> PathBuf {
    dir.join("cache/models--org--base/blobs")
}

#[test]
fn a_download_that_falls_silent_ends_with_how_far_it_got_and_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let weights = content("model.safetensors");
    let ran = data(dir.path(), &Hub::start(Mood::SilentInWeights));
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    let far = format!("stopped after 1000 of {} bytes", weights.len());
    assert!(ran.stderr.contains(&far) && ran.stderr.contains("resumes"), "{}", ran.stderr);
    let part = blobs(dir.path()).join(format!("{:x}.incomplete", Sha256::digest(&weights)));
    assert_eq!(fs::read(&part).unwrap(), weights[..1000]);

    let hub = Hub::start(Mood::Kind);
    let ran = data(dir.path(), &hub);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(hub.asked().iter().any(|asked| asked.range.as_deref() == Some("bytes=1000-")));
    assert!(!part.exists());
}

#[test]
fn a_list_of_files_that_never_comes_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let ran = data(dir.path(), &Hub::start(Mood::SilentInListing));
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("timeout"), "{}", ran.stderr);
}

#[test]
fn no_more_bytes_are_taken_than_were_announced() {
    let dir = tempfile::tempdir().unwrap();
    let ran = data(dir.path(), &Hub::start(Mood::Endless));
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    let most = content("config.json").len();
    let said = format!("more bytes came than the {most} that were announced");
    assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    assert_eq!(fs::read_dir(blobs(dir.path())).unwrap().count(), 0);
}

#[test]
fn small_files_are_checked_against_the_hash_that_git_gives_them() {
    let dir = tempfile::tempdir().unwrap();
    let ran = data(dir.path(), &Hub::start(Mood::OtherContent));
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("not what the hub announced"), "{}", ran.stderr);
}

#[test]
fn the_token_does_not_follow_a_redirect_to_another_port() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = Hub::start(Mood::Kind);
    let hub = Hub::start(Mood::Leads(elsewhere.port));
    let ran = data(dir.path(), &hub);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let token = Some("bearer secret");
    assert!(hub.asked().iter().all(|asked| asked.token.as_deref() == token));
    let others = elsewhere.asked();
    assert!(others.iter().any(|asked| asked.line.contains("model.safetensors")));
    assert!(others.iter().all(|asked| asked.token.is_none()));
}
