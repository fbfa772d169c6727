//! A command as a process: its output goes to a log, its lines to whoever listens, and it is ended
//! with everything that it started.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use process::{AFTER_KILL, BETWEEN_LOOKS, Group, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};

/// A longer line is cut in two: it is no metric, and memory has an end.
const LONGEST_LINE: u64 = 1 << 20;
/// What is left of the output after the end is waited for so long; a process that was left behind
/// may hold the pipe for ever.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// What a process did.
#[derive(Debug)]
pub(super) enum News {
    /// It printed a line on stdout.
    Line(String),
    /// It ended, and all it printed has been read.
    Ended(io::Result<ExitStatus>),
}

/// News of a process, with the tag it was started with.
pub(super) type Tagged<T> = (T, News);

/// A running command, the leader of a process group.
#[derive(Debug)]
pub(super) struct Process {
    /// `None` when it had ended before its number could be read.
    group: Option<Group>,
}

/// What to run, where, and where its output goes.
pub(super) struct Start<'a> {
    /// A line for the shell.
    pub line: &'a str,
    pub dir: &'a Path,
    /// Variables set beside those that are inherited.
    pub env: &'a BTreeMap<String, String>,
    /// Appended to.
    pub log: &'a Path,
}

impl Process {
    /// Starts a command in a process group of its own. Must be called within the runtime.
    pub fn start<T>(start: &Start, tag: T, news: &Sender<Tagged<T>>) -> io::Result<Self>
    where
        T: Copy + Send + 'static,
    {
        let log = store::open_with(OpenOptions::new().create(true).append(true), start.log)?;
        let (out_log, error_log) = (log.try_clone()?, log.try_clone()?);
        writeln!(&log, "$ {}", start.line)?;
        let mut child = Command::from(process::shell(start.line))
            .kill_on_drop(cfg!(not(unix)))
            .current_dir(start.dir)
            .envs(start.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let group = child.id().map(Group::of);
        let (out, errors, news) = (child.stdout.take(), child.stderr.take(), news.clone());
        let lines = news.clone();
        let out = tokio::spawn(async move { relay(out, out_log, Some((tag, lines))).await });
        let errors = tokio::spawn(async move { relay::<T, _>(errors, error_log, None).await });
        tokio::spawn(async move {
            let status = child.wait().await;
            let _ = timeout(LAST_OUTPUT, async { tokio::join!(out, errors) }).await;
            // Nobody listens any more when the trainer is gone.
            let _ = news.send((tag, News::Ended(status))).await;
        });
        Ok(Self { group })
    }

    /// A command that another process started, as its group.
    pub const fn of_group(group: u32) -> Self {
        Self { group: Some(Group::of(group)) }
    }

    /// The number of its group.
    pub fn group(&self) -> Option<u32> {
        self.group.map(Group::number)
    }

    /// Asks the command, and all that it started, to end; ends it after `grace`.
    pub async fn end(&self, grace: Duration) {
        let Some(group) = self.group else { return };
        let asked = Instant::now();
        group.signal(Signal::End);
        while group.is_there() && asked.elapsed() < grace {
            sleep(BETWEEN_LOOKS).await;
        }
        group.signal(Signal::Kill);
        while group.is_there() && asked.elapsed() < grace + AFTER_KILL {
            sleep(BETWEEN_LOOKS).await;
        }
    }
}

/// Copies lines to the log and, if someone listens, to them.
async fn relay<T: Copy, R: AsyncRead + Unpin>(
    stream: Option<R>,
    mut log: File,
    listener: Option<(T, Sender<Tagged<T>>)>,
) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // A full disk must not end the training whose losses can still be recorded.
        let _ = log.write_all(&bytes);
        if let Some((tag, news)) = &listener {
            let line = String::from_utf8_lossy(&bytes).into_owned();
            if line.trim_start().starts_with('{')
                && news.send((*tag, News::Line(line))).await.is_err()
            {
                return;
            }
        }
    }
}

/// The last `count` lines of a log, of its last kilobytes.
pub(super) fn tail(log: &Path, count: usize) -> String {
    const BYTES: usize = 8 << 10;
    let bytes = read_end(log, BYTES as u64).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(last_written).filter(|line| !line.trim().is_empty());
    let lines: Vec<&str> = lines.collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// What a terminal would show of a line: a progress bar writes over its line.
fn last_written(line: &str) -> &str {
    line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default()
}

fn read_end(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = store::open_with(OpenOptions::new().read(true), path)?;
    let from = file.metadata()?.len().saturating_sub(bytes);
    file.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(end)
}
