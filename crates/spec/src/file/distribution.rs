//! `min`/`max` and the other distributions of a parameter, with the names of W&B sweeps.

use super::findings::Findings;
use super::scalar;
use super::section::Section;
use super::words::{self, DistributionName as Name};
use super::yaml::{Node, Value};
use crate::distribution::{Distribution, Shape};
use crate::error::Place;
use crate::limits::Limits;
use crate::mistake::Mistake;
use crate::parameter::{Kind, Parameter};

/// Fewer draws than this share within the limits make a distribution a mistake.
const SMALLEST_ALLOWED_SHARE: f64 = 0.01;

/// Reads a parameter that has neither `value` nor `values`.
pub(crate) fn read(
    parameter: Parameter,
    key: Place,
    section: &Section,
    findings: &mut Findings,
) -> Option<Distribution> {
    let reader = Reader { parameter, key, section, limits: parameter.row().limits };
    let (name, rounded) = reader.name(findings)?;
    reader.check_keys(name, rounded, findings)?;
    let q = reader.q(rounded, name, findings);
    let shape = reader.shape(name, findings);
    let (q, shape) = (q.ok()?, shape?);
    let (lowest, highest) = (reader.limits.lowest(), reader.limits.highest());
    reader.check_reach(Distribution { shape, q, lowest, highest }, name, findings)
}

/// Something is wrong and has been added to the findings.
struct Reported;

struct Reader<'a> {
    parameter: Parameter,
    key: Place,
    section: &'a Section<'a>,
    limits: Limits,
}

impl Reader<'_> {
    fn what(&self) -> String {
        format!("parameters.{}", self.parameter)
    }

    /// The distribution's name, as given or as W&B infers it from the ends.
    fn name(&self, findings: &mut Findings) -> Option<(Name, bool)> {
        let Some(node) = self.section.get("distribution") else {
            return self.inferred_name(findings);
        };
        let what = self.section.full("distribution");
        match scalar::word(&what, "distribution", words::DISTRIBUTIONS, node, findings)? {
            (Name::NotAvailable, _) => findings.mistake(
                node.place,
                Mistake::NotAvailable {
                    what: "distribution",
                    found: node.raw.clone(),
                    instead: "use `uniform` or `normal`",
                },
            ),
            (Name::Constant | Name::Listed, _) => findings.mistake(
                node.place,
                Mistake::MissingKey {
                    key: if node.word() == "constant" { "value" } else { "values" },
                    section: format!("`{}`", self.what()),
                    example: if node.word() == "constant" { "value: 8" } else { "values: [8, 16]" },
                },
            ),
            named => Some(named),
        }
    }

    fn inferred_name(&self, findings: &mut Findings) -> Option<(Name, bool)> {
        let (min, max) = (self.section.get("min"), self.section.get("max"));
        let any_end = min.or(max);
        if self.section.iter().next().is_none() && !self.section.clean {
            // Whatever was meant has been reported as an unknown key.
            return None;
        }
        if any_end.is_none() || self.section.get("q").is_some() {
            let mistake = if self.section.iter().next().is_none() {
                Mistake::MissingKey {
                    key: "values",
                    section: format!("`{}`", self.what()),
                    example: "values: [...]",
                }
            } else {
                Mistake::MissingKey {
                    key: "distribution",
                    section: format!("`{}`", self.what()),
                    example: if any_end.is_some() {
                        "distribution: q_uniform"
                    } else {
                        "distribution: normal"
                    },
                }
            };
            return findings.mistake(self.key, mistake);
        }
        if matches!(self.parameter.row().kind, Kind::Rate(_)) {
            findings.warning(
                self.key,
                format!(
                    "`{}` has a range without a distribution: it is drawn log-uniformly, where \
                     W&B would draw uniformly",
                    self.parameter
                ),
                "write `distribution: log_uniform_values` to say so, or `uniform`",
            );
            return Some((Name::LogUniformValues, false));
        }
        let whole = |end: Option<&Node>| end.is_none_or(|n| matches!(n.value, Value::Int(_)));
        if !(whole(min) && whole(max)) {
            return Some((Name::Uniform, false));
        }
        if !self.limits.whole {
            findings.warning(
                self.key,
                format!(
                    "`{}` has a range of whole numbers without a distribution: only whole \
                     numbers are drawn, as in W&B",
                    self.parameter
                ),
                "write `distribution: int_uniform` to say so, or `distribution: uniform` for \
                 everything in between",
            );
        }
        Some((Name::IntUniform, false))
    }

    /// Reports keys that the distribution does not have.
    fn check_keys(&self, name: Name, rounded: bool, findings: &mut Findings) -> Option<()> {
        let ends = !matches!(name, Name::Normal | Name::LogNormal);
        let mut known = if ends { vec!["min", "max"] } else { vec!["mu", "sigma"] };
        if rounded {
            known.push("q");
        }
        let mut clean = Some(());
        for (key, _) in self.section.iter() {
            if key.name != "distribution" && !known.contains(&key.name.as_str()) {
                let section = match self.section.get("distribution") {
                    Some(node) => format!("`{}` with distribution `{}`", self.what(), node.word()),
                    None => format!("`{}` with a range", self.what()),
                };
                clean = findings.mistake(
                    key.place,
                    Mistake::UnknownKey {
                        key: key.name.clone(),
                        section,
                        similar: None,
                        belongs: None,
                        known: known.clone(),
                    },
                );
            }
        }
        clean
    }

    /// The step of rounding: as given, 1 by default, and 1 for parameters that are whole numbers.
    fn q(
        &self,
        rounded: bool,
        name: Name,
        findings: &mut Findings,
    ) -> Result<Option<f64>, Reported> {
        let limits = if self.limits.whole { Limits::whole(1) } else { Limits::above(0.0) };
        match self.section.get("q") {
            Some(node) => scalar::number(&self.section.full("q"), node, limits, findings)
                .map(Some)
                .ok_or(Reported),
            None if rounded => Ok(Some(1.0)),
            None => Ok((self.limits.whole && name != Name::IntUniform).then_some(1.0)),
        }
    }

    fn shape(&self, name: Name, findings: &mut Findings) -> Option<Shape> {
        if let Some(limits) = name.ends() {
            let (min, max) = self.ends(limits, findings)?;
            return Some(match name {
                Name::IntUniform => Shape::IntUniform { min: min as i64, max: max as i64 },
                Name::LogUniformValues => Shape::LogUniform { min, max },
                Name::LogUniform => Shape::LogUniform { min: min.exp(), max: max.exp() },
                Name::InvLogUniform => Shape::LogUniform { min: (-max).exp(), max: (-min).exp() },
                _ => Shape::Uniform { min, max },
            });
        }
        let mu = self.or_default("mu", 0.0, Limits::ANY, findings);
        let sigma = self.or_default("sigma", 1.0, Limits::above(0.0), findings);
        let (mu, sigma) = (mu?, sigma?);
        match name {
            Name::Normal => Some(Shape::Normal { mu, sigma }),
            Name::LogNormal => Some(Shape::LogNormal { mu, sigma }),
            _ => None,
        }
    }

    fn or_default(
        &self,
        key: &str,
        default: f64,
        limits: Limits,
        findings: &mut Findings,
    ) -> Option<f64> {
        match self.section.get(key) {
            Some(node) => scalar::number(&self.section.full(key), node, limits, findings),
            None => Some(default),
        }
    }

    /// `min` and `max`, both given and the right way round.
    fn ends(&self, limits: Limits, findings: &mut Findings) -> Option<(f64, f64)> {
        let mut end = |key: &'static str, example: &'static str| {
            let Some(node) = self.section.get(key) else {
                let section = format!("`{}`", self.what());
                return findings.mistake(self.key, Mistake::MissingKey { key, section, example });
            };
            let value = scalar::number(&self.section.full(key), node, limits, findings)?;
            Some((value, node))
        };
        let (min, max) = (end("min", "min: ..."), end("max", "max: ..."));
        let ((min, min_node), (max, max_node)) = (min?, max?);
        if min < max {
            return Some((min, max));
        }
        let what = self.what();
        let mistake = if min > max {
            Mistake::MinAboveMax { what, min: min_node.raw.clone(), max: max_node.raw.clone() }
        } else {
            Mistake::EmptyRange { what, value: min_node.raw.clone() }
        };
        findings.mistake(min_node.place, mistake)
    }

    /// Whether the values that come out are values of the parameter.
    fn check_reach(
        &self,
        distribution: Distribution,
        name: Name,
        findings: &mut Findings,
    ) -> Option<Distribution> {
        let Some((low, high)) = distribution.range() else {
            return self.check_share(distribution, findings);
        };
        let limits = self.limits;
        let outside = |x: f64| !(limits.lowest()..=limits.highest()).contains(&x);
        let reached = match (outside(low), outside(high)) {
            (false, false) => return Some(distribution),
            (true, _) => low,
            (false, true) => high,
        };
        let help = match name {
            Name::LogUniform | Name::InvLogUniform => Some(
                "`min` and `max` are exponents of e here; to give the values themselves, write \
                 `distribution: log_uniform_values`",
            ),
            _ if distribution.shape.ends().is_some_and(|(a, b)| !outside(a) && !outside(b)) => {
                Some("values are rounded to multiples of `q`; choose `min` and `max` among them")
            }
            _ => None,
        };
        let reach = format!("reaches {reached}");
        self.leaves_limits(reach, help, findings)
    }

    /// An unbounded distribution is cut off at the limits, unless hardly anything is left.
    fn check_share(
        &self,
        distribution: Distribution,
        findings: &mut Findings,
    ) -> Option<Distribution> {
        let share = distribution.allowed_share();
        if share < SMALLEST_ALLOWED_SHARE || share.is_nan() {
            let reach = format!("gives such a value in {:.2}% of all draws", share * 100.0);
            return self.leaves_limits(reach, Some("move `mu`, or reduce `sigma`"), findings);
        }
        if share < 1.0 - SMALLEST_ALLOWED_SHARE {
            findings.warning(
                self.key,
                format!(
                    "`{}` must be {}: the {:.0}% of this distribution that lie outside are never \
                     drawn",
                    self.parameter,
                    self.limits,
                    (1.0 - share) * 100.0
                ),
                "move `mu`, or reduce `sigma`, to keep the distribution whole",
            );
        }
        Some(distribution)
    }

    fn leaves_limits<T>(
        &self,
        reach: String,
        help: Option<&'static str>,
        findings: &mut Findings,
    ) -> Option<T> {
        let (what, required) = (self.what(), self.limits.to_string());
        findings.mistake(self.key, Mistake::RangeLeavesLimits { what, required, reach, help })
    }
}
