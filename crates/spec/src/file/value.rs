//! Values of parameters: how each kind is read from one YAML value.

use super::findings::Findings;
use super::scalar::{self, wrong_type};
use super::yaml::{Node, Value};
use crate::mistake::{Mistake, most_similar};
use crate::parameter::{Kind, ModuleSet, ParameterValue, Row};
use crate::trial::TargetModule;

/// Reads one value of a parameter; `what` names it in messages.
pub(crate) fn read(
    row: &Row,
    what: &str,
    node: &Node,
    findings: &mut Findings,
) -> Option<ParameterValue> {
    match &row.kind {
        Kind::Whole(_) => {
            scalar::whole(what, node, row.limits, findings).map(|n| ParameterValue::Whole(n.into()))
        }
        Kind::Seed(_) => scalar::seed(what, node, findings).map(ParameterValue::Whole),
        Kind::Real(_) | Kind::Rate(_) => {
            scalar::number(what, node, row.limits, findings).map(ParameterValue::Real)
        }
        Kind::PerRank(_) => per_rank(row, what, node, findings),
        Kind::Flag(_) => scalar::truth(what, node, findings).map(ParameterValue::Flag),
        Kind::Choice(choice) => {
            let words: Vec<_> = choice.words.iter().map(|word| (*word, *word)).collect();
            scalar::word(what, choice.what, &words, node, findings)
                .map(|word| ParameterValue::Name(Some(word)))
        }
        Kind::Modules(_) => modules(what, node, findings)
            .map(|modules| ParameterValue::Modules(ModuleSet::of(&modules))),
    }
}

/// A number, or a multiple of the rank.
fn per_rank(row: &Row, what: &str, node: &Node, findings: &mut Findings) -> Option<ParameterValue> {
    let Value::Text(text) = &node.value else {
        return match node.value {
            Value::Int(_) | Value::Float(_) => {
                scalar::number(what, node, row.limits, findings).map(ParameterValue::Real)
            }
            _ => findings.mistake(node.place, wrong_type(what, &ALPHA, node)),
        };
    };
    // `r` alone is once the rank; `f64::from_str` also takes words such as `inf`.
    let factor = match text.strip_suffix('r') {
        Some("") => Some(1.0),
        Some(factor) => factor.parse::<f64>().ok(),
        None => None,
    };
    match factor {
        Some(factor) if row.limits.contains(factor) => Some(ParameterValue::PerRank(factor)),
        Some(_) => {
            let required = "a positive multiple of the rank, for instance 2r".to_owned();
            let found = node.raw.clone();
            let mistake = Mistake::OutOfRange { what: what.to_owned(), required, found };
            findings.mistake(node.place, mistake)
        }
        None => findings.mistake(node.place, wrong_type(what, &ALPHA, node)),
    }
}

const ALPHA: &str = "a number, or a multiple of the rank such as 2r";

/// Names that stand for several layers, with PEFT's spelling and ours.
pub(crate) const MODULE_WORDS: [(&str, &[TargetModule]); 4] = [
    ("all-linear", &TargetModule::ALL),
    ("all_linear", &TargetModule::ALL),
    (
        "attention",
        &[TargetModule::QProj, TargetModule::KProj, TargetModule::VProj, TargetModule::OProj],
    ),
    ("mlp", &[TargetModule::GateProj, TargetModule::UpProj, TargetModule::DownProj]),
];

/// Whether a name stands for several layers.
pub(crate) fn is_preset(name: &str) -> bool {
    MODULE_WORDS.iter().any(|(preset, _)| *preset == name)
}

/// Reads a preset, the name of one layer, or a list of names.
fn modules(what: &str, node: &Node, findings: &mut Findings) -> Option<Vec<TargetModule>> {
    let modules = match &node.value {
        Value::Text(name) => {
            let preset = MODULE_WORDS.iter().find(|(preset, _)| preset == name);
            return match preset {
                Some((_, modules)) => Some(modules.to_vec()),
                None => layer(name, node, findings).map(|module| vec![module]),
            };
        }
        Value::List(items) if items.is_empty() => {
            return findings.mistake(node.place, Mistake::EmptyList { what: what.to_owned() });
        }
        Value::List(items) => {
            let mut modules = Vec::new();
            for item in items {
                let Value::Text(name) = &item.value else {
                    let mistake = wrong_type(what, &"a list of layer names", item);
                    return findings.mistake(item.place, mistake);
                };
                let module = layer(name, item, findings)?;
                if modules.contains(&module) {
                    let mistake =
                        Mistake::DuplicateValue { what: what.to_owned(), found: item.raw.clone() };
                    return findings.mistake(item.place, mistake);
                }
                modules.push(module);
            }
            modules
        }
        _ => {
            let expected = "`all-linear`, `attention`, `mlp` or a list of layer names";
            return findings.mistake(node.place, wrong_type(what, &expected, node));
        }
    };
    Some(modules)
}

fn layer(name: &str, node: &Node, findings: &mut Findings) -> Option<TargetModule> {
    if let Some(module) = TargetModule::every().find(|m| m.name() == name) {
        return Some(module);
    }
    let known: Vec<&'static str> = TargetModule::every()
        .map(TargetModule::name)
        .chain(["all-linear", "attention", "mlp"])
        .collect();
    let similar = most_similar(name, &known);
    let found = name.to_owned();
    findings.mistake(node.place, Mistake::UnknownName { what: "layer", found, similar, known })
}
