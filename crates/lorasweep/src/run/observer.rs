//! Who watches a run: everything it says along the way goes through here, and nothing is printed.

use std::fmt;
use std::path::Path;

use data::DataReport;
use spec::{Event, SweepState};
use store::{SweepFolder, TornLine};

use crate::plan::workload::{MemoryPlan, Workload};
use crate::report::live::Live;

/// Watches a run. A closure `|event: &Event, state: &SweepState| ..` is one that sees events alone.
pub trait Observer {
    /// `event` is in the journal, and has just been applied to `state`.
    fn event(&mut self, event: &Event, state: &SweepState);

    /// Something that a person may want to know; by default it is ignored.
    fn notice(&mut self, notice: &Notice<'_>) {
        let _ = notice;
    }

    /// Everything is checked and planned, and training starts now.
    fn started(&mut self, started: &Started<'_>) {
        let _ = started;
    }

    /// Training has ended, for whatever reason; the report is written next.
    fn trained(&mut self, trained: &Trained<'_>) {
        let _ = trained;
    }
}

impl<F: FnMut(&Event, &SweepState)> Observer for F {
    fn event(&mut self, event: &Event, state: &SweepState) {
        self(event, state);
    }
}

/// Something that a person may want to know and that ends nothing. Its text is that of `Display`.
#[derive(Debug)]
pub enum Notice<'a> {
    /// A large file of the base model is downloaded.
    Download(&'a str),
    /// The sweep file leaves something open to misunderstanding.
    SweepFile(&'a spec::Warning),
    /// The rows as they were read, with what is doubtful about them.
    Data(&'a DataReport),
    /// The sweep file was changed since the sweep began, which continues: one line for each setting.
    Extended(&'a [String]),
    /// The results of an earlier run were moved here.
    SetAside(&'a Path),
    /// The incomplete last line of a journal was cut.
    CutJournal(&'a TornLine),
    /// A warning while the sweep trains.
    Training(&'a worker::Warning),
    /// Any other warning.
    Warning(&'a str),
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Download(text) | Self::Warning(text) => f.write_str(text),
            Self::SweepFile(warning) => warning.fmt(f),
            Self::Data(report) => report.fmt(f),
            Self::Extended(changes) => {
                f.write_str("The sweep continues with a changed sweep file:")?;
                changes.iter().try_for_each(|change| write!(f, "\n  {change}"))
            }
            Self::SetAside(aside) => write!(f, "The old results are now in {}", aside.display()),
            Self::CutJournal(TornLine { path, line, bytes }) => write!(
                f,
                "The journal `{}` ended within line {line}: its {bytes} bytes are cut, as the process \
                 that wrote them died before the line counted",
                path.display()
            ),
            Self::Training(warning) => warning.fmt(f),
        }
    }
}

/// What a run begins with.
#[derive(Debug)]
pub struct Started<'a> {
    /// The sweep's results folder.
    pub folder: &'a SweepFolder,
    /// Trials in all, if known.
    pub trials: Option<usize>,
    /// Their work, if known.
    pub workload: &'a Workload,
}

/// What training has left.
#[derive(Debug)]
pub struct Trained<'a> {
    /// Everything that happened so far.
    pub state: &'a SweepState,
    /// The memory that was predicted for a worker, where it trains on this machine.
    pub memory: Option<&'a MemoryPlan>,
}

/// Passes on what the drive loop says, and what becomes of the page in the meantime.
pub(super) struct Watched<'a> {
    pub observer: &'a mut dyn Observer,
    pub live: &'a Live,
}

impl worker::Observer for Watched<'_> {
    fn event(&mut self, event: &Event, state: &SweepState) {
        if let Some(warning) = self.live.warning() {
            self.observer.notice(&Notice::Warning(&warning));
        }
        self.observer.event(event, state);
    }

    fn warning(&mut self, warning: &worker::Warning) {
        self.observer.notice(&Notice::Training(warning));
    }
}
