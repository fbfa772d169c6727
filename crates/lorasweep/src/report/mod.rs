//! What a sweep has found: its state at a glance, its report and the report's files, and its results
//! in the form of other tools.

pub mod convert;
pub mod explain;
pub mod live;
#[cfg(test)]
mod parameter_outputs;
pub mod publish;
pub mod side_by_side;
pub mod status;

use std::path::Path;
use std::sync::OnceLock;

use reporter::{Lang, Ranking};
use spec::SweepState;
use store::SweepFolder;

use crate::error::Error;
use crate::inputs::Settings;
use publish::Published;

/// What a sweep has found so far, from its journal.
#[derive(Debug)]
pub struct Report {
    folder: SweepFolder,
    settings: Settings,
    state: SweepState,
    lang: Lang,
    ranking: OnceLock<Ranking>,
}

/// What there is to say of report files that were written.
#[derive(Debug)]
pub struct ReportFiles {
    /// Where they are.
    pub folder: SweepFolder,
    /// What is not as it should be.
    pub warnings: Vec<String>,
    /// An error where the best adapter is damaged and was not copied beside them.
    pub best: Result<(), Error>,
}

impl Report {
    pub(crate) fn of(folder: SweepFolder, lang: Lang) -> Result<Self, Error> {
        let settings = Settings::of(&folder.identity()?)?;
        let state = folder.state()?;
        Ok(Self { folder, settings, state, lang, ranking: OnceLock::new() })
    }

    /// Everything that happened to the sweep.
    pub const fn state(&self) -> &SweepState {
        &self.state
    }

    /// The runs, best first, each with what to think of it, and the sweep in a few sentences
    /// ([`Ranking::verdict`]).
    pub fn ranking(&self) -> &Ranking {
        self.ranking.get_or_init(|| reporter::rank(&self.state, &self.settings.report, self.lang))
    }

    /// The report as text: sentences first, then the ranking.
    pub fn text(&self) -> String {
        publish::text(self.ranking())
    }

    /// The report as a page (HTML) that needs nothing else.
    pub fn page(&self) -> Result<String, Error> {
        publish::page(&self.state, &self.settings, self.ranking(), self.lang, None)
    }

    /// Writes tables, plots, the page, the text and the best adapter into the sweep's own folder.
    pub fn write(&self) -> Result<ReportFiles, Error> {
        self.write_into(self.folder.clone())
    }

    /// The same, into another folder. One that holds something other than a report is refused.
    pub fn write_to(&self, folder: impl AsRef<Path>) -> Result<ReportFiles, Error> {
        refuse_replacing(folder.as_ref(), self.folder.path())?;
        self.write_into(SweepFolder::at(folder.as_ref()))
    }

    fn write_into(&self, target: SweepFolder) -> Result<ReportFiles, Error> {
        let Published { ranking, warnings, best } =
            publish::publish(&self.folder, &target, &self.state, &self.settings, self.lang)?;
        // It may be there already.
        let _ = self.ranking.set(ranking);
        Ok(ReportFiles { folder: target, warnings, best })
    }
}

/// A folder of something else may have files of the report's names, and that of another sweep has a
/// report of its own.
fn refuse_replacing(to: &Path, own: &Path) -> Result<(), Error> {
    let Ok(mut entries) = to.read_dir() else { return Ok(()) };
    let is_own = to.canonicalize().ok() == own.canonicalize().ok();
    if !is_own && SweepFolder::open(to).is_ok() {
        let why = "it is the results folder of another sweep".to_owned();
        return Err(Error::NotReplaced { path: to.to_path_buf(), why });
    }
    if entries.next().is_none() || SweepFolder::at(to).has_report() {
        return Ok(());
    }
    let why = "it holds something other than an earlier report".to_owned();
    Err(Error::NotReplaced { path: to.to_path_buf(), why })
}
