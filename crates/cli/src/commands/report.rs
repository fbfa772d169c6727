//! `lorasweep report`: tables and plots again, and the report on the terminal.

use store::{ReportFile, SweepFolder};

use crate::args::ReportArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::inputs::Settings;
use crate::live;
use crate::output::{self, Output};
use crate::publish;

pub fn run(args: &ReportArgs, output: Output) -> Result<Exit, CliError> {
    let folder = SweepFolder::open(&args.dir)?;
    let settings = Settings::of(&folder.identity()?)?;
    let (state, spans) = publish::history(&folder)?;
    let ranking = publish::publish(&folder, &state, &spans, &settings, args.lang.into())?;
    if args.json {
        output::json_text(&reporter::ranking_json(&ranking)?);
    } else {
        output::painted(&publish::text(&ranking, output.has_stdout_colour()));
        output::result(&publish::places(&folder));
    }
    if args.open {
        let page = folder.report_path(&ReportFile::ReportHtml);
        live::open(&page.display().to_string(), output);
    }
    Ok(Exit::Done)
}
