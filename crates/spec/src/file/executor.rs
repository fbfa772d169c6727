//! Who trains: `executor.type` and the keys that go with it.

use std::path::PathBuf;

use super::findings::Findings;
use super::keys;
use super::scalar;
use super::section::Section;
use super::sections::EXECUTOR_KEYS;
use super::slurm;
use super::words::{self, Executor};
use super::yaml::Node;
use crate::command::{BadTemplate, CommandTemplate, CommandValue};
use crate::mistake::{Mistake, most_similar};
use crate::settings::{CommandSettings, ExecutorKind};

/// Seconds that a command has to end by itself, unless the file says otherwise.
const GRACE_SECONDS: u32 = 30;

/// Reads who trains; `None` when that is not clear, which has been reported.
pub(crate) fn kind(section: &Section, findings: &mut Findings) -> Option<ExecutorKind> {
    let Some(node) = section.get("type") else {
        only(section, "local", findings)?;
        return Some(ExecutorKind::Local);
    };
    let kind = scalar::word("executor.type", "executor", words::EXECUTORS, node, findings)?;
    only(section, node.word(), findings)?;
    match kind? {
        Executor::Local => Some(ExecutorKind::Local),
        Executor::Command => command(section, findings).map(ExecutorKind::Command),
        Executor::External => Some(ExecutorKind::External),
        Executor::Slurm => Some(ExecutorKind::Slurm(Box::new(slurm::read(section, findings)))),
    }
}

/// Reports keys of other types.
fn only(section: &Section, kind: &str, findings: &mut Findings) -> Option<()> {
    let mut clean = Some(());
    let known = EXECUTOR_KEYS.of_type(kind).map(|of| (of.keys)()).unwrap_or_default();
    for (key, _) in section.iter() {
        if key.name != "type" && !known.contains(&key.name.as_str()) {
            if kind != "slurm" && keys::SLURM.contains(&key.name.as_str()) {
                let mistake = Mistake::Conflict {
                    both: format!("`type: {kind}` and `executor.{}`", key.name),
                    help: format!("`{}` is asked of a cluster: write `type: slurm`", key.name),
                };
                clean = findings.mistake(key.place, mistake);
                continue;
            }
            let is_known = |name: &&&str| **name == "type" || known.contains(name);
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
        max_parallel: section.whole("max_parallel", findings).unwrap_or(1),
        grace_seconds: section.whole("grace_seconds", findings).unwrap_or(GRACE_SECONDS),
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
