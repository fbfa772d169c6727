//! The variant of LoRA: settings of `train` that all trials share, named as in PEFT.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::scalar::{self, wrong_type};
use super::section::Section;
use super::words;
use super::yaml::{Node, Value};
use crate::limits::Limits;
use crate::mistake::Mistake;
use crate::parameter::Parameter;
use crate::variant::{InitLoraWeights, LoraVariant};

/// The settings of `train` that say what an adapter is.
pub(crate) fn read(train: &Section, findings: &mut Findings) -> LoraVariant {
    let defaults = LoraVariant::default();
    refuse(train, findings);
    let rank = Parameter::Rank.row().limits;
    let alpha = Parameter::LoraAlpha.row().limits;
    LoraVariant {
        init_lora_weights: train
            .read("init_lora_weights", findings, init_lora_weights)
            .unwrap_or_default(),
        layers_to_transform: train.read("layers_to_transform", findings, layers),
        rank_pattern: train
            .read("rank_pattern", findings, |what, node, findings| {
                pattern(what, node, findings, |what, node, findings| {
                    scalar::whole(what, node, rank, findings)
                })
            })
            .unwrap_or_default(),
        alpha_pattern: train
            .read("alpha_pattern", findings, |what, node, findings| {
                pattern(what, node, findings, |what, node, findings| {
                    scalar::number(what, node, alpha, findings)
                })
            })
            .unwrap_or_default(),
        ..defaults
    }
}

/// Settings of PEFT that are not available, with what to do instead.
const REFUSED: [(&str, &str); 1] = [(
    "modules_to_save",
    "whole layers are not trained: the base model is frozen and shared by all trials. Remove it, \
     and raise `rank` where adapters are too small",
)];

fn refuse(train: &Section, findings: &mut Findings) {
    for (name, instead) in REFUSED {
        let Some((key, node)) = train.entry(name) else { continue };
        if matches!(node.value, Value::Null | Value::Bool(false)) {
            continue;
        }
        let mistake = Mistake::NotAvailable { what: "setting", found: name.to_owned(), instead };
        findings.mistake::<()>(key.place, mistake);
    }
}

fn init_lora_weights(what: &str, node: &Node, findings: &mut Findings) -> Option<InitLoraWeights> {
    if node.value == Value::Bool(true) {
        return Some(InitLoraWeights::Default);
    }
    let init = scalar::word(what, "initialisation", words::INITIALISATIONS, node, findings)?;
    if init.is_none() {
        let mistake = Mistake::NotAvailable {
            what: "initialisation",
            found: node.raw.clone(),
            instead: "use `default` or `orthogonal`: trials share one frozen base model, which \
                      other initialisations would change",
        };
        return findings.mistake(node.place, mistake);
    }
    init
}

/// A list of blocks, or one; sorted in the result.
fn layers(what: &str, node: &Node, findings: &mut Findings) -> Option<Vec<u32>> {
    let one = std::slice::from_ref(node);
    let items = match &node.value {
        Value::List(items) if items.is_empty() => {
            return findings.mistake(node.place, Mistake::EmptyList { what: what.to_owned() });
        }
        Value::List(items) => items.as_slice(),
        _ => one,
    };
    let mut layers = Vec::with_capacity(items.len());
    for item in items {
        let layer = scalar::whole(what, item, Limits::whole(0), findings)?;
        if layers.contains(&layer) {
            let found = item.raw.clone();
            let mistake = Mistake::DuplicateValue { what: what.to_owned(), found };
            return findings.mistake(item.place, mistake);
        }
        layers.push(layer);
    }
    layers.sort_unstable();
    Some(layers)
}

/// Modules and their values. Which modules there are is known with the base model; here a name is
/// words between dots, because PEFT takes it for a regular expression.
fn pattern<T>(
    what: &str,
    node: &Node,
    findings: &mut Findings,
    value: impl Fn(&str, &Node, &mut Findings) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let Value::Map(entries) = &node.value else {
        let expected = "modules with a number each, for instance {q_proj: 8}";
        return findings.mistake(node.place, wrong_type(what, &expected, node));
    };
    let mut pattern = BTreeMap::new();
    for (key, node) in entries {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        if !key.name.chars().all(is_plain) {
            let mistake = Mistake::NotAvailable {
                what: "pattern",
                found: key.name.clone(),
                instead: "write a module such as `q_proj`, or one block's such as \
                          `layers.0.self_attn.q_proj`; regular expressions are not read",
            };
            return findings.mistake(key.place, mistake);
        }
        let value = value(&format!("{what}.{}", key.name), node, findings)?;
        if pattern.insert(key.name.clone(), value).is_some() {
            let mistake =
                Mistake::DuplicateValue { what: what.to_owned(), found: key.name.clone() };
            return findings.mistake(key.place, mistake);
        }
    }
    Some(pattern)
}
