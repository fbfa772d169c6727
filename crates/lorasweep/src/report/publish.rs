//! The report files of a sweep: tables, plots, the page, the report's text and the best adapter.

use reporter::{Lang, Page, Ranking, TerminalOptions};
use spec::{Evaluation, SweepState, TrialState, shown};
use store::{BuildError, Kept, PlotFile, ReportFile, SweepFolder, TrialTables};

use crate::error::Error;
use crate::export::{self, Export, Form};
use crate::inputs::Settings;

/// What there is to say of report files that were written.
#[derive(Debug)]
pub struct Published {
    pub ranking: Ranking,
    /// What is not as it should be.
    pub warnings: Vec<String>,
    /// Why `best/` is not renewed, where the adapter is at fault.
    pub best: Result<(), Error>,
}

/// Writes everything that is derived from the state into `target`, which is the sweep's own folder
/// or another one.
pub fn publish(
    folder: &SweepFolder,
    target: &SweepFolder,
    state: &SweepState,
    settings: &Settings,
    lang: Lang,
) -> Result<Published, Error> {
    // The pictures take as long as all the rest, and neither needs the other.
    let (ranking, warnings) = std::thread::scope(|threads| {
        let pictures = std::thread::Builder::new()
            .spawn_scoped(threads, || publish_pictures(target, state, settings, lang))
            .map_err(Error::Thread)?;
        let (ranking, mut kept) = publish_tables(target, state, settings, lang)?;
        kept.extend(pictures.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        Ok::<_, Error>((ranking, kept.iter().map(stays).collect()))
    })?;
    let mut published = Published { ranking, warnings, best: Ok(()) };
    if let Some(trial) = export::best_trial(folder, state, &published.ranking) {
        let identity = &folder.identity()?;
        let (ranking, form) = (&published.ranking, Form::Adapter);
        // Large weights are not read for a copy within the results.
        let export = Export {
            folder,
            state,
            settings,
            trial,
            epoch: None,
            ranking,
            form,
            identity,
            validation: None,
            other_weights: None,
        };
        match export.write(&target.best_dir()) {
            Ok(written) => {
                let instead = export::instead_of_choice(state, ranking, trial);
                published.warnings.extend(instead.into_iter().chain(written.warnings));
            }
            Err(damaged @ Error::DamagedAdapter { .. }) => published.best = Err(damaged),
            Err(Error::Store(error)) => published.warnings.push(stays(&error.or_kept()?)),
            Err(error) => return Err(error),
        }
    }
    Ok(published)
}

/// What to say of something that stays where a part of the report would have been written.
pub fn stays(Kept { path, reason }: &Kept) -> String {
    format!(
        "`{}` stays as it is: {reason}; to get what this report has under that name, move it elsewhere",
        shown(path)
    )
}

/// Returns what stays as it is, too.
fn publish_tables(
    folder: &SweepFolder,
    state: &SweepState,
    settings: &Settings,
    lang: Lang,
) -> Result<(Ranking, Vec<Kept>), Error> {
    let ranking = reporter::rank(state, &settings.report, lang);
    let files = [
        (ReportFile::RankingCsv, reporter::ranking_csv(&ranking)?),
        (ReportFile::RankingJson, reporter::ranking_json(&ranking)?),
        (ReportFile::ReportText, text(&ranking)),
        (ReportFile::ReportHtml, page(state, settings, &ranking, lang, None)?),
    ];
    let mut kept = Vec::new();
    for (file, contents) in &files {
        let stays = folder.write_report(file, contents.as_bytes())?;
        kept.extend(stays.filter(|it| !kept.contains(it)));
    }
    Ok((ranking, kept))
}

/// Returns what stays as it is.
fn publish_pictures(
    folder: &SweepFolder,
    state: &SweepState,
    settings: &Settings,
    lang: Lang,
) -> Result<Vec<Kept>, Error> {
    let mut files = Vec::new();
    for plot in reporter::plot::all_plots(state, &settings.report, lang) {
        let plot = plot?;
        let (svg, png) = (format!("{}.svg", plot.name), format!("{}.png", plot.name));
        files.push(PlotFile { name: svg, bytes: plot.svg.into_bytes() });
        files.push(PlotFile { name: png, bytes: plot.png });
    }
    Ok(folder.write_plots(&files)?)
}

/// `report.html`; one that is to follow a running sweep loads itself again.
pub fn page(
    state: &SweepState,
    settings: &Settings,
    ranking: &Ranking,
    lang: Lang,
    reload_seconds: Option<u32>,
) -> Result<String, Error> {
    let report = &settings.report;
    let page = Page { state, ranking, settings: report, lang, reload_seconds };
    Ok(reporter::html(page)?)
}

/// What is kept of a trial beside the journal.
pub fn tables(trial: &TrialState, base: Option<&Evaluation>) -> Result<TrialTables, BuildError> {
    Ok(TrialTables {
        metrics_csv: reporter::metrics_csv(trial, base)?,
        steps_csv: reporter::steps_csv(trial)?,
    })
}

/// Whether every file that `publish` writes for certain is there.
pub fn is_published(folder: &SweepFolder, state: &SweepState) -> bool {
    use ReportFile::{RankingCsv, RankingJson, ReportHtml, ReportText};
    let is_there = |file: &ReportFile| folder.report_path(file).is_file();
    [RankingCsv, RankingJson, ReportText, ReportHtml].iter().all(is_there)
        && folder.report_path(&ReportFile::Plot(String::new())).is_dir()
        && (!export::has_adapter(folder, state) || folder.best_dir().is_dir())
}

/// The report as text: sentences first, then the ranking.
pub fn text(ranking: &Ranking) -> String {
    reporter::terminal(ranking, TerminalOptions::default())
}
