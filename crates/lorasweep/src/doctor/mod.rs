//! What lorasweep finds on this machine: what a person who helps another one asks first.

mod gpus;
mod kernels;
mod machine;

use serde::Serialize;

/// The form of [`SystemReport`] as JSON; it grows when a key changes its meaning or goes.
const VERSION: u32 = 1;

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// Sweeps run, but slower, or not everywhere.
    Warn,
    /// Sweeps fail, or their results are wrong.
    Fail,
}

impl CheckStatus {
    /// `ok`, `warn` or `fail`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// A finding about this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemCheck {
    /// What it is about, as `memory`.
    pub name: String,
    /// How good it is.
    pub status: CheckStatus,
    /// What was found, in one line without control characters.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl SystemCheck {
    fn new(name: &str, status: CheckStatus, text: &str) -> Self {
        // Names of devices, folders and values of variables are text of others.
        let text = spec::printable_line(text).into_owned();
        Self { name: name.to_owned(), status, text, help: None }
    }

    fn ok(name: &str, text: &str) -> Self {
        Self::new(name, CheckStatus::Ok, text)
    }

    fn warn(name: &str, text: &str, help: &str) -> Self {
        Self { help: Some(help.to_owned()), ..Self::new(name, CheckStatus::Warn, text) }
    }

    fn fail(name: &str, text: &str, help: &str) -> Self {
        Self { help: Some(help.to_owned()), ..Self::new(name, CheckStatus::Fail, text) }
    }
}

/// All findings about this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemReport {
    v: u32,
    /// The worst of all findings.
    pub status: CheckStatus,
    /// The findings.
    pub checks: Vec<SystemCheck>,
}

impl SystemReport {
    /// Examines this machine, which takes some seconds: the kernels of each device train a small model
    /// and are compared with the oracle of the tests.
    pub fn of_this_machine() -> Self {
        let mut checks = machine::checks();
        checks.extend(kernels::with_model(|model| {
            let mut found = vec![kernels::cpu(model)];
            found.extend(gpus::checks(model));
            found
        }));
        Self::new(checks)
    }

    fn new(checks: Vec<SystemCheck>) -> Self {
        let status = checks.iter().map(|check| check.status).max().unwrap_or(CheckStatus::Ok);
        Self { v: VERSION, status, checks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_as_good_as_its_worst_finding() {
        use CheckStatus::{Fail, Ok, Warn};
        let check = |status| SystemCheck::new("x", status, "y");
        let status = |all: &[CheckStatus]| {
            SystemReport::new(all.iter().copied().map(check).collect()).status
        };
        assert_eq!(status(&[]), Ok);
        assert_eq!(status(&[Ok, Warn, Ok]), Warn);
        assert_eq!(status(&[Fail, Warn, Ok]), Fail);
    }

    #[test]
    fn a_device_cannot_write_a_second_line_or_command_the_terminal() {
        let check = SystemCheck::ok("gpu", "A100\nkernels  ok\x1b[2J");
        assert!(!check.text.chars().any(char::is_control), "{:?}", check.text);
    }
}
