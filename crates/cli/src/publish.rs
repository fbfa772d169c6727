//! The report files of a sweep: tables, plots, the report's text and the best adapter.

use std::fmt::Write as _;

use reporter::{Ranking, TerminalOptions};
use spec::SweepState;
use store::{ReportFile, SweepFolder};

use crate::error::CliError;
use crate::export::{self, Export};
use crate::inputs::Settings;

/// Writes everything that is derived from the state, and returns the ranking.
pub fn publish(
    folder: &SweepFolder,
    state: &SweepState,
    settings: &Settings,
) -> Result<Ranking, CliError> {
    let ranking = reporter::rank(state, &settings.report);
    let write = |file: &ReportFile, contents: &[u8]| folder.write_report(file, contents);
    write(&ReportFile::RankingCsv, reporter::ranking_csv(&ranking)?.as_bytes())?;
    write(&ReportFile::RankingJson, reporter::ranking_json(&ranking)?.as_bytes())?;
    write(&ReportFile::ReportText, text(&ranking, false).as_bytes())?;
    let mut names = Vec::new();
    for plot in reporter::plot::all_plots(state, &settings.report) {
        let plot = plot?;
        for (extension, contents) in [("svg", plot.svg.as_bytes()), ("png", &plot.png)] {
            let name = format!("{}.{extension}", plot.name);
            write(&ReportFile::Plot(name.clone()), contents)?;
            names.push(name);
        }
    }
    folder.remove_other_plots(&names)?;
    if let Some(trial) = export::best_trial(folder, state) {
        Export { folder, state, settings, trial, validation: None }.write(&folder.best_dir())?;
    }
    Ok(ranking)
}

/// Whether every file that `publish` writes for certain is there.
pub fn is_published(folder: &SweepFolder, state: &SweepState) -> bool {
    use ReportFile::{RankingCsv, RankingJson, ReportText};
    let is_there = |file: &ReportFile| folder.report_path(file).is_file();
    [RankingCsv, RankingJson, ReportText].iter().all(is_there)
        && folder.report_path(&ReportFile::Plot(String::new())).is_dir()
        && (export::best_trial(folder, state).is_none() || folder.best_dir().is_dir())
}

/// The report as text: sentences first, then the ranking.
pub fn text(ranking: &Ranking, colour: bool) -> String {
    reporter::terminal(ranking, TerminalOptions { colour, ..TerminalOptions::default() })
}

/// Where things are, and what to do with them.
pub fn places(folder: &SweepFolder) -> String {
    let dir = folder.path().display();
    let mut text = String::new();
    let mut line = |what: &str, path: std::path::PathBuf| {
        let _ = writeln!(text, "{what:<14}{}", path.display());
    };
    line("report", folder.report_path(&ReportFile::ReportText));
    line("ranking", folder.report_path(&ReportFile::RankingCsv));
    line("plots", folder.report_path(&ReportFile::Plot(String::new())));
    if folder.best_dir().is_dir() {
        line("best adapter", folder.best_dir());
        text += "\nTo copy the best adapter out:\n";
        let _ = writeln!(text, "  lorasweep export {dir} --best --to my-adapter");
    }
    text
}
