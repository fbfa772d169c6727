//! The values that a command may use: in its line as `{{rank}}`, in its environment as
//! `LORASWEEP_RANK`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use spec::{CommandTemplate, CommandValue, Sweep, Trial, ValidationSource};

use super::CommandError;

/// The values of one trial, or of the base model.
pub(super) type Values = BTreeMap<CommandValue, String>;

/// The values that every trial of a sweep has in common.
pub(super) fn shared(sweep: &Sweep) -> Result<Values, CommandError> {
    let data = &sweep.data;
    let validation = match &data.validation {
        ValidationSource::File(path) => place(path)?,
        ValidationSource::Fraction(_) => String::new(),
    };
    let retention = data.retention.as_deref().map(place).transpose()?.unwrap_or_default();
    Ok(BTreeMap::from([
        (CommandValue::Model, place(&sweep.model)?),
        (CommandValue::Train, place(&data.train)?),
        (CommandValue::Validation, validation),
        (CommandValue::Retention, retention),
        (CommandValue::Resume, String::new()),
    ]))
}

/// An absolute path if something is there; else it is a name, which stays.
fn place(path: &Path) -> Result<String, CommandError> {
    let absolute = std::path::absolute(path).ok().filter(|absolute| absolute.exists());
    text_of(absolute.as_deref().unwrap_or(path))
}

/// A path as text; one that is not text would name another place.
pub(super) fn text_of(path: &Path) -> Result<String, CommandError> {
    path.to_str().map(str::to_owned).ok_or_else(|| CommandError::NotText(path.to_owned()))
}

/// Adds a trial's own values.
pub(super) fn add_trial(values: &mut Values, trial: &Trial) -> Result<(), serde_json::Error> {
    let params = serde_json::to_value(&trial.config)?;
    for value in CommandValue::all() {
        if let CommandValue::Parameter(parameter) = value {
            let given = serde_json::to_value(parameter.row().get(&trial.config))?;
            values.insert(value, text(&given));
        }
    }
    values.insert(CommandValue::Params, params.to_string());
    Ok(())
}

/// A parameter's value as a program wants it: whole numbers without a point, lists with commas.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Number(number) => match number.as_f64() {
            Some(whole) if whole.fract() == 0.0 && whole.abs() < 1e15 => format!("{whole:.0}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// The variables of a command's environment.
pub(super) fn environment(values: &Values) -> BTreeMap<String, String> {
    // A null byte cannot be handed to a program in any way.
    values.iter().map(|(value, text)| (variable(*value), text.replace('\0', ""))).collect()
}

/// The variable of a command's environment that holds a value.
pub(super) fn variable(value: CommandValue) -> String {
    format!("LORASWEEP_{}", value.name().to_uppercase())
}

/// The line for the shell.
pub(super) fn fill(line: &CommandTemplate, values: &Values) -> String {
    line.render(|value| values.get(&value).cloned().unwrap_or_default())
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;
    use spec::CommandTemplate;

    use super::*;

    /// Every place of a line where a path may stand, each of which prints the path and a line.
    const LINE: &str = "printf '%s\\n' {{model}} x{{model}}y \"{{model}}\" \"x{{model}}y\" \
                        '{{model}}' 'x'\"{{model}}\"'y' \"$(printf %s {{model}})\" \
                        \"$(printf %s \"{{model}}\")\" $((1 + {{trial}}))";

    fn printed(model: &str) -> String {
        let line = CommandTemplate::try_from(LINE.to_owned()).expect("a line for the shell");
        let (model, trial) = (model.to_owned(), "7".to_owned());
        let values = Values::from([(CommandValue::Model, model), (CommandValue::Trial, trial)]);
        let output = Command::new("sh").arg("-c").arg(fill(&line, &values)).output();
        let output = output.expect("a shell");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn expected(model: &str) -> String {
        // A substitution takes line ends at the end away; that is the shell's rule.
        let (alone, inside) = (format!("{model}\n"), format!("x{model}y\n"));
        let substituted = format!("{}\n", model.trim_end_matches('\n'));
        format!("{alone}{inside}{alone}{inside}{alone}{inside}{substituted}{substituted}8\n")
    }

    #[test]
    fn a_path_that_is_not_text_is_refused() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/data/\xff"));
        let error = text_of(path).expect_err("not UTF-8");
        assert!(error.to_string().contains("rename the folder"), "{error}");
    }

    #[test]
    fn a_value_means_the_same_wherever_it_stands_in_the_line() {
        for model in ["a b", "$(touch INJECTED)", "`id`", "it's \"x\"", r"\n\\", "", "!! ~ *", "-n"]
        {
            assert_eq!(printed(model), expected(model), "{model}");
        }
        assert!(!Path::new("INJECTED").exists());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_text_is_anything_but_text_to_the_shell(model in "[ -~\n\t]{0,24}") {
            prop_assert_eq!(printed(&model), expected(&model));
        }
    }
}
