//! `lorasweep report`: tables and plots again, and the report on the terminal.

use lorasweep::reporter::ranking_json;
use lorasweep::store::ReportFile;
use lorasweep::{Error, ReportFiles};

use crate::args::ReportArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{self, Output};
use crate::{browser, places};

pub fn run(args: &ReportArgs, output: Output) -> Result<Exit, CliError> {
    let sweep = args.sweep.open()?;
    let report = sweep.report_in(args.lang.into())?;
    let written = match &args.to {
        Some(to) => report.write_to(to),
        None => report.write(),
    };
    let written = match written {
        Ok(written) => Some(written),
        Err(error) if args.to.is_none() && error.is_read_only() => {
            output.warning(&format!(
                "{error}: the report's files in `{}` stay as they were; `lorasweep report {0} --to \
                 DIR` writes them elsewhere",
                sweep.folder().path().display()
            ));
            None
        }
        Err(error) => return Err(error.into()),
    };
    for warning in written.iter().flat_map(|written| &written.warnings) {
        output.warning(warning);
    }
    if args.json {
        output::json_text(&ranking_json(report.ranking()).map_err(Error::from)?);
    } else {
        output::painted(&places::text(report.ranking(), output.has_stdout_colour()));
        if let Some(written) = &written {
            output::result(&places::places(sweep.folder(), &written.folder));
        }
    }
    if args.open {
        let folder = written.as_ref().map_or(sweep.folder(), |written| &written.folder);
        let page = folder.report_path(&ReportFile::ReportHtml);
        browser::open(&page.display().to_string());
    }
    // Whatever does not need the adapter is written and shown.
    written.map_or(Ok(()), |ReportFiles { best, .. }| best)?;
    Ok(Exit::Done)
}
