//! `lorasweep completions`: what shells and `man` know of the program, made from its arguments.

use std::path::Path;

use clap::CommandFactory as _;
use lorasweep::{Error, store};

use crate::args::{Args, CompletionsArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub fn run(args: &CompletionsArgs) -> Result<Exit, CliError> {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    if let Some(shell) = args.shell {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, name, &mut script);
        output::painted(&String::from_utf8_lossy(&script));
    }
    if let Some(dir) = &args.man {
        command.build();
        let count = write_pages(&command, dir)?;
        output::result(&format!("Wrote {count} man pages to {}", dir.display()));
    }
    Ok(Exit::Done)
}

/// Writes the page of a command and those of its visible commands; how many there are.
fn write_pages(command: &clap::Command, dir: &Path) -> Result<usize, CliError> {
    let mut page = Vec::new();
    let path = dir.join(format!("{}.1", command.get_display_name().unwrap_or(command.get_name())));
    clap_mangen::Man::new(command.clone())
        .render(&mut page)
        .map_err(CliError::io("write", &path))?;
    store::write_file(&path, &page).map_err(Error::from)?;
    let visible =
        command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help");
    visible.map(|it| write_pages(it, dir)).sum::<Result<usize, _>>().map(|count| count + 1)
}
