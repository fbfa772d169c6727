//! `lorasweep report`: tables and plots again, and the report on the terminal.

use std::path::Path;

use store::{ReportFile, SweepFolder};

use crate::args::ReportArgs;
use crate::error::{CliError, is_read_only};
use crate::exit::Exit;
use crate::inputs::Settings;
use crate::live;
use crate::output::{self, Output};
use crate::publish::{self, Published};

pub fn run(args: &ReportArgs, output: Output) -> Result<Exit, CliError> {
    let folder = SweepFolder::open(&args.dir)?;
    let settings = Settings::of(&folder.identity()?)?;
    let (state, spans) = publish::history(&folder)?;
    if let Some(to) = &args.to {
        refuse_replacing(to, &args.dir)?;
    }
    let target = args.to.as_ref().map_or_else(|| folder.clone(), SweepFolder::at);
    let lang = args.lang.into();
    let (mut is_written, mut best_is_whole) = (true, Ok(()));
    let ranking = match publish::publish(&folder, &target, &state, &spans, &settings, lang) {
        Ok(Published { ranking, warnings, best }) => {
            for warning in &warnings {
                output.warning(warning);
            }
            // Whatever does not need the adapter is written and shown.
            best_is_whole = best;
            ranking
        }
        Err(error) if args.to.is_none() && is_read_only(&error) => {
            output.warning(&format!(
                "{error}: the report's files in `{}` stay as they were; `lorasweep report {0} --to \
                 DIR` writes them elsewhere",
                args.dir.display()
            ));
            is_written = false;
            reporter::rank(&state, &settings.report, lang)
        }
        Err(error) => return Err(error),
    };
    if args.json {
        output::json_text(&reporter::ranking_json(&ranking)?);
    } else {
        output::painted(&publish::text(&ranking, output.has_stdout_colour()));
        if is_written {
            output::result(&publish::places(&folder, &target));
        }
    }
    if args.open {
        let page = target.report_path(&ReportFile::ReportHtml);
        live::open(&page.display().to_string(), output);
    }
    best_is_whole.map(|()| Exit::Done)
}

/// A folder of something else may have files of the report's names, and that of another sweep has a
/// report of its own.
fn refuse_replacing(to: &Path, own: &Path) -> Result<(), CliError> {
    let Ok(mut entries) = to.read_dir() else { return Ok(()) };
    let is_own = to.canonicalize().ok() == own.canonicalize().ok();
    if !is_own && SweepFolder::open(to).is_ok() {
        let why = "it is the results folder of another sweep".to_owned();
        return Err(CliError::NotReplaced { path: to.to_path_buf(), why });
    }
    if entries.next().is_none() || SweepFolder::at(to).has_report() {
        return Ok(());
    }
    let why = "it holds something other than an earlier report".to_owned();
    Err(CliError::NotReplaced { path: to.to_path_buf(), why })
}
