//! `lorasweep doctor`: what lorasweep finds on this machine.

use std::fmt::Write as _;

use lorasweep::{CheckStatus, SystemCheck, SystemReport};

use crate::args::DoctorArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{self, Output};

pub fn run(args: &DoctorArgs, output: Output) -> Result<Exit, CliError> {
    let report = SystemReport::of_this_machine();
    if args.json {
        output::json("the findings", &report)?;
    } else {
        // Every text of others in it was cleaned when the finding was made.
        output::painted(&render(&report.checks, output.has_stdout_colour()));
    }
    Ok(if report.status == CheckStatus::Fail { Exit::Failed } else { Exit::Done })
}

fn render(checks: &[SystemCheck], colour: bool) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for SystemCheck { name, status, text, help } in checks {
        let _ = writeln!(out, "{} {name:<width$}  {text}", label(*status, colour));
        if let Some(help) = help {
            let _ = writeln!(out, "     {:<width$}  help: {help}", "");
        }
    }
    out
}

fn label(status: CheckStatus, colour: bool) -> String {
    let name = format!("{:<4}", status.name());
    let number = match status {
        CheckStatus::Ok => "32",
        CheckStatus::Warn => "33",
        CheckStatus::Fail => "31",
    };
    if colour { format!("\x1b[1;{number}m{name}\x1b[0m") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, status: CheckStatus, help: Option<&str>) -> SystemCheck {
        let help = help.map(str::to_owned);
        SystemCheck { name: name.to_owned(), status, text: "found".to_owned(), help }
    }

    #[test]
    fn each_finding_is_a_line_and_its_help_stands_below_it() {
        let checks =
            [check("cuda", CheckStatus::Ok, None), check("kernels", CheckStatus::Fail, Some("x"))];
        assert_eq!(
            render(&checks, false),
            "ok   cuda     found\nfail kernels  found\n              help: x\n"
        );
        assert!(render(&checks, true).contains("\x1b[1;31mfail\x1b[0m kernels"));
    }
}
