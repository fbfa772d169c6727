//! Worker processes as children of the driver, on this machine.
//!
//! A pipe runs each way, beside the files that carry everything: a byte means "look at your files
//! now", and the end of the worker's input means that the driver is gone, upon which the worker
//! saves and ends. Children do not hear the terminal's Ctrl-C; the driver does, and tells them.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use store::{Holder, SweepFolder};
use sysinfo::{Pid, ProcessesToUpdate, System};

use super::{DISK_FULL, Handle, Hint, LaunchError, Launcher, NO_SPACE, Submission, WorkerCommand};

/// A worker that was asked to end has so long to save.
const TIME_TO_SAVE: Duration = Duration::from_secs(10);
/// A worker without a driver ends by itself; after so long it is ended.
const TIME_TO_NOTICE: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Starts workers as child processes.
#[derive(Debug)]
pub struct LocalLauncher {
    folder: SweepFolder,
    children: BTreeMap<Handle, Running>,
    heard: Receiver<()>,
    say: Sender<()>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    /// When it was asked to end.
    asked: Option<Instant>,
    gone: Option<String>,
}

impl LocalLauncher {
    /// A launcher for the sweep in `folder`.
    pub fn new(folder: SweepFolder) -> Self {
        let (say, heard) = mpsc::channel();
        Self { folder, children: BTreeMap::new(), heard, say }
    }

    /// Waits until the process under a worker's name has ended, and ends it when it does not.
    fn await_orphan(&self, name: &str, holder: &Holder) -> Result<(), LaunchError> {
        let failed = |said: String| LaunchError {
            what: format!("end {name}, which an earlier driver has left ({holder})"),
            said,
            help: Some(format!(
                "end the process {} on {} yourself, when it is a worker of this sweep",
                holder.pid, holder.host
            )),
        };
        let began = Instant::now();
        let mut is_killed = false;
        loop {
            match self.folder.worker(name).holder() {
                Ok(None) => return Ok(()),
                Ok(Some(_)) => {}
                Err(error) => return Err(failed(error.to_string())),
            }
            if began.elapsed() > 2 * TIME_TO_NOTICE {
                return Err(failed("it does not end".to_owned()));
            }
            // The number in the lock may be that of a process of another machine or container.
            if !is_killed && began.elapsed() > TIME_TO_NOTICE && holder.is_process_here() {
                let pid = Pid::from_u32(holder.pid);
                let mut system = System::new();
                system.refresh_processes(ProcessesToUpdate::Some(&[pid]), false);
                system.process(pid).map(sysinfo::Process::kill);
                is_killed = true;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }
}

impl Launcher for LocalLauncher {
    fn submit(&mut self, worker: &WorkerCommand) -> Result<Submission, LaunchError> {
        let failed = |error: std::io::Error| LaunchError {
            what: format!("run `{}`", worker.program.display()),
            said: error.to_string(),
            help: None,
        };
        let log = store::open_with(OpenOptions::new().create(true).append(true), &worker.log)
            .map_err(failed)?;
        let mut command = Command::new(&worker.program);
        command
            .args(&worker.args)
            .envs(&worker.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(failed)?;
        let handle = Handle(child.id().to_string());
        let input = child.stdin.take();
        if let Some(mut output) = child.stdout.take() {
            let say = self.say.clone();
            let listen = move || {
                let mut bytes = [0; 256];
                // Nobody listens any more once the driver has come to its end.
                loop {
                    match output.read(&mut bytes) {
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Ok(0) | Err(_) => break,
                        Ok(_) => {
                            let _ = say.send(());
                        }
                    }
                }
                let _ = say.send(());
            };
            if let Err(error) = std::thread::Builder::new().spawn(listen) {
                // Unheard it would be taken for lost.
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(error));
            }
        }
        self.children.insert(handle.clone(), Running { child, input, asked: None, gone: None });
        Ok(Submission::Known(handle))
    }

    /// None can be taken over, since their pipes are gone: those that still live are awaited.
    fn find(&mut self) -> Result<BTreeMap<String, Handle>, LaunchError> {
        let failed = |error: store::StoreError| LaunchError {
            what: "look for workers that an earlier driver has left".to_owned(),
            said: error.to_string(),
            help: error.help(),
        };
        for worker in self.folder.workers().map_err(failed)? {
            if let Some(holder) = worker.holder().map_err(failed)? {
                self.await_orphan(&worker.name, &holder)?;
            }
        }
        Ok(BTreeMap::new())
    }

    fn poll(&mut self, workers: &[Handle]) -> Result<BTreeMap<Handle, Hint>, LaunchError> {
        let mut hints = BTreeMap::new();
        for handle in workers {
            let unknown = || Hint::Unknown { said: "it is no child of this process".to_owned() };
            let hint = self.children.get_mut(handle).map_or_else(unknown, Running::look);
            hints.insert(handle.clone(), hint);
        }
        Ok(hints)
    }

    fn nudge(&mut self, worker: &Handle) -> Result<(), LaunchError> {
        if let Some(input) = self.children.get_mut(worker).and_then(|r| r.input.as_mut()) {
            // A worker that has ended does not read; `poll` tells of it.
            let _ = input.write_all(b"\n");
        }
        Ok(())
    }

    fn wait(&mut self, longest: Duration) {
        if self.heard.recv_timeout(longest).is_ok() {
            // One look at the files answers all of them.
            while self.heard.try_recv().is_ok() {}
        }
    }

    fn kill(&mut self, worker: &Handle) -> Result<(), LaunchError> {
        if let Some(running) = self.children.get_mut(worker) {
            running.input = None;
            running.asked.get_or_insert_with(Instant::now);
        }
        Ok(())
    }
}

impl Running {
    fn look(&mut self) -> Hint {
        if self.gone.is_none() {
            match self.child.try_wait() {
                Ok(Some(status)) => self.gone = Some(in_words(status)),
                Ok(None) => {
                    if self.asked.is_some_and(|at| at.elapsed() > TIME_TO_SAVE) {
                        // One that has ended meanwhile is seen at the next look.
                        let _ = self.child.kill();
                    }
                }
                Err(error) => return Hint::Unknown { said: error.to_string() },
            }
        }
        match &self.gone {
            Some(how) => Hint::Gone { how: how.clone() },
            None => Hint::Running { place: store::this_host() },
        }
    }
}

/// How a process ended.
fn in_words(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        const KILL: i32 = 9;
        return match signal {
            KILL => "it was killed (signal 9), as the system does when memory runs out".to_owned(),
            other => format!("it was ended by signal {other}"),
        };
    }
    status.code().map_or_else(
        || status.to_string(),
        |code| match code {
            _ if code == i32::from(DISK_FULL) => {
                format!("it ended with code {code}: {NO_SPACE}")
            }
            _ => format!("it ended with code {code}"),
        },
    )
}
