//! The keys of `executor` that belong to `type: slurm`.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::scalar::{self, wrong_type};
use super::section::Section;
use super::sections::{OPTION_KEYS, OUR_OPTIONS};
use super::yaml::{Key, Node, Value};
use crate::limits::Limits;
use crate::mistake::Mistake;
use crate::slurm::SlurmSettings;

pub(crate) fn read(section: &Section, findings: &mut Findings) -> SlurmSettings {
    let defaults = SlurmSettings::default();
    let mut text = |key: &str| section.read(key, findings, option_text);
    let settings = SlurmSettings {
        partition: text("partition"),
        account: text("account"),
        qos: text("qos"),
        gres: text("gres"),
        constraint: text("constraint"),
        time: section.read("time", findings, time),
        gpus_per_node: section.read("gpus_per_node", findings, gpus),
        cpus_per_task: section.whole("cpus_per_task", findings),
        mem: section.read("mem", findings, memory),
        exclude: section.read("exclude", findings, nodes),
        setup: section.read("setup", findings, lines).unwrap_or_default(),
        signal_delay_seconds: section
            .whole("signal_delay_seconds", findings)
            .unwrap_or(defaults.signal_delay_seconds),
        additional_parameters: section
            .read("additional_parameters", findings, additional)
            .unwrap_or_default(),
        max_jobs: section.whole("max_jobs", findings).unwrap_or(defaults.max_jobs),
    };
    if let (Some(_), Some(node)) = (section.get("gpus_per_node"), section.get("gres"))
        && settings.gres.as_deref().is_some_and(|gres| gres.contains("gpu"))
    {
        let mistake = Mistake::Conflict {
            both: "`executor.gpus_per_node` and GPUs in `executor.gres`".to_owned(),
            help: "keep the one that this cluster's own examples use".to_owned(),
        };
        findings.mistake::<()>(node.place, mistake);
    }
    settings
}

/// A text that becomes the value of an option: not empty, and on one line.
fn option_text(what: &str, node: &Node, findings: &mut Findings) -> Option<String> {
    let text = scalar::text(what, "a text", node, findings)?;
    if text.is_empty() || text.chars().any(char::is_control) {
        let mistake = wrong_type(what, &"a text on one line, and not empty", node);
        return findings.mistake(node.place, mistake);
    }
    Some(text)
}

/// A time limit: minutes, or one of the forms of `sbatch --time`.
fn time(what: &str, node: &Node, findings: &mut Findings) -> Option<String> {
    const FORMS: &str = "minutes, `hours:minutes:seconds` or `days-hours:minutes:seconds`, such as \
                         `4:00:00` for four hours";
    if let Value::Int(_) | Value::Float(_) = node.value {
        return scalar::whole(what, node, Limits::whole(1), findings)
            .map(|minutes| minutes.to_string());
    }
    let text = if let Value::Text(text) = &node.value { text.trim() } else { "" };
    if !is_time(text) {
        return findings.mistake(node.place, wrong_type(what, &FORMS, node));
    }
    if text.matches(':').count() == 1 && !text.contains('-') {
        findings.warning(
            node.place,
            format!("Slurm reads `{text}` as minutes and seconds"),
            format!("write `{text}:00` for hours and minutes"),
        );
    }
    Some(text.to_owned())
}

/// Whether `sbatch --time` takes this: `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M` or `D-H:M:S`, not zero.
fn is_time(text: &str) -> bool {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(days), rest),
        None => (None, text),
    };
    let mut parts = days.into_iter().chain(rest.split(':'));
    let whole =
        |part: &str| (1..=9).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    parts.clone().all(whole)
        && rest.split(':').count() <= 3
        && parts.any(|part| part.bytes().any(|b| b != b'0'))
}

/// A number of GPUs, or `type:number`.
fn gpus(what: &str, node: &Node, findings: &mut Findings) -> Option<String> {
    let text = option_text(what, node, findings)?;
    let (kind, number) = text.rsplit_once(':').unwrap_or(("any", &text));
    match number.parse::<u32>() {
        Ok(number) if number > 0 && !kind.is_empty() => {
            if number > 1 {
                findings.warning(
                    node.place,
                    format!("a worker uses one GPU, but each job would hold {number}"),
                    "write `gpus_per_node: 1` and raise `max_jobs`: trials are packed on each",
                );
            }
            Some(text)
        }
        _ => {
            let expected = "a number of GPUs from 1 on, or `type:number` such as `a100:1`";
            findings.mistake(node.place, wrong_type(what, &expected, node))
        }
    }
}

/// Memory as `sbatch --mem` takes it. Its `G` is 1024 MiB, as `GiB` and, in daily use, `GB` say.
fn memory(what: &str, node: &Node, findings: &mut Findings) -> Option<String> {
    let text = scalar::text(what, "an amount of memory", node, findings)?;
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = match text[digits..].trim_start() {
        "" => Some(""),
        "K" | "KB" | "KiB" => Some("K"),
        "M" | "MB" | "MiB" => Some("M"),
        "G" | "GB" | "GiB" => Some("G"),
        "T" | "TB" | "TiB" => Some("T"),
        _ => None,
    };
    match unit {
        Some(unit) if (1..=12).contains(&digits) => Some(format!("{}{unit}", &text[..digits])),
        _ => {
            let expected = "an amount of memory, such as `32G` (or 0 for all of a node's)";
            findings.mistake(node.place, wrong_type(what, &expected, node))
        }
    }
}

/// Nodes: a list of names, or a text as Slurm has it.
fn nodes(what: &str, node: &Node, findings: &mut Findings) -> Option<String> {
    let Value::List(items) = &node.value else { return option_text(what, node, findings) };
    if items.is_empty() {
        return findings.mistake(node.place, Mistake::EmptyList { what: what.to_owned() });
    }
    let names: Option<Vec<String>> =
        items.iter().map(|item| option_text(what, item, findings)).collect();
    Some(names?.join(","))
}

/// Lines of shell: a list, or one text of several lines. They are not looked into.
fn lines(what: &str, node: &Node, findings: &mut Findings) -> Option<Vec<String>> {
    const EXPECTED: &str = "a list of shell lines, such as [\"module load cuda\"]";
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        Value::Text(_) => std::slice::from_ref(node),
        _ => return findings.mistake(node.place, wrong_type(what, &EXPECTED, node)),
    };
    let mut lines = Vec::new();
    for item in items {
        match &item.value {
            Value::Text(text) if !text.contains('\0') => {
                lines.extend(text.lines().map(str::to_owned));
            }
            _ => return findings.mistake(item.place, wrong_type(what, &EXPECTED, item)),
        }
    }
    Some(lines)
}

/// Further options by name; `true` and an empty value stand for an option without a value.
fn additional(
    what: &str,
    node: &Node,
    findings: &mut Findings,
) -> Option<BTreeMap<String, Option<String>>> {
    let Value::Map(entries) = &node.value else {
        let expected = "options of sbatch with their values, such as {reservation: course}";
        return findings.mistake(node.place, wrong_type(what, &expected, node));
    };
    let mut options = BTreeMap::new();
    for (key, value) in entries {
        let Some(name) = option_name(key, findings) else { continue };
        let value_of = format!("{what}.{}", key.name);
        let value = match &value.value {
            Value::Null | Value::Bool(true) => None,
            Value::Bool(false) => {
                let expected = "true, or a value; leave an option out to be without it";
                findings.mistake::<()>(value.place, wrong_type(&value_of, &expected, value));
                continue;
            }
            _ => match option_text(&value_of, value, findings) {
                Some(text) => Some(text),
                None => continue,
            },
        };
        if options.insert(name.clone(), value).is_some() {
            let mistake =
                Mistake::DuplicateValue { what: what.to_owned(), found: format!("`{name}`") };
            findings.mistake::<()>(key.place, mistake);
        }
    }
    Some(options)
}

/// An option's long name, with dashes.
fn option_name(key: &Key, findings: &mut Findings) -> Option<String> {
    let name = key.name.trim_start_matches('-').replace('_', "-");
    let wrong = |why: &str, instead: String| Mistake::BadOption {
        found: key.name.clone(),
        why: why.to_owned(),
        instead,
    };
    let mistake = if let Some(ours) = OUR_OPTIONS.iter().find(|ours| **ours == name) {
        wrong("lorasweep sets it itself", format!("remove `{ours}`"))
    } else if OPTION_KEYS.contains(&name.as_str()) {
        let own = name.replace('-', "_");
        wrong("it has a key of its own", format!("write `{own}` directly under `executor:`"))
    } else if name.len() < 2
        || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        let instead = "write the long name of an option of sbatch, such as `reservation`";
        wrong("that is not the name of an option", instead.to_owned())
    } else {
        return Some(name);
    };
    findings.mistake(key.place, mistake)
}
