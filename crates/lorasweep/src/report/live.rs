//! The page while the sweep runs, written again every few seconds.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reporter::Lang;
use store::{Kept, ReportFile, SweepFolder};

use super::publish;
use crate::error::Error;
use crate::inputs::Settings;

/// Seconds between two pages at least.
pub const EVERY_SECONDS: u32 = 5;

/// A page takes at most this share of the time, so that it does not slow the training.
const MOST_SHARE: u32 = 20;

/// Writes `report.html` from the journal until it is stopped.
#[derive(Debug)]
pub struct Live {
    stop: Sender<()>,
    /// Why it no longer follows the sweep.
    failed: Receiver<String>,
    thread: JoinHandle<()>,
}

impl Live {
    /// Begins. A page that cannot be written is warned of once and ends nothing.
    pub fn start(folder: SweepFolder, settings: Settings, lang: Lang) -> Result<Self, Error> {
        let (stop, stopped) = mpsc::channel();
        let (fail, failed) = mpsc::channel();
        let follow = move || {
            let mut wait = Duration::ZERO;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                let started = Instant::now();
                // What stays in its place is named when the sweep has ended, too.
                let why_not = match write(&folder, &settings, lang) {
                    Ok(None) => None,
                    Ok(Some(kept)) => Some(publish::stays(&kept)),
                    Err(error) => Some(error.to_string()),
                };
                if let Some(why) = why_not {
                    // Nobody listens any more once the sweep has ended.
                    let _ = fail.send(format!("report.html does not follow the sweep: {why}"));
                    return;
                }
                let least = Duration::from_secs(EVERY_SECONDS.into());
                wait = least.max(started.elapsed() * MOST_SHARE);
            }
        };
        let thread = std::thread::Builder::new().spawn(follow).map_err(Error::Thread)?;
        Ok(Self { stop, failed, thread })
    }

    /// Says once why the page no longer follows the sweep, when it does not.
    pub fn warning(&self) -> Option<String> {
        self.failed.try_recv().ok()
    }

    /// Ends, so that the last page can be written, and returns a warning that is left.
    pub fn stop(self) -> Option<String> {
        // A thread that has ended by itself hears nothing and has nothing to join for.
        let _ = self.stop.send(());
        let _ = self.thread.join();
        self.failed.try_recv().ok()
    }
}

/// Returns what stays in its place.
pub fn write(folder: &SweepFolder, settings: &Settings, lang: Lang) -> Result<Option<Kept>, Error> {
    let page = page_now(folder, settings, lang, true)?;
    Ok(folder.write_report(&ReportFile::ReportHtml, page.as_bytes())?)
}

/// The page of what the journal holds now.
pub fn page_now(
    folder: &SweepFolder,
    settings: &Settings,
    lang: Lang,
    is_running: bool,
) -> Result<String, Error> {
    let state = folder.state()?;
    let ranking = reporter::rank(&state, &settings.report, lang);
    let reload = (is_running && !state.finished).then_some(EVERY_SECONDS);
    publish::page(&state, settings, &ranking, lang, reload)
}
