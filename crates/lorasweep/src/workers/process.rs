//! What a worker process does: one base model on one device, trained with as the driver orders.
//!
//! This is the one part of the library that owns its process: it takes bytes from stdin and gives
//! some to stdout (the driver holds the other ends), and it handles signals. Its stderr is the
//! worker's log file.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use spec::{Event, ExecutorKind, Sweep, Trainer, TrialId};
use store::{SweepFolder, WorkerDir};
use trainer::engine::Loaded;
use worker::launch::DISK_FULL;
use worker::{CommandTrainer, Serve, ServeSettings};

use super::{CAN_BECOME_WORKER, WORKER, WorkerOptions, engine};
use crate::error::Error;
use crate::inputs::sweep_file;
use crate::inputs::{self, Stamps};
use crate::plan::workload::{self, MemoryPlan};
use crate::plan::{devices, preflight};

/// Signs of life in a time without one that the driver allows.
const BEATS: u32 = 20;
/// They need not be more frequent.
const LEAST_BETWEEN_BEATS: Duration = Duration::from_secs(1);
const MOST_BETWEEN_BEATS: Duration = Duration::from_secs(5);

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEnd {
    /// There is nothing more to do.
    Done,
    /// It was asked to end, and has saved.
    Interrupted,
}

impl WorkerEnd {
    /// The exit code of a worker's process that was interrupted.
    pub const INTERRUPTED: u8 = 130;
}

/// Makes this process a worker if a sweep's driver has started it for that: call it before anything
/// else in `main`, and return its exit code if there is one. It writes to stderr, which is the
/// worker's log.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     if let Some(code) = lorasweep::worker_main_if_asked() {
///         return code;
///     }
///     // Sweeps can be run from here on.
///     ExitCode::SUCCESS
/// }
/// ```
pub fn worker_main_if_asked() -> Option<ExitCode> {
    CAN_BECOME_WORKER.store(true, Ordering::Relaxed);
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != WORKER) {
        return None;
    }
    let log = |text: &str| {
        let _ = writeln!(std::io::stderr(), "{}", spec::printable(text));
    };
    let Some(options) = WorkerOptions::from_own_arguments(arguments.collect()) else {
        log("error: these are not the options of a worker of this version of lorasweep");
        return Some(ExitCode::FAILURE);
    };
    Some(match start_threads().and_then(|()| work(&options, &mut &log)) {
        Ok(WorkerEnd::Done) => ExitCode::SUCCESS,
        Ok(WorkerEnd::Interrupted) => WorkerEnd::INTERRUPTED.into(),
        Err(error) => {
            log(&format!("error: {}", in_full(&error)));
            if error.is_disk_full() { DISK_FULL.into() } else { ExitCode::FAILURE }
        }
    })
}

/// Starts the threads that compute, so that a system without any more says so now: later their
/// library panics. Worth calling once, before anything that reads rows or trains.
pub fn start_threads() -> Result<(), Error> {
    let started = rayon::ThreadPoolBuilder::new().build_global();
    started.map_err(|error| Error::Thread(std::io::Error::other(error)))
}

/// Works as a worker until there is nothing more to do; `log` hears what is worth a line in its log.
pub fn work(options: &WorkerOptions, log: &mut dyn FnMut(&str)) -> Result<WorkerEnd, Error> {
    spare_the_driver();
    let stop = Arc::new(AtomicBool::new(false));
    let is_loaded = Arc::new(AtomicBool::new(false));
    let mut line = Line { options, nudges: listen(options, &stop)?, stop: &stop, log };
    stop_on_signals(&stop, &is_loaded)?;
    let folder = SweepFolder::open(&options.folder)?;
    let mut dir = WorkerDir::open(folder, &options.name, options.seq)?;
    let prepared = prepare(options, dir.folder());
    let (sweep, Loaded { trainer, device_note }) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let (worker, text) = (options.name.clone(), in_full(&error));
            let ended = Event::WorkerEnded {
                worker,
                error: Some(text),
                peak_bytes: None,
                busy_seconds: None,
                device_lost: false,
            };
            dir.record(None, &[ended])?;
            return Err(error);
        }
    };
    if let Some(text) = device_note {
        dir.record(None, &[Event::Warned { trial: TrialId::BASE, text }])?;
    }
    is_loaded.store(true, Ordering::Relaxed);
    serve(trainer, dir, &sweep, &mut line)
}

/// What a worker receives from its driver.
struct Line<'a> {
    options: &'a WorkerOptions,
    log: &'a mut dyn FnMut(&str),
    /// There are orders.
    nudges: Receiver<()>,
    /// It is to save and end.
    stop: &'a Arc<AtomicBool>,
}

fn serve(
    trainer: Box<dyn Trainer>,
    dir: WorkerDir,
    sweep: &Sweep,
    Line { options, log, nudges, stop }: &mut Line,
) -> Result<WorkerEnd, Error> {
    let silence = Duration::from_secs(sweep.executor.heartbeat_seconds.into());
    let settings = ServeSettings {
        checkpoint_every: Duration::from_secs(sweep.executor.checkpoint_seconds.into()),
        save_strategy: sweep.train.save_strategy,
        beat_every: (silence / BEATS).clamp(LEAST_BETWEEN_BEATS, MOST_BETWEEN_BEATS),
        stop: Arc::clone(stop),
    };
    let tell: Box<dyn FnMut()> =
        if options.is_piped { Box::new(tell_driver) } else { Box::new(|| {}) };
    let mut driver = options.driver.as_deref().map(DriverSign::new);
    Serve::begin(trainer, dir, settings, tell)?.run(|longest| {
        if driver.as_mut().is_some_and(|driver| driver.silence() > silence) {
            log(&format!("there is nothing to do, and no sign of the driver for {silence:?}"));
            stop.store(true, Ordering::Relaxed);
        }
        // Without a pipe there is only the clock.
        let _ = nudges.recv_timeout(longest);
    })?;
    let is_asked = stop.load(Ordering::Relaxed);
    Ok(if is_asked { WorkerEnd::Interrupted } else { WorkerEnd::Done })
}

/// A file that changes as long as there is a driver, looked at by this process's own clock.
struct DriverSign<'a> {
    path: &'a Path,
    last: Vec<u8>,
    changed: Instant,
}

impl<'a> DriverSign<'a> {
    fn new(path: &'a Path) -> Self {
        Self { path, last: Vec::new(), changed: Instant::now() }
    }

    /// How long it has not changed.
    fn silence(&mut self) -> Duration {
        if let Ok(now) = store::read_own_file(self.path)
            && now != self.last
        {
            (self.last, self.changed) = (now, Instant::now());
        }
        self.changed.elapsed()
    }
}

/// Bytes of memory that Slurm gives this job, where it says so.
fn job_memory() -> Option<u64> {
    let mib = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let whole = mib("SLURM_MEM_PER_NODE");
    let of_cpus = || mib("SLURM_MEM_PER_CPU")?.checked_mul(mib("SLURM_CPUS_ON_NODE")?);
    whole.or_else(of_cpus)?.checked_mul(1 << 20).filter(|&bytes| bytes > 0)
}

/// Loads what is trained and what it is trained on, where that is this program's business.
fn prepare(options: &WorkerOptions, folder: &SweepFolder) -> Result<(Sweep, Loaded), Error> {
    let mut sweep = sweep_file::of_folder(folder, &options.file)?;
    let identity = folder.identity()?;
    let as_found = Stamps::of(&identity);
    inputs::refuse_changed(&sweep, &identity)?;
    if let ExecutorKind::Command(settings) = &sweep.executor.kind {
        let trainer = CommandTrainer::new(&sweep, settings.clone(), folder.clone())?;
        return Ok((sweep, Loaded { trainer: Box::new(trainer), device_note: None }));
    }
    if let Some(name) = &options.device {
        sweep.executor.device = devices::parse(name)?;
    }
    let limit = options.memory_limit.or(sweep.executor.memory_limit);
    sweep.executor.memory_limit = [limit, job_memory()].into_iter().flatten().min();
    let (base, data) = preflight::prepare(&sweep)?;
    let planner = planner::for_sweep(&sweep);
    let known = workload::all_trials(&*planner);
    let trials = workload::known_trials(&sweep, known.as_deref());
    let memory = MemoryPlan::for_sweep(&sweep, &base, &trials, &data)?;
    let loaded = engine::load(&sweep, data, memory.packing)?;
    as_found.refuse_changed()?;
    Ok((sweep, loaded))
}

/// Bytes that come in say that there are orders; their end says that the driver is gone.
fn listen(options: &WorkerOptions, stop: &Arc<AtomicBool>) -> Result<Receiver<()>, Error> {
    let (nudge, nudges) = mpsc::channel();
    let (is_piped, stop) = (options.is_piped, Arc::clone(stop));
    let listen = move || {
        while is_piped && !stop.load(Ordering::Relaxed) {
            match std::io::stdin().read(&mut [0; 64]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => stop.store(true, Ordering::Relaxed),
                Ok(_) => {}
            }
            // Nobody waits any more once the worker has ended.
            let _ = nudge.send(());
        }
        // Keeps the channel open, so that waiting on it takes its time.
        std::thread::park();
        drop(nudge);
    };
    std::thread::Builder::new().spawn(listen).map_err(Error::Thread)?;
    Ok(nudges)
}

fn tell_driver() {
    // Without a driver nothing reads the message.
    let _ = std::io::stdout().write_all(b"\n").and_then(|()| std::io::stdout().flush());
}

/// Signals ask for a stop after the current step; there is nothing to save before the first one.
fn stop_on_signals(stop: &Arc<AtomicBool>, is_loaded: &Arc<AtomicBool>) -> Result<(), Error> {
    let (stop, is_loaded) = (Arc::clone(stop), Arc::clone(is_loaded));
    ctrlc::set_handler(move || {
        stop.store(true, Ordering::Relaxed);
        if !is_loaded.load(Ordering::Relaxed) {
            std::process::exit(WorkerEnd::INTERRUPTED.into());
        }
    })?;
    Ok(())
}

/// When memory runs out, the system ends this process rather than the driver, which then starts
/// another one.
fn spare_the_driver() {
    // Only Linux has this; elsewhere the driver may be chosen.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

/// An error with its causes.
fn in_full(error: &Error) -> String {
    match error {
        Error::Sweep(errors) => errors.to_string(),
        Error::Data(source) => source.to_string(),
        error => worker::chain(error),
    }
}
