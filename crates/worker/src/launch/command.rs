//! Runs a short command of another program and waits for its answer, but not for ever.

use std::io::{ErrorKind, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of an answer that are kept: a hundred thousand jobs have room in it.
const MOST_OUTPUT: u64 = 32 << 20;
/// How long output may lag behind the end of its process.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks at a process that runs.
const PAUSE: Duration = Duration::from_millis(5);

/// What a command answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// What it said when it failed: its errors, else its output, else its status.
    pub fn complaint(&self) -> String {
        let said = [&self.stderr, &self.stdout].map(|text| text.trim());
        match said.into_iter().find(|text| !text.is_empty()) {
            Some(said) => said.to_owned(),
            None => self.status.to_string(),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// There is no such program.
    NotInstalled,
    /// It could not be started or waited for.
    Io(std::io::Error),
    /// It did not end in time and was killed; what it did is not known.
    TimedOut(Duration),
}

/// Runs `command` for at most `limit`.
pub(super) fn ask(command: &mut Command, limit: Duration) -> Result<Answer, NoAnswer> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => NoAnswer::NotInstalled,
            _ => NoAnswer::Io(error),
        })?;
    let pipes = read_aside(child.stdout.take())
        .and_then(|stdout| Ok((stdout, read_aside(child.stderr.take())?)));
    let (stdout, stderr) = pipes.map_err(|error| {
        // What it did is not known: it is the caller's to find out.
        let _ = child.kill();
        let _ = child.wait();
        NoAnswer::Io(error)
    })?;
    let end = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => thread::sleep(PAUSE),
            waited => {
                // It may have ended just now; then these two have nothing left to do.
                let _ = child.kill();
                let _ = child.wait();
                return Err(waited.map_or_else(NoAnswer::Io, |_| NoAnswer::TimedOut(limit)));
            }
        }
    };
    let text = |output: Receiver<Vec<u8>>| {
        let bytes = output.recv_timeout(GRACE).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Answer { status, stdout: text(stdout), stderr: text(stderr) })
}

/// Reads a pipe in a thread of its own, which ends with the pipe: a process that the command left
/// behind may hold it open for long.
fn read_aside(pipe: Option<impl Read + Send + 'static>) -> std::io::Result<Receiver<Vec<u8>>> {
    let (send, receive) = channel();
    thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before an error is still what was said.
            let _ = pipe.take(MOST_OUTPUT).read_to_end(&mut bytes);
        }
        // Nobody listens any more when the wait was given up.
        let _ = send.send(bytes);
    })?;
    Ok(receive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Answer, NoAnswer> {
        ask(Command::new("/bin/sh").args(["-c", script]), limit)
    }

    #[test]
    fn an_answer_has_both_outputs_and_the_status() {
        let answer = shell("echo out; echo err >&2; exit 3", Duration::from_secs(10)).unwrap();
        assert_eq!((answer.stdout.as_str(), answer.stderr.as_str()), ("out\n", "err\n"));
        assert_eq!(answer.status.code(), Some(3));
        assert_eq!(answer.complaint(), "err");
    }

    #[test]
    fn a_command_that_hangs_is_given_up() {
        let answer = shell("sleep 60", Duration::from_millis(50));
        assert!(matches!(answer, Err(NoAnswer::TimedOut(_))), "{answer:?}");
    }

    #[test]
    fn a_pipe_that_is_left_open_does_not_hold_the_answer_back() {
        let answer = shell("echo 7; sleep 30 &", Duration::from_secs(10)).unwrap();
        assert!(answer.status.success());
    }

    #[test]
    fn a_program_that_is_not_there_is_told_apart() {
        let answer = ask(&mut Command::new("no-such-program-here"), GRACE);
        assert!(matches!(answer, Err(NoAnswer::NotInstalled)), "{answer:?}");
    }
}
