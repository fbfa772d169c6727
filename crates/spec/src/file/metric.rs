//! The key `metric`: the name of a metric, or a section.

use std::path::PathBuf;

use super::findings::{At, Findings};
use super::keys;
use super::scalar::{self, wrong_type};
use super::section::Section;
use super::words::{self, MetricWord};
use super::yaml::{Node, Value};
use crate::answer_metrics::{AnswerMetrics, Ignored, Score, ScoreSettings};
use crate::error::Place;
use crate::metric::{EVAL_LOSS, Goal};
use crate::mistake::{Mistake, most_similar};

/// What the file says of metrics.
#[derive(Debug, Default)]
pub(crate) struct MetricFile {
    /// What trials are compared by.
    pub name: Option<At<String>>,
    pub goal: Option<At<Goal>>,
    pub target: Option<At<f64>>,
    /// What is measured of answers, the metric that trials are compared by first.
    pub answers: AnswerMetrics,
    /// The first key that says how answers are measured.
    pub of_answers: Option<At<&'static str>>,
}

impl Default for AnswerMetrics {
    fn default() -> Self {
        Self::usual()
    }
}

impl MetricFile {
    pub fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            let name = name("metric", node, findings)?;
            let mut metric = Self::default();
            metric.answers.scores.extend(bare(&name));
            metric.name = Some(name);
            return Some(metric);
        }
        let section = Section::open("metric", node, keys::METRIC, findings)?;
        let mut metric = Self {
            goal: section.read("goal", findings, goal),
            target: section
                .number("target", findings)
                .and_then(|value| Some(At { value, place: section.get("target")?.place })),
            ..Self::default()
        };
        let named = section.get("name");
        metric.name = match named {
            Some(node) => Some(name("metric.name", node, findings)?),
            None => None,
        };
        let answers = &mut metric.answers;
        answers.scores.extend(score(&section, metric.name.as_ref(), findings)?);
        if let Some(node) = section.get("measure") {
            answers.scores.extend(measured(node, findings)?);
        }
        if let Some(examples) = section.whole("examples", findings) {
            answers.examples = examples;
        }
        if let Some(tokens) = section.whole("max_new_tokens", findings) {
            answers.max_new_tokens = tokens;
        }
        let every = section.read("every", findings, |what, node, findings| {
            scalar::word(what, "time of measurement", words::EVERY, node, findings)
        });
        if let Some(every) = every {
            answers.every = every;
        }
        answers.stop = section.read("stop", findings, texts).unwrap_or_default();
        once(&metric.answers.scores, node.place, findings)?;
        let of_answers = OF_ANSWERS.into_iter().find_map(|key| Some((key, section.given(key)?)));
        metric.of_answers = of_answers.map(|(value, (key, _))| At { value, place: key.place });
        Some(metric)
    }
}

/// Keys that only have a meaning where lorasweep generates.
const OF_ANSWERS: [&str; 10] = [
    "measure",
    "examples",
    "every",
    "max_new_tokens",
    "stop",
    "command",
    "normalise",
    "pattern",
    "tolerance",
    "fields",
];

/// A metric's name: one that is known, or any word where `is_free`.
fn name(what: &str, node: &Node, findings: &mut Findings) -> Option<At<String>> {
    let text = scalar::text(what, "the name of a metric", node, findings)?;
    if let Some((_, Err(instead))) = words::METRICS.iter().find(|(word, _)| *word == text) {
        let mistake = Mistake::NotAvailable { what: "metric", found: text, instead };
        return findings.mistake(node.place, mistake);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins || !text.chars().all(allowed) || text.len() > 64 {
        return unknown(&text, node.place, findings);
    }
    Some(At { value: text, place: node.place })
}

/// Reports a name that no metric has.
pub(crate) fn unknown<T>(found: &str, place: Place, findings: &mut Findings) -> Option<T> {
    let known = words::metrics();
    let similar = keys::alias(found, &known).or_else(|| most_similar(found, &known));
    let mistake = Mistake::UnknownName { what: "metric", found: found.to_owned(), similar, known };
    findings.mistake(place, mistake)
}

fn goal(what: &str, node: &Node, findings: &mut Findings) -> Option<At<Goal>> {
    let value = scalar::word(what, "goal", words::GOALS, node, findings)?;
    Some(At { value, place: node.place })
}

/// The metric of a name alone; `None` where it is no metric of answers.
fn bare(name: &At<String>) -> Option<ScoreSettings> {
    let score = match words::metric(&name.value)? {
        MetricWord::EvalLoss => return None,
        MetricWord::Score(make) => make(),
    };
    Some(ScoreSettings { name: name.value.clone(), score })
}

/// The metric of answers that a section describes, with its settings; nothing where it is none.
#[allow(clippy::option_option, reason = "outside: whether it could be read")]
fn score(
    section: &Section,
    name: Option<&At<String>>,
    findings: &mut Findings,
) -> Option<Option<ScoreSettings>> {
    let command = section.read("command", findings, |what, node, findings| {
        let value = scalar::text(what, "a command", node, findings)?;
        if value.trim().is_empty() {
            return findings.mistake(node.place, wrong_type(what, &"a command", node));
        }
        Some(At { value, place: node.place })
    });
    if section.get("command").is_some() && command.is_none() {
        return None;
    }
    let Some(name) = name else {
        if let Some((key, _)) = ["command", "normalise", "pattern", "tolerance", "fields"]
            .into_iter()
            .find_map(|key| section.given(key))
        {
            let of = section.full("");
            let mistake = Mistake::MissingKey {
                key: "name",
                section: keys::in_words(of.trim_end_matches('.')),
                example: "name: exact_match",
            };
            return findings.mistake(key.place, mistake);
        }
        return Some(None);
    };
    if let Some(At { value: command, place }) = command {
        if words::metric(&name.value).is_some() {
            let both = format!("`{}` and `name: {}`", section.full("command"), name.value);
            let help = "a judge of your own has a name of its own: `name: my_score`".to_owned();
            return findings.mistake(place, Mistake::Conflict { both, help });
        }
        only(section, &name.value, &[], findings)?;
        return Some(Some(ScoreSettings {
            name: name.value.clone(),
            score: Score::Command { command, dir: PathBuf::new() },
        }));
    }
    let Some(mut score) = bare(name) else {
        only(section, &name.value, &[], findings)?;
        return Some(None);
    };
    with_settings(&mut score, section, findings)?;
    Some(Some(score))
}

/// Reads what a metric of answers can be told.
fn with_settings(
    ScoreSettings { name, score }: &mut ScoreSettings,
    section: &Section,
    findings: &mut Findings,
) -> Option<()> {
    let has: &[&str] = match score {
        Score::ExactMatch { .. } | Score::Contains { .. } | Score::TokenF1 { .. } => &["normalise"],
        Score::RegexMatch { .. } => &["pattern", "normalise"],
        Score::NumberMatch { .. } => &["tolerance"],
        Score::JsonMatch { .. } => &["fields"],
        Score::RougeL | Score::Chrf | Score::ToolCallMatch | Score::Command { .. } => &[],
    };
    only(section, name, has, findings)?;
    if let Score::RegexMatch { pattern, .. } = score {
        let node = section.require("pattern", "pattern: 'answer is ([A-D])'", findings)?;
        *pattern = regex(&section.full("pattern"), node, findings)?;
    }
    match score {
        Score::ExactMatch { normalise }
        | Score::Contains { normalise }
        | Score::RegexMatch { normalise, .. }
        | Score::TokenF1 { normalise } => {
            if let Some(node) = section.get("normalise") {
                *normalise = ignored(&section.full("normalise"), node, findings)?;
            }
        }
        Score::NumberMatch { tolerance } => {
            *tolerance = section.number("tolerance", findings).unwrap_or(*tolerance);
        }
        Score::JsonMatch { fields } => {
            *fields = section.read("fields", findings, texts).unwrap_or_default();
        }
        Score::RougeL | Score::Chrf | Score::ToolCallMatch | Score::Command { .. } => {}
    }
    Some(())
}

/// Reports the settings of other metrics.
fn only(section: &Section, name: &str, has: &[&str], findings: &mut Findings) -> Option<()> {
    let mut clean = Some(());
    for key in ["normalise", "pattern", "tolerance", "fields"] {
        if let Some((written, _)) = section.given(key).filter(|_| !has.contains(&key)) {
            let both = format!("`{}` and `name: {name}`", section.full(key));
            let help = match has {
                [] => format!("remove `{key}`: `{name}` has no such settings"),
                [one] => format!("`{name}` has `{one}` alone"),
                several => format!("`{name}` has `{}`", several.join("` and `")),
            };
            clean = findings.mistake(written.place, Mistake::Conflict { both, help });
        }
    }
    clean
}

/// The metrics that are measured beside the one that trials are compared by.
fn measured(node: &Node, findings: &mut Findings) -> Option<Vec<ScoreSettings>> {
    let items = match &node.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    let read = |node: &Node| {
        if !matches!(node.value, Value::Map(_)) {
            let name = name("metric.measure", node, findings)?;
            return match words::metric(&name.value) {
                None => unknown(&name.value, name.place, findings),
                Some(MetricWord::Score(_) | MetricWord::EvalLoss) => Some(bare(&name)),
            };
        }
        let section = Section::open("metric.measure", node, keys::MEASURE, findings)?;
        let named = section.require("name", "name: exact_match", findings)?;
        let name = name("metric.measure.name", named, findings)?;
        let found = score(&section, Some(&name), findings)?;
        match found {
            None if name.value != EVAL_LOSS => unknown(&name.value, name.place, findings),
            found => Some(found),
        }
    };
    let all: Vec<Option<Option<ScoreSettings>>> = items.into_iter().map(read).collect();
    all.into_iter().collect::<Option<Vec<_>>>().map(|all| all.into_iter().flatten().collect())
}

/// Reports a metric that is named twice: values would go by one name.
fn once(scores: &[ScoreSettings], place: Place, findings: &mut Findings) -> Option<()> {
    let is_twice = |at: &usize| scores[..*at].iter().any(|other| other.name == scores[*at].name);
    match (0..scores.len()).find(is_twice) {
        None => Some(()),
        Some(at) => {
            let (what, found) = ("metric".to_owned(), format!("`{}`", scores[at].name));
            findings.mistake(place, Mistake::DuplicateValue { what, found })
        }
    }
}

/// What two texts may differ in: a word, or a list of what is ignored.
fn ignored(what: &str, node: &Node, findings: &mut Findings) -> Option<Ignored> {
    let Value::List(items) = &node.value else {
        return scalar::word(what, "normalisation", words::NORMALISERS, node, findings);
    };
    let mut ignored = Ignored::default();
    for item in items {
        match scalar::word(what, "normalisation", words::IGNORED, item, findings)? {
            words::Difference::Case => ignored.case = true,
            words::Difference::Blanks => ignored.blanks = true,
            words::Difference::Punctuation => ignored.punctuation = true,
            words::Difference::Articles => ignored.articles = true,
        }
    }
    Some(ignored)
}

/// A regular expression with a group, or without one.
fn regex(what: &str, node: &Node, findings: &mut Findings) -> Option<String> {
    let pattern = scalar::text(what, "a regular expression", node, findings)?;
    match regex::Regex::new(&pattern) {
        Ok(_) => Some(pattern),
        Err(error) => {
            let message = error.to_string();
            let message = message.lines().last().unwrap_or_default();
            let message = message.trim_start_matches("error: ").to_owned();
            let mistake = Mistake::BadPattern { what: what.to_owned(), found: pattern, message };
            findings.mistake(node.place, mistake)
        }
    }
}

/// A text that is not empty, or a list of them.
fn texts(what: &str, node: &Node, findings: &mut Findings) -> Option<Vec<String>> {
    let items = match &node.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    let mut read = |node: &Node| {
        let text = scalar::text(what, "a text", node, findings)?;
        if text.is_empty() {
            let mistake = wrong_type(what, &"a text that is not empty", node);
            return findings.mistake(node.place, mistake);
        }
        Some(text)
    };
    let all: Vec<Option<String>> = items.into_iter().map(&mut read).collect();
    all.into_iter().collect()
}
