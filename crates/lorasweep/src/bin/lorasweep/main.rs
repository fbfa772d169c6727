//! The `lorasweep` binary: arguments in, exit code out; everything between is the library's.

#[cfg(unix)]
mod abort;
mod args;
mod browser;
mod commands;
mod error;
mod exit;
mod output;
mod places;
mod progress;

use lorasweep::{Sweep, Workers, spec};

use clap::{CommandFactory, FromArgMatches};

use args::{Args, Command};
use exit::Exit;
use output::Output;

fn main() -> std::process::ExitCode {
    #[cfg(unix)]
    abort::tell_of_aborts();
    // Arguments decide the colour of everything that follows, help and errors included.
    let colour = args::colour_before_parsing(std::env::args_os());
    let command = Args::command().color(colour.into());
    let args = match command.try_get_matches().and_then(|found| Args::from_arg_matches(&found)) {
        Ok(args) => args,
        // Help and version come this way too.
        Err(error) if !error.use_stderr() => {
            output::remember(error.print());
            return end(Ok(Exit::Done), Output::new(colour));
        }
        // An argument may be a file's name.
        Err(error) if error.use_stderr() && has_control_characters() => {
            output::note(&error.render().to_string());
            return Exit::BadInput.into();
        }
        Err(error) => error.exit(),
    };
    let output = Output::new(args.color);
    end(run(args, output), output)
}

/// Says what ended the program, and that what it printed did not arrive.
fn end(ended: Result<Exit, error::CliError>, output: Output) -> std::process::ExitCode {
    let exit = ended.unwrap_or_else(|error| {
        output.error(&error);
        error.exit()
    });
    match output::finish() {
        Ok(()) => exit.into(),
        Err(error) => {
            output.error(&error);
            if exit == Exit::Done { error.exit().into() } else { exit.into() }
        }
    }
}

fn has_control_characters() -> bool {
    std::env::args_os().any(|argument| {
        let argument = argument.to_string_lossy();
        spec::printable_line(&argument) != argument
    })
}

/// Starts the threads that compute, so that a system without any more says so now: later their
/// library panics.
fn start_threads(command: &Command) -> Result<(), error::CliError> {
    let computes = matches!(
        command,
        Command::Check(_)
            | Command::Data(_)
            | Command::Run(_)
            | Command::Retry(_)
            | Command::Explain(_)
            | Command::Report(_)
            | Command::Serve(_)
            | Command::Export(_)
            | Command::Generate(_)
            | Command::Doctor(_)
            | Command::Worker(_)
    );
    if computes {
        lorasweep::start_threads()?;
    }
    Ok(())
}

/// Shows what a sweep file leaves open to misunderstanding.
fn warn(sweep: &Sweep) {
    for warning in sweep.resolved().iter().flat_map(|sweep| &sweep.warnings) {
        output::note(&warning.to_string());
    }
}

/// Workers are this program, by its hidden command `worker`.
fn program() -> Result<Workers, error::CliError> {
    let found = std::env::current_exe();
    Ok(Workers::Program(found.map_err(error::CliError::io("find", "lorasweep"))?))
}

fn run(args: Args, output: Output) -> Result<Exit, error::CliError> {
    start_threads(&args.command)?;
    match args.command {
        Command::Init(args) => commands::init::run(&args),
        Command::Schema => {
            output::result(spec::schema().trim_end());
            Ok(Exit::Done)
        }
        Command::Check(args) => commands::check::run(&args),
        Command::Data(args) => commands::data::run(&args, output),
        Command::Run(args) => commands::run::run(&args, output),
        Command::Ask(args) => commands::ask_tell::ask(&args),
        Command::Tell(args) => commands::ask_tell::tell(&args),
        Command::Status(args) => commands::status::run(&args),
        Command::Cancel(args) => commands::cancel::run(&args),
        Command::Stop(args) => commands::requests::stop(&args),
        Command::Retry(args) => commands::requests::retry(&args, output),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Report(args) => commands::report::run(&args, output),
        Command::Serve(args) => commands::serve::run(&args, output),
        Command::Convert(args) => commands::convert::run(&args),
        Command::Compare(args) => commands::compare::run(&args),
        Command::Generate(args) => commands::generate::run(&args, output),
        Command::Export(args) => commands::export::run(&args, output),
        Command::Doctor(args) => commands::doctor::run(&args, output),
        Command::Guide(args) => Ok(commands::guide::run(&args)),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Worker(args) => commands::worker::run(&args),
    }
}
