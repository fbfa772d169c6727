//! The values that a command may use: in its line as `{{rank}}`, in its environment as
//! `LORASWEEP_RANK`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use spec::{CommandTemplate, CommandValue, Sweep, Trial, ValidationSource};

/// The values of one trial, or of the base model.
pub(super) type Values = BTreeMap<CommandValue, String>;

/// The values that every trial of a sweep has in common.
pub(super) fn shared(sweep: &Sweep) -> Values {
    let data = &sweep.data;
    let validation = match &data.validation {
        ValidationSource::File(path) => place(path),
        ValidationSource::Fraction(_) => String::new(),
    };
    let retention = data.retention.as_deref().map(place).unwrap_or_default();
    BTreeMap::from([
        (CommandValue::Model, place(&sweep.model)),
        (CommandValue::Train, place(&data.train)),
        (CommandValue::Validation, validation),
        (CommandValue::Retention, retention),
        (CommandValue::Resume, String::new()),
    ])
}

/// An absolute path if something is there; else it is a name, which stays.
fn place(path: &Path) -> String {
    let absolute = std::path::absolute(path).ok().filter(|absolute| absolute.exists());
    absolute.as_deref().unwrap_or(path).display().to_string()
}

/// Adds a trial's own values.
pub(super) fn add_trial(values: &mut Values, trial: &Trial) -> Result<(), serde_json::Error> {
    let params = serde_json::to_value(&trial.config)?;
    for value in CommandValue::all() {
        if let CommandValue::Parameter(parameter) = value {
            values.insert(value, text(&params[parameter.name()]));
        }
    }
    values.insert(CommandValue::Params, params.to_string());
    Ok(())
}

/// A parameter's value as a program wants it: whole numbers without a point, lists with commas.
fn text(value: &Value) -> String {
    match value {
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
    values.iter().map(|(value, text)| (variable(*value), text.clone())).collect()
}

/// The variable of a command's environment that holds a value.
pub(super) fn variable(value: CommandValue) -> String {
    format!("LORASWEEP_{}", value.name().to_uppercase())
}

/// The line for the shell, every value quoted as one word.
pub(super) fn fill(line: &CommandTemplate, values: &Values) -> String {
    line.render(|value| {
        let text = values.get(&value).map_or("", String::as_str);
        // A null byte cannot be handed to a program in any way.
        let text = text.replace('\0', "");
        shlex::try_quote(&text).map(Cow::into_owned).unwrap_or_default()
    })
}
