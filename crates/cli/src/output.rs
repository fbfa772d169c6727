//! What the program says on the terminal: results on stdout, everything else on stderr.

use std::error::Error;
use std::io::{IsTerminal, Write};

use crate::args::Colour;
use crate::error::CliError;

/// Prints a result. A reader that went away (`| head`) is no error.
pub fn result(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end_matches('\n'));
}

/// Prints a result for programs; `what` names it in an error.
pub fn json(what: &'static str, value: &impl serde::Serialize) -> Result<(), CliError> {
    let text =
        serde_json::to_string_pretty(value).map_err(|source| CliError::Json { what, source })?;
    result(&text);
    Ok(())
}

/// Tells something along the way.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
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
            stdout_colour: decide(std::io::stdout().is_terminal()),
            stderr_colour: decide(std::io::stderr().is_terminal()),
        }
    }

    /// Whether reports on stdout may carry ANSI colours.
    pub const fn has_stdout_colour(self) -> bool {
        self.stdout_colour
    }

    /// Warns.
    pub fn warning(self, text: &str) {
        note(&format!("{} {text}", self.paint("33", "warning:")));
    }

    /// Prints an error with its causes and what to do.
    pub fn error(self, error: &CliError) {
        if let CliError::Sweep(errors) = error {
            note(&errors.to_string());
            return;
        }
        if let CliError::Several(errors) = error {
            for error in errors {
                self.error(error);
            }
            return;
        }
        note(&format!("{} {error}", self.paint("31", "error:")));
        // An error that shows its cause in its own text is not to be said twice.
        let mut shown = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            let text = source.to_string();
            if !shown.contains(&text) {
                note(&format!("  {} {text}", self.paint("31", "cause:")));
                shown = text;
            }
            cause = source.source();
        }
        if let Some(help) = error.help() {
            note(&format!("  {} {help}", self.paint("36", "help:")));
        }
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.stderr_colour { format!("\x1b[1;{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
