//! What the program says on the terminal: results on stdout, everything else on stderr.
//!
//! Everything goes through here, and what files, logs, models and other programs say is cleaned of
//! control characters here.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use lorasweep::Error;
use lorasweep::spec::{printable, printable_json};

use crate::args::Colour;
use crate::error::CliError;

/// Why the first result that could not be printed was not.
static UNPRINTED: OnceLock<io::Error> = OnceLock::new();

/// Prints a result. What cannot be printed ends nothing: see [`finish`].
pub fn result(text: &str) {
    painted(&printable(text));
}

/// Prints a result with colours of ours; the caller has cleaned the text of others in it.
pub fn painted(text: &str) {
    remember(writeln!(io::stdout(), "{}", text.trim_end_matches('\n')));
}

/// Prints a part of a line at once; the caller has cleaned the text of others in it.
pub fn piece(text: &str) {
    let mut out = io::stdout();
    remember(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Keeps the first error of printing.
pub fn remember(printed: io::Result<()>) {
    if let Err(error) = printed {
        // A later one says nothing new.
        let _ = UNPRINTED.set(error);
    }
}

/// An error where a result could not be printed. A reader that went away (`| head`) has what it wants.
pub fn finish() -> Result<(), CliError> {
    remember(io::stdout().flush());
    match UNPRINTED.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            let again = error.raw_os_error().map_or_else(
                || io::Error::new(error.kind(), error.to_string()),
                io::Error::from_raw_os_error,
            );
            Err(CliError::Output(again))
        }
        _ => Ok(()),
    }
}

/// Prints a result for programs; `what` names it in an error.
pub fn json(what: &'static str, value: &impl serde::Serialize) -> Result<(), CliError> {
    let text =
        serde_json::to_string_pretty(value).map_err(|source| Error::Json { what, source })?;
    json_text(&text);
    Ok(())
}

/// Prints JSON; its strings may be text of others.
pub fn json_text(text: &str) {
    painted(&printable_json(text));
}

/// Prints a note along the way.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// What may be coloured, and how warnings and errors look.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    stdout_colour: bool,
    stderr_colour: bool,
}

impl Output {
    pub fn new(colour: Colour) -> Self {
        let decide = |is_terminal: bool| match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => {
                is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        Self {
            stdout_colour: decide(io::stdout().is_terminal()),
            stderr_colour: decide(io::stderr().is_terminal()),
        }
    }

    /// Whether reports on stdout may carry ANSI colours.
    pub const fn has_stdout_colour(self) -> bool {
        self.stdout_colour
    }

    /// Warns.
    pub fn warning(self, text: &str) {
        self.labelled("", ("33", "warning:"), text);
    }

    /// Prints an error with its causes and what to do.
    pub fn error(self, error: &CliError) {
        match error {
            CliError::Library(error) => self.library_error(error),
            CliError::Output(_) | CliError::Input(_) | CliError::Listen { .. } => {
                self.error_in_full(error, None);
            }
        }
    }

    fn library_error(self, error: &Error) {
        match error {
            Error::Sweep(errors) => note(&errors.to_string()),
            Error::Several(errors) => errors.iter().for_each(|error| self.library_error(error)),
            error => self.error_in_full(error, error.help()),
        }
    }

    fn error_in_full(self, error: &dyn std::error::Error, help: Option<String>) {
        self.labelled("", ("31", "error:"), &error.to_string());
        // An error that shows its cause in its own text is not to be said twice.
        let mut shown = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            let text = source.to_string();
            if !shown.contains(&text) {
                self.labelled("  ", ("31", "cause:"), &text);
                shown = text;
            }
            cause = source.source();
        }
        if let Some(help) = help {
            self.labelled("  ", ("36", "help:"), &help);
        }
    }

    /// Only the label has a colour: the text may hold that of others.
    fn labelled(self, indent: &str, (colour, label): (&str, &str), text: &str) {
        let text = printable(text);
        let _ = if self.stderr_colour {
            writeln!(io::stderr(), "{indent}\x1b[1;{colour}m{label}\x1b[0m {text}")
        } else {
            writeln!(io::stderr(), "{indent}{label} {text}")
        };
    }
}
