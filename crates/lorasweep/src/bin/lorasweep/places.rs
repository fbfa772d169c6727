//! Where a report's files are, for a person to read.

use std::fmt::Write as _;

use lorasweep::reporter::{Ranking, TerminalOptions, terminal};
use lorasweep::spec::{shell_word, shown};
use lorasweep::store::{ReportFile, SweepFolder};

/// The report as text, perhaps in colour: sentences first, then the ranking.
pub fn text(ranking: &Ranking, colour: bool) -> String {
    terminal(ranking, TerminalOptions { colour, ..TerminalOptions::default() })
}

/// Where the report files of `sweep` are in `folder`, and what to do with them.
pub fn places(sweep: &SweepFolder, folder: &SweepFolder) -> String {
    let dir = shell_word(&sweep.path().to_string_lossy());
    let mut text = String::new();
    let mut line = |what: &str, path: std::path::PathBuf| {
        let _ = writeln!(text, "{what:<14}{}", shown(&path));
    };
    line("report", folder.report_path(&ReportFile::ReportHtml));
    line("ranking", folder.report_path(&ReportFile::RankingCsv));
    line("plots", folder.report_path(&ReportFile::Plot(String::new())));
    if folder.best_dir().is_dir() {
        line("best adapter", folder.best_dir());
        text += "\nTo copy the best adapter out:\n";
        let _ = writeln!(text, "  lorasweep export {dir} --best --to my-adapter");
    }
    text
}
