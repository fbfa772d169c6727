//! A judge as a process, with a thread for each of its pipes: whatever it reads or writes when, nobody
//! waits for somebody who waits for him.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use process::{BETWEEN_LOOKS, Group};

use super::JudgeSettings;

/// A longer line is no score.
pub const LONGEST_LINE: u64 = 64 << 10;
/// Lines that wait to be taken; a judge that writes faster waits.
const MOST_WAITING: usize = 256;
/// Lines of stderr that an error shows, and bytes of each.
const SHOWN_LINES: usize = 20;
const SHOWN_BYTES: u64 = 2 << 10;
/// A judge whose stdin ended has so long to end by itself, and as long once it was asked to.
const GRACE: Duration = Duration::from_secs(2);
/// What is left in a pipe is waited for so long: a process that left the group may hold it open.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// What a judge did.
#[derive(Debug)]
pub enum Heard {
    /// It wrote a line.
    Line(Vec<u8>),
    /// It wrote a line of more than [`LONGEST_LINE`] bytes.
    TooLong,
    /// It reads no more.
    Closed,
    /// It writes no more.
    Ended,
}

/// A judge that was started.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Lines on their way to it; `None` once its input has ended.
    ask: Option<Sender<Vec<u8>>>,
    asked: usize,
    /// How many of them it may have read.
    begun: Arc<AtomicUsize>,
    heard: Receiver<Heard>,
    has_ended: bool,
    stderr: Stderr,
}

impl Running {
    pub fn start(settings: &JudgeSettings) -> io::Result<Self> {
        let mut command = process::shell(&settings.command);
        command
            .current_dir(&settings.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Python keeps what it prints into a pipe until some kilobytes are together or it ends.
        if std::env::var_os("PYTHONUNBUFFERED").is_none() {
            command.env("PYTHONUNBUFFERED", "1");
        }
        let mut child = command.spawn()?;
        let (ask, questions) = channel();
        // Two more, so that the threads' own news never wait for lines to be taken.
        let (tell, heard) = sync_channel(MOST_WAITING + 2);
        let begun = Arc::new(AtomicUsize::new(0));
        let stderr = Stderr::default();
        let threads = (|| {
            if let Some(pipe) = child.stdin.take() {
                let (begun, tell) = (Arc::clone(&begun), tell.clone());
                thread::Builder::new().spawn(move || write(pipe, &questions, &begun, &tell))?;
            }
            if let Some(pipe) = child.stdout.take() {
                thread::Builder::new().spawn(move || read(pipe, &tell))?;
            }
            if let Some(pipe) = child.stderr.take() {
                let stderr = stderr.clone();
                thread::Builder::new().spawn(move || stderr.read(pipe))?;
            }
            io::Result::Ok(())
        })();
        let running =
            Self { child, ask: Some(ask), asked: 0, begun, heard, has_ended: false, stderr };
        // Dropped, it is ended.
        threads.map(|()| running)
    }

    /// Sends a line; the call does not wait until it is read.
    pub fn ask(&mut self, line: Vec<u8>) {
        self.asked += 1;
        if let Some(ask) = &self.ask {
            // A judge that reads no more has said so.
            let _ = ask.send(line);
        }
    }

    /// How many lines were sent so far.
    pub const fn asked(&self) -> usize {
        self.asked
    }

    /// How many of them it may have read by now.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Acquire)
    }

    /// What it does next; `None` where that takes longer.
    pub fn hear(&mut self, longest: Duration) -> Option<Heard> {
        if self.has_ended {
            return Some(Heard::Ended);
        }
        let heard = self.heard.recv_timeout(longest).ok()?;
        self.has_ended = matches!(heard, Heard::Ended);
        Some(heard)
    }

    /// Whether it was heard that it writes no more.
    pub const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// How a judge that writes no more has ended.
    pub fn how_it_ended(&mut self) -> String {
        let since = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.to_string(),
                Ok(None) if since.elapsed() < GRACE => thread::sleep(BETWEEN_LOOKS),
                Ok(None) => return "it closed its stdout".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    }

    /// Ends it at once, with all that it started, and returns the last lines of its stderr.
    pub fn end(mut self) -> String {
        self.stop(Duration::ZERO);
        self.stderr.tail()
    }

    /// Ends its input, gives it `grace` to end by itself, and ends what is left.
    fn stop(&mut self, grace: Duration) {
        self.ask = None;
        let since = Instant::now();
        while grace > since.elapsed() && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(BETWEEN_LOOKS);
        }
        let Self { child, .. } = self;
        if cfg!(not(unix)) {
            let _ = child.kill();
        }
        // Its number is that of the group as long as it was not waited for or the group lives on.
        Group::of(child.id()).end(grace, &mut || {
            let _ = child.try_wait();
        });
        let _ = child.try_wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop(GRACE);
    }
}

/// Writes the lines that are asked, until there are no more or nobody reads them.
fn write(
    mut pipe: impl Write,
    questions: &Receiver<Vec<u8>>,
    begun: &AtomicUsize,
    tell: &SyncSender<Heard>,
) {
    for line in questions {
        begun.fetch_add(1, Ordering::Release);
        if pipe.write_all(&line).is_err() {
            // Nobody listens any more when the judge was ended.
            let _ = tell.send(Heard::Closed);
            return;
        }
    }
}

/// Reads lines until there are no more or one is too long.
fn read(pipe: impl Read, tell: &SyncSender<Heard>) {
    let mut pipe = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        let heard = match (&mut pipe).take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => Heard::Ended,
            Ok(count) if count as u64 == LONGEST_LINE && line.last() != Some(&b'\n') => {
                Heard::TooLong
            }
            Ok(_) => Heard::Line(line),
        };
        let is_last = !matches!(heard, Heard::Line(_));
        if tell.send(heard).is_err() || is_last {
            return;
        }
    }
}

/// The last lines that were written to stderr.
#[derive(Debug, Clone, Default)]
struct Stderr(Arc<Mutex<Tail>>);

#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    has_ended: bool,
}

impl Stderr {
    fn read(&self, pipe: impl Read) {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let count = (&mut pipe).take(SHOWN_BYTES).read_until(b'\n', &mut bytes);
            let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !matches!(count, Ok(1..)) {
                tail.has_ended = true;
                return;
            }
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end();
            if !text.is_empty() {
                tail.lines.push_back(text.to_owned());
            }
            if tail.lines.len() > SHOWN_LINES {
                tail.lines.pop_front();
            }
        }
    }

    fn tail(&self) -> String {
        let since = Instant::now();
        loop {
            let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if tail.has_ended || since.elapsed() > LAST_OUTPUT {
                return tail.lines.make_contiguous().join("\n");
            }
            drop(tail);
            thread::sleep(BETWEEN_LOOKS);
        }
    }
}
