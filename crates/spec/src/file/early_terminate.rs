//! The section `early_terminate`.

use super::findings::Findings;
use super::keys;
use super::scalar;
use super::section::Section;
use super::sections::EARLY_TERMINATE_KEYS;
use super::words::{self, EarlyStop};
use super::yaml::Node;
use crate::error::Place;
use crate::mistake::Mistake;
use crate::settings::ReportSettings;
use crate::sweep::{Brackets, EarlyTerminate};

/// The section as written.
#[derive(Debug)]
pub(crate) struct EarlyTerminateFile {
    pub rule: EarlyTerminate,
    /// Where it says `promote: true`.
    pub promote: Option<Place>,
}

/// Reads the section; the thresholds of `overfit` are those of the report.
pub(crate) fn read(
    node: &Node,
    report: &ReportSettings,
    findings: &mut Findings,
) -> Option<EarlyTerminateFile> {
    let section = Section::open("early_terminate", node, keys::EARLY_TERMINATE, findings)?;
    let kind_node = section.require("type", "type: hyperband", findings)?;
    let kind = scalar::word(
        "early_terminate.type",
        "kind of early stop",
        words::EARLY_STOPS,
        kind_node,
        findings,
    )?;
    let promotes = section.read("promote", findings, scalar::truth) == Some(true);
    let promote = section.entry("promote").filter(|_| promotes).map(|(key, _)| key.place);
    let rule = rule(kind, kind_node, &section, report, findings)?;
    Some(EarlyTerminateFile { rule, promote })
}

fn rule(
    kind: Option<EarlyStop>,
    kind_node: &Node,
    section: &Section,
    report: &ReportSettings,
    findings: &mut Findings,
) -> Option<EarlyTerminate> {
    if let Some(of) = EARLY_TERMINATE_KEYS.of_type(kind_node.word()) {
        only(section, &(of.keys)(), kind_node, findings)?;
    }
    match kind {
        Some(EarlyStop::Hyperband) => hyperband(section, findings),
        Some(EarlyStop::Median) => {
            let min_iter = section.whole("min_iter", findings);
            Some(EarlyTerminate::Median { min_iter: min_iter.unwrap_or(3) })
        }
        Some(EarlyStop::Overfit) => Some(EarlyTerminate::Overfit {
            patience: section.whole("patience", findings).unwrap_or(2),
            probability: report.overfit_probability,
            min_rise: report.overfit_min_rise,
        }),
        Some(EarlyStop::Curve) => Some(EarlyTerminate::Curve {
            top: section.whole("top", findings).unwrap_or(1),
            chance: section.number("chance", findings).unwrap_or(0.05),
            min_iter: section.whole("min_iter", findings).unwrap_or(2),
        }),
        None => findings.mistake(
            kind_node.place,
            Mistake::NotAvailable {
                what: "early stop",
                found: kind_node.raw.clone(),
                instead: "use `hyperband`, `median`, `overfit` or `curve`",
            },
        ),
    }
}

/// Reports keys that this kind does not have.
fn only(
    section: &Section,
    known: &[&'static str],
    kind: &Node,
    findings: &mut Findings,
) -> Option<()> {
    let mut clean = Some(());
    for (key, _) in section.iter() {
        if key.name != "type" && !known.contains(&key.name.as_str()) {
            clean = findings.mistake(
                key.place,
                Mistake::UnknownKey {
                    key: key.name.clone(),
                    section: format!("`early_terminate` of type `{}`", kind.word()),
                    similar: None,
                    belongs: None,
                    known: known.to_vec(),
                },
            );
        }
    }
    clean
}

fn hyperband(section: &Section, findings: &mut Findings) -> Option<EarlyTerminate> {
    let eta = section.number("eta", findings).unwrap_or(3.0);
    let strict = section.read("strict", findings, scalar::truth).unwrap_or(false);
    let brackets = match (section.get("min_iter"), section.get("max_iter")) {
        (Some(_), Some(node)) => findings.mistake(
            node.place,
            Mistake::Conflict {
                both: "`early_terminate.min_iter` and `early_terminate.max_iter`".to_owned(),
                help: "write `min_iter`, or `max_iter` with `s`".to_owned(),
            },
        ),
        (Some(_), None) => {
            if let Some((key, _)) = section.entry("s") {
                return findings.mistake(
                    key.place,
                    Mistake::Conflict {
                        both: "`early_terminate.min_iter` and `early_terminate.s`".to_owned(),
                        help: "`s` goes with `max_iter`; remove it".to_owned(),
                    },
                );
            }
            section.whole("min_iter", findings).map(|min_iter| Brackets::From { min_iter })
        }
        (None, Some(node)) => {
            section.require("s", "s: 2", findings)?;
            let max_iter = section.whole("max_iter", findings);
            let s = section.whole("s", findings);
            let (max_iter, s) = (max_iter?, s?);
            if f64::from(max_iter) < eta {
                let mistake = Mistake::OutOfRange {
                    what: "early_terminate.max_iter".to_owned(),
                    required: format!("at least eta ({eta}), or there is no bracket"),
                    found: node.raw.clone(),
                };
                return findings.mistake(node.place, mistake);
            }
            Some(Brackets::Below { max_iter, s })
        }
        (None, None) => {
            section.require("min_iter", "min_iter: 2", findings)?;
            None
        }
    };
    brackets.map(|brackets| EarlyTerminate::Hyperband { brackets, eta, strict })
}
