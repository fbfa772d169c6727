//! Who trains: `executor.type` and the keys that go with it.

use std::path::PathBuf;

use super::findings::Findings;
use super::keys;
use super::scalar;
use super::section::Section;
use super::settings::whole;
use super::slurm;
use super::yaml::Node;
use crate::command::{BadTemplate, CommandTemplate, CommandValue};
use crate::mistake::{Mistake, most_similar};
use crate::settings::{CommandSettings, ExecutorKind};

/// Seconds that a command has to end by itself, unless the file says otherwise.
const GRACE_SECONDS: u32 = 30;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Local,
    Command,
    External,
    Slurm,
}

const KINDS: [(&str, Kind); 4] = [
    ("local", Kind::Local),
    ("command", Kind::Command),
    ("external", Kind::External),
    ("slurm", Kind::Slurm),
];

/// Keys of the type `command` alone.
const OF_COMMAND: [&str; 4] = ["command", "base_command", "max_parallel", "grace_seconds"];
/// Keys of the types in which lorasweep trains.
const OF_TRAINER: [&str; 4] = ["device", "devices", "max_packed", "memory_limit"];

/// Reads who trains; `None` when that is not clear, which has been reported.
pub(crate) fn kind(section: &Section, findings: &mut Findings) -> Option<ExecutorKind> {
    let Some(node) = section.get("type") else {
        only(section, "local", &[&OF_COMMAND, keys::SLURM], findings)?;
        return Some(ExecutorKind::Local);
    };
    match scalar::word("executor.type", "executor", &KINDS, node, findings)? {
        Kind::Local => {
            only(section, "local", &[&OF_COMMAND, keys::SLURM], findings)?;
            Some(ExecutorKind::Local)
        }
        Kind::Command => {
            only(section, "command", &[&OF_TRAINER, keys::SLURM], findings)?;
            command(section, findings).map(ExecutorKind::Command)
        }
        Kind::External => {
            only(section, "external", &[&OF_COMMAND, &OF_TRAINER, keys::SLURM], findings)?;
            Some(ExecutorKind::External)
        }
        Kind::Slurm => {
            only(section, "slurm", &[&OF_COMMAND, &["devices"]], findings)?;
            Some(ExecutorKind::Slurm(Box::new(slurm::read(section, findings))))
        }
    }
}

/// Reports keys of other types.
fn only(
    section: &Section,
    kind: &str,
    others: &[&[&'static str]],
    findings: &mut Findings,
) -> Option<()> {
    let mut clean = Some(());
    for (key, _) in section.iter() {
        if others.iter().any(|keys| keys.contains(&key.name.as_str())) {
            if kind != "slurm" && keys::SLURM.contains(&key.name.as_str()) {
                let mistake = Mistake::Conflict {
                    both: format!("`type: {kind}` and `executor.{}`", key.name),
                    help: format!("`{}` is asked of a cluster: write `type: slurm`", key.name),
                };
                clean = findings.mistake(key.place, mistake);
                continue;
            }
            let is_known = |name: &&&str| !others.iter().any(|keys| keys.contains(name));
            clean = findings.mistake(
                key.place,
                Mistake::UnknownKey {
                    key: key.name.clone(),
                    section: format!("`executor` of type `{kind}`"),
                    similar: None,
                    belongs: None,
                    known: keys::EXECUTOR.iter().filter(is_known).copied().collect(),
                },
            );
        }
    }
    clean
}

/// The commands; the folder they run in is known when the file is resolved.
fn command(section: &Section, findings: &mut Findings) -> Option<CommandSettings> {
    let example = "command: \"python train.py --rank {{rank}} --lr {{learning_rate}}\"";
    section.require("command", example, findings)?;
    // Both are read before either ends the reading, so that all mistakes are told.
    let command = section.read("command", findings, template);
    let base_command = section.read("base_command", findings, base_template);
    Some(CommandSettings {
        command: command?,
        base_command,
        dir: PathBuf::new(),
        max_parallel: whole(section, "max_parallel", 1, findings).unwrap_or(1),
        grace_seconds: whole(section, "grace_seconds", 0, findings).unwrap_or(GRACE_SECONDS),
    })
}

/// The base model has no parameters of a trial.
fn base_template(what: &str, node: &Node, findings: &mut Findings) -> Option<CommandTemplate> {
    let line = template(what, node, findings)?;
    if line.values().any(|v| matches!(v, CommandValue::Parameter(_) | CommandValue::Params)) {
        let problem = "has a trial's parameter, but it evaluates the base model";
        return findings
            .mistake(node.place, Mistake::BadCommand { what: what.to_owned(), problem });
    }
    Some(line)
}

fn template(what: &str, node: &Node, findings: &mut Findings) -> Option<CommandTemplate> {
    let text = scalar::text(what, "a line for the shell", node, findings)?;
    let mistake = match CommandTemplate::parse(&text) {
        Ok(line) => return Some(line),
        Err(BadTemplate::Unclosed) => {
            Mistake::BadCommand { what: what.to_owned(), problem: "has `{{` without `}}`" }
        }
        Err(BadTemplate::Unbalanced) => Mistake::BadCommand {
            what: what.to_owned(),
            problem: "has quotes or brackets without their end",
        },
        Err(BadTemplate::Misplaced { value, place }) => {
            Mistake::MisplacedValue { what: what.to_owned(), value: value.name(), place }
        }
        Err(BadTemplate::Unknown(found)) => {
            let known: Vec<&'static str> = CommandValue::all().map(CommandValue::name).collect();
            let similar = keys::alias(&found, &known).or_else(|| most_similar(&found, &known));
            Mistake::UnknownName { what: "value for a command", found, similar, known }
        }
    };
    findings.mistake(node.place, mistake)
}
