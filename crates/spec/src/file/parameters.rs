//! The parameters of a trial as written: under `parameters:`, or fixed under `train:`.

use std::collections::BTreeMap;

use super::distribution;
use super::findings::Findings;
use super::keys;
use super::scalar::{self, wrong_type};
use super::section::Section;
use super::value;
use super::yaml::{Key, Node, Value};
use crate::error::Place;
use crate::limits::Limits;
use crate::mistake::Mistake;
use crate::parameter::{Kind, Parameter, ParameterValue, Row};
use crate::space::{Axis, Choice};

/// More values than these are a range; each is compared with all others.
pub(crate) const MOST_LISTED: usize = 10_000;

/// What the file says of each parameter, and where.
#[derive(Debug, Default)]
pub(crate) struct ParametersFile {
    /// One a parameter, in the order of [`Parameter::ALL`].
    pub axes: [Option<Axis>; Parameter::COUNT],
    /// Where each given parameter stands (its key).
    pub places: BTreeMap<Parameter, Place>,
}

impl ParametersFile {
    /// Reads the section `parameters`.
    pub fn read_section(&mut self, node: &Node, findings: &mut Findings) {
        let known = keys::parameters();
        let Some(section) = Section::open("parameters", node, &known, findings) else { return };
        for (key, node) in section.iter() {
            self.read(key, &section.full(&key.name), node, findings);
        }
    }

    /// Reads the fixed settings of the section `train`.
    pub fn read_fixed(&mut self, train: &Section, findings: &mut Findings) {
        for (key, node) in train.iter() {
            let Some(parameter) = keys::fixed_in_train(&key.name) else { continue };
            let what = train.full(&key.name);
            if self.places.contains_key(&parameter) {
                let mistake = Mistake::Conflict {
                    both: format!("`parameters.{parameter}` and `{what}`"),
                    help: "keep the one under `parameters`, or move it to `train` to fix it"
                        .to_owned(),
                };
                findings.mistake::<()>(key.place, mistake);
                continue;
            }
            let entry = Entry { parameter, what: &what, node, key: key.place };
            if entry.is_varied() {
                let mut mistake = wrong_type(&what, &"a single value", node);
                if let Mistake::WrongType { help, .. } = &mut mistake {
                    *help = Some("to vary it, write it under `parameters`");
                }
                findings.mistake::<()>(node.place, mistake);
                continue;
            }
            self.read(key, &what, node, findings);
        }
    }

    fn read(&mut self, key: &Key, what: &str, node: &Node, findings: &mut Findings) {
        let Some(parameter) = Parameter::from_name(&key.name) else { return };
        self.places.insert(parameter, key.place);
        let entry = Entry { parameter, what, node, key: key.place };
        self.axes[parameter.index()] = entry.axis(findings);
    }
}

/// One parameter as written.
struct Entry<'a> {
    parameter: Parameter,
    /// Its full name, for messages.
    what: &'a str,
    node: &'a Node,
    key: Place,
}

/// What is written for a parameter, before its values are read.
enum Written<'a> {
    One(&'a Node),
    Several { list: &'a Node, items: &'a [Node], probabilities: Option<&'a Node> },
    Spread(Section<'a>),
}

impl<'a> Entry<'a> {
    fn axis(&self, findings: &mut Findings) -> Option<Axis> {
        match self.written(findings)? {
            Written::Spread(section) if self.row().kind.is_number() => {
                distribution::read(self.parameter, self.key, &section, findings)
                    .map(Axis::Distribution)
            }
            Written::Spread(_) => {
                let what = self.what.to_owned();
                findings.mistake(self.key, Mistake::RangeOfNames { what })
            }
            written => self.listed(&written, findings).map(Axis::Choice),
        }
    }

    fn row(&self) -> &'static Row {
        self.parameter.row()
    }

    /// Tells the forms apart: a bare value, a bare list, `value:`, `values:`, or a distribution.
    fn written(&self, findings: &mut Findings) -> Option<Written<'a>> {
        match &self.node.value {
            // One list of layers is one value; a list of lists or of presets is several.
            Value::List(items) if self.is_one_value(items) => Some(Written::One(self.node)),
            Value::List(items) => {
                Some(Written::Several { list: self.node, items, probabilities: None })
            }
            Value::Map(_) => self.written_section(findings),
            _ => Some(Written::One(self.node)),
        }
    }

    /// Whether it is written with more than one value.
    fn is_varied(&self) -> bool {
        match &self.node.value {
            Value::List(items) => !self.is_one_value(items),
            Value::Map(_) => true,
            _ => false,
        }
    }

    fn is_one_value(&self, items: &[Node]) -> bool {
        matches!(self.row().kind, Kind::Modules(_))
            && items.iter().all(|item| match &item.value {
                Value::Text(name) => !value::is_preset(name),
                _ => false,
            })
    }

    fn written_section(&self, findings: &mut Findings) -> Option<Written<'a>> {
        let section = Section::open(self.what, self.node, keys::PARAMETER, findings)?;
        let given: Vec<&str> = ["value", "values"]
            .into_iter()
            .filter(|key| section.entry(key).is_some())
            .chain(section.iter().map(|(k, _)| k.name.as_str()).find(|k| is_of_range(k)))
            .collect();
        if let [first, second, ..] = given.as_slice() {
            let mistake = Mistake::Conflict {
                both: format!("`{}` and `{}`", section.full(first), section.full(second)),
                help: "write `value:`, or `values:`, or a range".to_owned(),
            };
            return findings.mistake(self.key, mistake);
        }
        if let (Some((key, _)), Some(_)) = (section.entry("probabilities"), section.entry("value"))
        {
            let mistake = Mistake::UnknownKey {
                key: key.name.clone(),
                section: format!("`{}` with one value", self.what),
                similar: None,
                belongs: None,
                known: vec!["value", "distribution"],
            };
            return findings.mistake(key.place, mistake);
        }
        let distribution = section.get("distribution");
        let named = |name: &str| distribution.is_some_and(|d| d.word() == name);
        match given.first() {
            Some(&"value") if distribution.is_none() || named("constant") => {
                section.require("value", "value: 8", findings).map(Written::One)
            }
            Some(&"values")
                if distribution.is_none() || named("categorical") || named(WEIGHTED) =>
            {
                let list = section.require("values", "values: [8, 16]", findings)?;
                let Value::List(items) = &list.value else {
                    let what = section.full("values");
                    return findings.mistake(list.place, wrong_type(&what, &"a list", list));
                };
                Some(Written::Several { list, items, probabilities: section.get("probabilities") })
            }
            Some(&kind @ ("value" | "values")) => {
                let mistake = Mistake::Conflict {
                    both: format!(
                        "`{}` and the distribution `{}`",
                        section.full(kind),
                        distribution.map_or("", |d| d.word())
                    ),
                    help: "remove `distribution:`, or give its range instead".to_owned(),
                };
                findings.mistake(self.key, mistake)
            }
            _ => Some(Written::Spread(section)),
        }
    }

    fn listed(&self, written: &Written<'a>, findings: &mut Findings) -> Option<Choice> {
        let (list, items, probabilities) = match written {
            Written::One(node) => {
                return value::read(self.row(), self.what, node, findings).map(Choice::fixed);
            }
            Written::Several { list, items, probabilities } => (list, items, probabilities),
            Written::Spread(_) => return None,
        };
        if items.len() > MOST_LISTED {
            let mistake = Mistake::OutOfRange {
                what: self.what.to_owned(),
                required: format!("a list of at most {MOST_LISTED} values"),
                found: format!("one of {}", items.len()),
            };
            return findings.mistake(list.place, mistake);
        }
        let mut values: Vec<ParameterValue> = Vec::with_capacity(items.len());
        let mut complete = true;
        for item in *items {
            let Some(value) = value::read(self.row(), self.what, item, findings) else {
                complete = false;
                continue;
            };
            if values.contains(&value) {
                let (what, found) = (self.what.to_owned(), value_in_words(item));
                findings.mistake::<()>(item.place, Mistake::DuplicateValue { what, found });
                complete = false;
            }
            values.push(value);
        }
        let probabilities = match probabilities {
            Some(node) => Some(self.probabilities(node, items.len(), findings)?),
            None => None,
        };
        if items.is_empty() {
            let what = self.what.to_owned();
            return findings.mistake(list.place, Mistake::EmptyList { what });
        }
        Choice::listed(values, probabilities).filter(|_| complete)
    }

    fn probabilities(
        &self,
        node: &Node,
        count: usize,
        findings: &mut Findings,
    ) -> Option<Vec<f64>> {
        let what = format!("{}.probabilities", self.what);
        let Value::List(items) = &node.value else {
            return findings.mistake(node.place, wrong_type(&what, &"a list of numbers", node));
        };
        let limits = Limits::above(0.0).to(1.0);
        let read: Vec<Option<f64>> =
            items.iter().map(|item| scalar::number(&what, item, limits, findings)).collect();
        let probabilities: Vec<f64> = read.into_iter().collect::<Option<_>>()?;
        let sum: f64 = probabilities.iter().sum();
        let problem = if probabilities.len() != count {
            format!("there are {} probabilities for {count} values", probabilities.len())
        } else if (sum - 1.0).abs() > 1e-6 {
            format!("the probabilities add up to {sum}, not to 1")
        } else {
            return Some(probabilities);
        };
        findings.mistake(node.place, Mistake::BadProbabilities { what, problem })
    }
}

/// W&B's other name for listed values with probabilities.
const WEIGHTED: &str = "categorical_w_probabilities";

/// Whether a key of a parameter makes it a range or another distribution.
fn is_of_range(key: &str) -> bool {
    matches!(key, "min" | "max" | "mu" | "sigma" | "q")
}

/// A listed value for a message; lists are too long to repeat.
fn value_in_words(node: &Node) -> String {
    match node.value {
        Value::List(_) => "these layers".to_owned(),
        _ => node.raw.clone(),
    }
}
