//! The page server against clients that mean it no good.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::interrupted_sweep;

/// A server of a small sweep, ended with its value.
struct Served {
    server: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Served {
    fn start(descriptors: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        interrupted_sweep(dir.path());
        let line = format!("ulimit -n {descriptors} && exec \"$0\" serve results/small --port 0");
        let mut server = Command::new("sh")
            .args(["-c", &line, env!("CARGO_BIN_EXE_lorasweep")])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let address = said.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
        Self { server, address, dir }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// What it answers to a request with these lines.
    fn ask(&self, lines: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(lines.replace('\n', "\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A refused connection may be cut.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn page(&self) -> String {
        self.ask("GET / HTTP/1.1\nHost: localhost\n\n")
    }

    fn is_running(&mut self) -> bool {
        self.server.try_wait().unwrap().is_none()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn assert_page(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:.200}");
    assert!(answer.contains("<html"), "{answer:.600}");
}

#[test]
fn the_page_is_given_under_names_of_this_machine_and_nothing_else_is() {
    let served = Served::start(256);
    assert_page(&served.page());
    assert_page(&served.ask("GET /report.html HTTP/1.1\nHost: 127.0.0.1:9000\n\n"));
    let head = served.ask("HEAD / HTTP/1.1\nHost: localhost\n\n");
    assert!(head.starts_with("HTTP/1.1 200 OK") && !head.contains("<html"), "{head}");

    let folder = served.dir.path().join("results/small");
    std::fs::write(folder.join("secret.txt"), "SECRET").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("link.html")).unwrap();
    for path in ["/secret.txt", "/link.html", "/../small/secret.txt", "/%2e%2e/x", "//", "*"] {
        let answer = served.ask(&format!("GET {path} HTTP/1.1\nHost: localhost\n\n"));
        assert!(!answer.contains("200 OK") && !answer.contains("SECRET"), "{path}: {answer}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost\nHost: evil.example"] {
        let answer = served.ask(&format!("GET / HTTP/1.1\nHost: {host}\n\n"));
        assert!(answer.starts_with("HTTP/1.1 403"), "{host}: {answer:.200}");
    }
    let post = served.ask("POST / HTTP/1.1\nHost: localhost\nContent-Length: 4\n\nbody");
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
}

#[test]
fn a_client_that_does_not_read_stops_no_other() {
    let mut served = Served::start(256);
    let mut slow = served.connect();
    let many = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(300);
    slow.write_all(many.as_bytes()).unwrap();
    let _idle: Vec<TcpStream> = (0..20).map(|_| served.connect()).collect();
    assert_page(&served.page());
    assert!(served.is_running());
}

#[test]
fn a_request_without_end_is_refused_and_takes_no_memory() {
    let mut served = Served::start(256);
    let mut endless = served.connect();
    endless.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ").unwrap();
    let block = vec![b'a'; 1 << 16];
    let sent = (0..1024).take_while(|_| endless.write_all(&block).is_ok()).count();
    // What the system's buffers hold, and not the 64 MiB.
    assert!(sent < 512, "{sent} blocks were taken");
    let headers = "X: y\n".repeat(1000);
    let answer = served.ask(&format!("GET / HTTP/1.1\nHost: localhost\n{headers}\n"));
    assert!(!answer.contains("200 OK"), "{answer:.200}");
    assert_page(&served.page());
    assert!(served.is_running());
}

#[test]
fn when_descriptors_run_out_the_server_waits_and_goes_on() {
    let mut served = Served::start(40);
    let idle: Vec<TcpStream> = (0..100).map(|_| served.connect()).collect();
    std::thread::sleep(Duration::from_millis(500));
    assert!(served.is_running());
    drop(idle);
    assert_page(&served.page());
}
