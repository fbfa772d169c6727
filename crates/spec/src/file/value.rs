//! Values of parameters: how each type is read from one YAML value.

use super::findings::Findings;
use super::limits::Limits;
use super::scalar::{self, wrong_type};
use super::yaml::{Node, Value};
use crate::base::BaseForm;
use crate::mistake::{Mistake, most_similar};
use crate::space::Alpha;
use crate::trial::{LrScheduler, TargetModule};

/// A type that a parameter's value can have.
pub(crate) trait ParameterValue: Sized + Clone + PartialEq {
    /// Reads one value; `what` names it in messages.
    fn read(what: &str, node: &Node, limits: Limits, findings: &mut Findings) -> Option<Self>;
}

impl ParameterValue for f64 {
    fn read(what: &str, node: &Node, limits: Limits, findings: &mut Findings) -> Option<Self> {
        scalar::number(what, node, limits, findings)
    }
}

impl ParameterValue for u32 {
    fn read(what: &str, node: &Node, limits: Limits, findings: &mut Findings) -> Option<Self> {
        scalar::whole(what, node, limits, findings)
    }
}

impl ParameterValue for u64 {
    fn read(what: &str, node: &Node, _: Limits, findings: &mut Findings) -> Option<Self> {
        scalar::seed(what, node, findings)
    }
}

impl ParameterValue for bool {
    fn read(what: &str, node: &Node, _: Limits, findings: &mut Findings) -> Option<Self> {
        scalar::truth(what, node, findings)
    }
}

impl ParameterValue for Alpha {
    fn read(what: &str, node: &Node, limits: Limits, findings: &mut Findings) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            return match node.value {
                Value::Int(_) | Value::Float(_) => {
                    scalar::number(what, node, limits, findings).map(Self::Fixed)
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
            Some(factor) if limits.contains(factor) => Some(Self::PerRank(factor)),
            Some(_) => {
                let required = "a positive multiple of the rank, for instance 2r".to_owned();
                let mistake = Mistake::OutOfRange {
                    what: what.to_owned(),
                    required,
                    found: node.raw.clone(),
                };
                findings.mistake(node.place, mistake)
            }
            None => findings.mistake(node.place, wrong_type(what, &ALPHA, node)),
        }
    }
}

const ALPHA: &str = "a number, or a multiple of the rank such as 2r";

impl ParameterValue for LrScheduler {
    fn read(what: &str, node: &Node, _: Limits, findings: &mut Findings) -> Option<Self> {
        const ALL: [LrScheduler; 4] = [
            LrScheduler::Constant,
            LrScheduler::Linear,
            LrScheduler::Cosine,
            LrScheduler::WarmupStableDecay,
        ];
        let words = ALL.map(|scheduler| (scheduler.name(), scheduler));
        scalar::word(what, "learning-rate schedule", &words, node, findings)
    }
}

impl ParameterValue for Option<BaseForm> {
    fn read(what: &str, node: &Node, _: Limits, findings: &mut Findings) -> Option<Self> {
        let words: Vec<(&str, BaseForm)> =
            BaseForm::all().map(|form| (form.name(), form)).collect();
        scalar::word(what, "quantization", &words, node, findings).map(Some)
    }
}

/// Names that stand for several layers, with PEFT's spelling and ours.
const PRESETS: [(&str, &[TargetModule]); 4] = [
    ("all-linear", &TargetModule::ALL),
    ("all_linear", &TargetModule::ALL),
    (
        "attention",
        &[TargetModule::QProj, TargetModule::KProj, TargetModule::VProj, TargetModule::OProj],
    ),
    ("mlp", &[TargetModule::GateProj, TargetModule::UpProj, TargetModule::DownProj]),
];

/// Reads a preset, the name of one layer, or a list of names; sorted in the result.
impl ParameterValue for Vec<TargetModule> {
    fn read(what: &str, node: &Node, _: Limits, findings: &mut Findings) -> Option<Self> {
        let mut modules = match &node.value {
            Value::Text(name) => {
                let preset = PRESETS.iter().find(|(preset, _)| preset == name);
                return match preset {
                    Some((_, modules)) => Some(modules.to_vec()),
                    None => layer(name, node, findings).map(|module| vec![module]),
                };
            }
            Value::List(items) if items.is_empty() => {
                return findings.mistake(node.place, Mistake::EmptyList { what: what.to_owned() });
            }
            Value::List(items) => {
                let mut modules = Self::new();
                for item in items {
                    let Value::Text(name) = &item.value else {
                        let mistake = wrong_type(what, &"a list of layer names", item);
                        return findings.mistake(item.place, mistake);
                    };
                    let module = layer(name, item, findings)?;
                    if modules.contains(&module) {
                        let mistake = Mistake::DuplicateValue {
                            what: what.to_owned(),
                            found: item.raw.clone(),
                        };
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
        modules.sort_unstable();
        Some(modules)
    }
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
