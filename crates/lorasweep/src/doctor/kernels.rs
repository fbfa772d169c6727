//! The kernels of a device against the oracle, on the quickstart's base model.

use std::path::Path;

use trainer::Device;
use trainer::self_check::{KernelCheck, check_kernels};

use super::SystemCheck;
use crate::quickstart;

/// Checks with the quickstart's base model in a temporary folder, which is removed afterwards.
pub fn with_model(check: impl FnOnce(&Path) -> Vec<SystemCheck>) -> Vec<SystemCheck> {
    let unpacked = tempfile::tempdir().map_err(|error| error.to_string()).and_then(|folder| {
        let sweep = quickstart::write(folder.path()).map_err(|error| error.to_string())?;
        Ok((sweep.with_file_name(quickstart::MODEL), folder))
    });
    match unpacked {
        Ok((model, _folder)) => check(&model),
        Err(error) => vec![SystemCheck::fail(
            "kernels",
            &format!("not checked: the temporary folder cannot be written: {error}"),
            "name another one in TMPDIR",
        )],
    }
}

/// The processor's kernels.
pub fn cpu(model: &Path) -> SystemCheck {
    match check_kernels(&Device::Cpu, model) {
        Ok(check) => outcome("cpu kernels", &check),
        Err(error) => failed("cpu kernels", &error.to_string()),
    }
}

/// What a comparison says.
pub fn outcome(name: &str, check: &KernelCheck) -> SystemCheck {
    let KernelCheck { computes, loss_error, gradient_error, .. } = check;
    let errors = format!("losses differ by {loss_error:.0e}, gradients by {gradient_error:.0e}");
    if check.agrees() {
        return SystemCheck::ok(name, &format!("{computes}: agree with the oracle ({errors})"));
    }
    let allowed = format!(
        "at most {:.0e} and {:.0e} are allowed",
        KernelCheck::LOSS_TOLERANCE,
        KernelCheck::GRADIENT_TOLERANCE
    );
    let text = format!("{computes}: wrong results ({errors}; {allowed})");
    SystemCheck::fail(name, &text, "do not trust sweeps of this device; please report this")
}

/// A comparison that did not come to its end.
pub fn failed(name: &str, error: &str) -> SystemCheck {
    SystemCheck::fail(name, &format!("not checked: {error}"), "please report this")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::CheckStatus;

    #[test]
    fn the_kernels_of_this_machine_agree_with_the_oracle() {
        let found = with_model(|model| vec![cpu(model)]);
        assert_eq!(found[0].status, CheckStatus::Ok, "{}", found[0].text);
    }

    #[test]
    fn wrong_results_fail_and_say_by_how_much() {
        let wrong = KernelCheck {
            computes: "AVX2".to_owned(),
            loss_error: 0.25,
            gradient_error: f64::NAN,
            note: None,
        };
        let found = outcome("cpu kernels", &wrong);
        assert_eq!(found.status, CheckStatus::Fail);
        assert!(found.text.contains("losses differ by 2e-1, gradients by NaN"), "{}", found.text);
    }

    #[test]
    fn a_model_that_is_not_there_is_a_failed_check() {
        let found = cpu(Path::new("no such folder"));
        assert_eq!(found.status, CheckStatus::Fail);
        assert!(found.text.starts_with("not checked: "), "{}", found.text);
    }
}
